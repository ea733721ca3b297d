"""From the command line of `rats finetune` to the training of its decoder."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from rats_jax.config_kinds import FINETUNE, command_of
from rats_jax.errors import UserError
from rats_jax.finetuning.images import with_absolute_paths
from rats_jax.runs.workdir import earlier_config, folder_of, load_config
from rats_jax.validation import validate

#: The field that a flag sets.
SHORTCUTS = {
    "checkpoint": "model.checkpoint",
    "task": "task",
    "decoder": "decoder.name",
    "queries": "decoder.queries",
    "freeze": "model.freeze",
}
#: The metric by which the best checkpoint of a task is chosen, unless a recipe says otherwise.
USUAL_METRIC = {"semantic": "semantic/miou", "instance": "instance/ap_mask"}
IN_TORCH = "mask2former"  # the decoder in PyTorch; the others are in JAX


def with_shortcuts(
    config: ConfigDict, flags: Mapping[str, str], by_hand: Mapping[str, object]
) -> ConfigDict:
    """The config with the values of the flags that are given.

    flags: by name, see SHORTCUTS. by_hand: the fields that the command line sets itself. Raises
    UserError if one of these contradicts a flag, and for a flag without effect.
    """
    config = config.copy_and_resolve_references()
    for flag, value in flags.items():
        field = SHORTCUTS[flag]
        if by_hand.get(field, value) != value:
            raise UserError(
                f"--{flag}={value} and --config.{field}={by_hand[field]} contradict each other: "
                "leave out one of the two"
            )
        config.update_from_flattened_dict({field: value})
    if "queries" in flags and config.decoder.name != IN_TORCH:
        raise UserError(
            f"--queries={flags['queries']} is for the decoder {IN_TORCH}, not for "
            f"{config.decoder.name}: leave it out"
        )
    others = {metric for task, metric in USUAL_METRIC.items() if task != config.task}
    if config.run.best_metric in others and "run.best_metric" not in by_hand:
        config.run.best_metric = USUAL_METRIC.get(config.task, config.run.best_metric)
    return config


def run_config(workdir: str) -> ConfigDict:
    """The config of the fine-tuning in a workdir. Raises UserError if there is none."""
    folder = folder_of(workdir)
    config = load_config(folder)
    if command_of(config) != FINETUNE:
        raise UserError(
            f"--workdir {folder} contains a run of rats {command_of(config)}: name that of a run "
            f"of rats {FINETUNE}"
        )
    return config


def finetune(config: ConfigDict, workdir: str) -> None:
    """Trains the decoder that the config names, or resumes the run in the workdir."""
    folder = folder_of(workdir)
    validate(config)
    check_packages(config)
    _check_same_decoder(folder, config)
    with_absolute_paths(config)
    if not config.model.checkpoint:
        config.model.checkpoint = _checkpoint_of(folder)
    _room(config).finetune(config, workdir)


def evaluate(config: ConfigDict, workdir: str) -> None:
    """Scores the best checkpoint of the run in the workdir. config: of this run."""
    check_packages(config)
    _room(config).evaluate(workdir)


def check_packages(config: ConfigDict) -> None:
    """Raises UserError if a package is missing that this config needs."""
    needed = [
        *((f"--decoder={IN_TORCH}", x) for x in ("torch", "transformers", "accelerate", "scipy")),
        ("--task=instance", "pycocotools"),
    ]
    used = {f"--decoder={config.decoder.name}", f"--task={config.task}"}
    for flag, package in needed:
        if flag in used and importlib.util.find_spec(package) is None:
            raise UserError(
                f"{flag} needs {package}, which is not installed: "
                "pip install -r requirements-finetune.txt"
            )


def _check_same_decoder(folder: Path, config: ConfigDict) -> None:
    """Raises UserError if the run in this folder has another decoder: everything else would differ,
    too."""
    was = earlier_config(folder)
    if was is None or command_of(was) != FINETUNE or was.decoder.name == config.decoder.name:
        return
    raise UserError(
        f"--workdir {folder} contains a different run: config.decoder.name is {was.decoder.name} "
        f"there and {config.decoder.name} here; choose another --workdir"
    )


def _checkpoint_of(folder: Path) -> str:
    """The weights that the run in this folder started from."""
    if (folder / "config.json").exists():
        earlier = load_config(folder)
        if command_of(earlier) == FINETUNE and earlier.model.checkpoint:
            return earlier.model.checkpoint
    raise UserError(
        "--checkpoint is missing: give the weights of the backbone, a run's workdir or a file or "
        "folder of weights, or demo"
    )


def _room(config: ConfigDict) -> ModuleType:
    """The module with `finetune` and `evaluate` of this decoder."""
    if config.decoder.name == IN_TORCH:
        from rats_jax.finetuning.mask2former import run

        return run
    from rats_jax.finetuning import registers_run

    return registers_run
