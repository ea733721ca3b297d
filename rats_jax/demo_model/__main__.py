"""python -m rats_jax.demo_model --checkpoint=RUN: make the files of this folder from a run."""

from absl import flags

from rats_jax import command_line
from rats_jax.voice import say

CHECKPOINT = flags.DEFINE_string("checkpoint", "", "A run's workdir, or WORKDIR/checkpoints/STEP.")


def main() -> None:
    from rats_jax.demo_model import FOLDER, WEIGHTS, save
    from rats_jax.runs.restore import restore_parts

    command_line.require((CHECKPOINT, "a run's workdir, or a step in it"))
    found = restore_parts(CHECKPOINT.value, ["teacher", "center"])
    save(
        FOLDER,
        found.state["teacher"],
        found.state["center"],
        config=found.config,
        step=found.step,
    )
    say(f"wrote step {found.step:,} of the run to {FOLDER / WEIGHTS}")


if __name__ == "__main__":
    command_line.run(main, out_of_memory="choose a smaller model")
