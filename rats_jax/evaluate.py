"""rats evaluate --checkpoint=RUN_OR_WEIGHTS --dataset=KIND:PATH --output=DIR"""

from absl import flags

from rats_jax import command_line
from rats_jax.data.kinds import LABELLED, PART_MASKS, pattern
from rats_jax.errors import UserError
from rats_jax.evals.request import Request
from rats_jax.evals.tasks import TASKS
from rats_jax.model_flags import define_resolution

__doc__ = "\n\n".join([__doc__ or "", *(task.__doc__ or "" for task in TASKS.values())])

CHECKPOINT, WEIGHTS = command_line.define_checkpoint()
TASK = flags.DEFINE_enum("task", "parts", [*TASKS], "What to measure.")
DATASET = flags.DEFINE_string(
    "dataset",
    "",
    f"Images, as KIND:PATH. KIND with part masks: {', '.join(PART_MASKS)}. For other tasks: "
    f"{', '.join(map(pattern, LABELLED))}.",
)
OUTPUT = flags.DEFINE_string("output", "", "The folder to create.")
RESOLUTION = define_resolution(
    "both sides",
    " For whole images (knn, linear, norms) 224. --task=parts accepts several, such as 224,512.",
)
UNTRAINED = flags.DEFINE_bool("untrained", False, "Also score the untrained model of the run.")
SKIP_BROKEN = flags.DEFINE_bool("skip_broken", False, "Leave out samples that cannot be read.")
LIMIT = flags.DEFINE_integer(
    "limit",
    None,
    "Use at most this many images of --dataset, and of --train, evenly spaced.",
    lower_bound=1,
)
for _task in TASKS.values():
    for _flag in _task.FLAGS:
        flags.declare_key_flag(_flag.name)  # so that --help shows it


def main() -> None:
    owners: dict[str, list[str]] = {}
    for name, task in TASKS.items():
        for flag in task.FLAGS:
            if flag.present:
                owners.setdefault(flag.name, []).append(name)
    for flag_name, tasks in owners.items():
        if TASK.value not in tasks:
            raise UserError(
                f"--{flag_name} belongs to --task={' or '.join(tasks)}: omit it, or choose that "
                "task"
            )
    request = Request(
        task=TASK.value,
        checkpoint=CHECKPOINT.value,
        weights=WEIGHTS.value,
        dataset=DATASET.value,
        output=OUTPUT.value,
        resolution=RESOLUTION.value,
        untrained=UNTRAINED.value,
        skip_broken=SKIP_BROKEN.value,
        limit=LIMIT.value,
    )
    TASKS[request.task].run(request)


if __name__ == "__main__":
    command_line.run(
        main,
        interrupted="interrupted: no results were written; the same command starts from the "
        "beginning",
        out_of_memory="choose a smaller --resolution, or score fewer images with --limit",
    )
