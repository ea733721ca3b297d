"""The evaluations that a run can have, under their names in `config.evaluation.measures`."""

from collections.abc import Mapping

from rats_jax.errors import UserError
from rats_jax.runs.online.evaluator import Evaluator, Opening
from rats_jax.runs.online.evaluators.knn import OnlineKNN
from rats_jax.runs.online.evaluators.parts import OnlineParts
from rats_jax.runs.online.evaluators.registers import OnlineRegisters
from rats_jax.runs.online.evaluators.segmentation import OnlineSegmentation

#: In the order in which they run.
EVALUATORS: Mapping[str, type[Evaluator]] = {
    "parts": OnlineParts,
    "registers": OnlineRegisters,
    "knn": OnlineKNN,
    "segmentation": OnlineSegmentation,
}


def open_evaluators(opening: Opening) -> dict[str, Evaluator]:
    """Name -> evaluator, for those that the config lists and has images for. Raises UserError."""
    listed = tuple(opening.config.evaluation.measures)
    if unknown := [name for name in listed if name not in EVALUATORS]:
        raise UserError(
            f"config.evaluation.measures has {unknown[0]!r}: choose from {', '.join(EVALUATORS)}, "
            """such as --config.evaluation.measures='("parts","knn")'"""
        )
    for name, kind in EVALUATORS.items():
        if name in listed and (evaluator := kind.open(opening)):
            opening.opened[name] = evaluator
    if not opening.opened:
        raise UserError(
            f"config.evaluation.measures is {listed}, of which nothing can be measured: add "
            "registers, give images in config.evaluation.parts or knn_train and knn_test, or set "
            "config.evaluation.every_epochs=0"
        )
    return opening.opened
