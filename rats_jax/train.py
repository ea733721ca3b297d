"""python -m rats_jax.train --config=configs/x.py --workdir=DIR [--config.FIELD=VALUE ...]"""

from absl import flags
from ml_collections import config_flags

from rats_jax import command_line

CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe, a file in configs/.")
WORKDIR = flags.DEFINE_string("workdir", "", "Where the run is kept; a run found there goes on.")


def main() -> None:
    # Here, since every data worker imports this module, and needs no JAX.
    from rats_jax.runs.loop import train

    train(command_line.read_config(CONFIG), WORKDIR.value)


if __name__ == "__main__":
    command_line.run(main)
