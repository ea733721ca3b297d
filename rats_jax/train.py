"""rats train --config=RECIPE --workdir=DIR [--config.FIELD=VALUE ...]

On TPU pods and SLURM the same command is started on all hosts, or as all tasks. Elsewhere several
processes also need --coordinator=HOST:PORT --processes=N --process=I.
"""

from absl import flags

from rats_jax import command_line, config_flag
from rats_jax.device_failures import TRAIN_SMALLER

CONFIG = config_flag.define_config()
WORKDIR = flags.DEFINE_string("workdir", "", "Where the run is kept; a run found there goes on.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT at which process 0 is met.")
PROCESSES = flags.DEFINE_integer("processes", None, "How many processes train together.")
PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")
LOCAL_DEVICES = flags.DEFINE_list("local_devices", None, "GPUs of this machine to take: 0,1.")
WAIT = flags.DEFINE_float(
    "wait", 300, "Seconds within which all processes must have come.", lower_bound=1
)


def main() -> None:
    # Imported here, since every data worker imports this module and does not need JAX.
    from rats_jax.parallel.distributed import joined
    from rats_jax.runs.loop import train

    with joined(
        coordinator=COORDINATOR.value,
        processes=PROCESSES.value,
        process=PROCESS.value,
        local_devices=LOCAL_DEVICES.value,
        wait=WAIT.value,
    ):
        train(config_flag.read_config(CONFIG), WORKDIR.value)


if __name__ == "__main__":
    command_line.run(main, interrupted=command_line.GOES_ON, out_of_memory=TRAIN_SMALLER)
