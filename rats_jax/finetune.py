"""rats finetune --config=RECIPE --checkpoint=WEIGHTS --workdir=DIR [--config.FIELD=VALUE ...]

Trains a backbone for semantic or instance segmentation, or resumes such a run. --evaluate scores
the best checkpoint of the run in --workdir. Several GPUs or hosts: with --decoder=mask2former,
accelerate launch -m rats_jax.finetune and the same flags; with the other decoders as rats train.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import config_flags

from rats_jax import command_line, config_flag
from rats_jax.config_kinds import FINETUNE
from rats_jax.device_failures import FINETUNE_SMALLER
from rats_jax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

CONFIG = config_flag.define_config(command=FINETUNE)
CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "The weights of the backbone: a run's workdir, or one of its checkpoints, or weights of DINO, "
    "DINOv2, DINOv3, timm or transformers: a file or a folder; or demo. Read at the first start.",
)
WORKDIR = flags.DEFINE_string(
    "workdir", "", "The folder of the run. If it already contains the run, training resumes."
)
TASK = flags.DEFINE_enum(
    "task", None, ["semantic", "instance"], "What to segment. Sets config.task."
)
DECODER = flags.DEFINE_enum(
    "decoder",
    None,
    ["mask2former", "registers", "linear"],
    "What predicts masks: Mask2Former (PyTorch), a head on the registers (JAX), or a linear layer "
    "on patches (JAX, semantic only). Sets config.decoder.name.",
)
QUERIES = flags.DEFINE_enum(
    "queries",
    None,
    ["registers", "learned"],
    "What the queries of Mask2Former start from. Sets config.decoder.queries.",
)
FREEZE = flags.DEFINE_enum(
    "freeze", None, ["none", "backbone"], "What is not trained. Sets config.model.freeze."
)
EVALUATE = flags.DEFINE_bool(
    "evaluate", False, "Only score the best checkpoint of the run in --workdir."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, to which the other processes connect (JAX)."
)
PROCESSES = flags.DEFINE_integer(
    "processes", None, "The number of processes that train together (JAX)."
)
PROCESS = flags.DEFINE_integer("process", None, "The number of this process, from 0 (JAX).")
LOCAL_DEVICES = flags.DEFINE_list(
    "local_devices", None, "The GPUs of this machine to use, such as 0,1 (JAX)."
)
WAIT = flags.DEFINE_float(
    "wait", 300, "Seconds within which all processes must join (JAX).", lower_bound=1
)
SHORTCUTS = (CHECKPOINT, TASK, DECODER, QUERIES, FREEZE)


def main() -> None:
    # Imported here, since every data worker imports this module and does not need JAX.
    from rats_jax.finetuning import start

    if EVALUATE.value:
        if extra := [flag.name for flag in (CONFIG, *SHORTCUTS) if flag.value is not None]:
            raise UserError(
                f"--evaluate takes every setting from the run in --workdir: leave out --{extra[0]}"
            )
        config = start.run_config(WORKDIR.value)
    else:
        config = config_flag.read_config(CONFIG)
        by_hand = config_flags.get_override_values(flags.FLAGS[config_flag.NAME])
        given = {flag.name: flag.value for flag in SHORTCUTS if flag.value is not None}
        config = start.with_shortcuts(config, given, by_hand)
    with _processes(config):
        act = start.evaluate if EVALUATE.value else start.finetune
        act(config, WORKDIR.value)


def _processes(config: "ConfigDict") -> AbstractContextManager[None]:
    """Joins the processes of a decoder in JAX. For Mask2Former accelerate does this, and JAX, which
    only reads weights, leaves the GPUs to PyTorch."""
    from rats_jax.finetuning.start import IN_TORCH

    if config.decoder.name != IN_TORCH:
        from rats_jax.parallel.distributed import joined

        return joined(
            coordinator=COORDINATOR.value,
            processes=PROCESSES.value,
            process=PROCESS.value,
            local_devices=LOCAL_DEVICES.value,
            wait=WAIT.value,
            out_of_memory=FINETUNE_SMALLER,
        )
    for flag in (COORDINATOR, PROCESSES, PROCESS, LOCAL_DEVICES):
        if flag.value is not None:
            raise UserError(
                f"--{flag.name} is for the decoders in JAX: start --decoder={IN_TORCH} on several "
                "GPUs with `accelerate launch -m rats_jax.finetune`"
            )
    import jax

    jax.config.update("jax_platforms", "cpu")
    return nullcontext()


if __name__ == "__main__":
    command_line.run(
        main, interrupted=command_line.INTERRUPTED_TRAINING, out_of_memory=FINETUNE_SMALLER
    )
