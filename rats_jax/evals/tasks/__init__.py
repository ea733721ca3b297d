"""The tasks of evaluate: a file each, listed here in the order in which --help shows them.

A task has a docstring, its paragraph in --help; FLAGS, those that no other task has unless it
lists them too; and run(request). A module of a task imports what takes long in `run`, so that
--help and mistakes take no time.
"""

from collections.abc import Mapping
from types import ModuleType

from rats_jax.evals.tasks import consistency, knn, linear, norms, parts, segmentation

TASKS: Mapping[str, ModuleType] = {
    "parts": parts,
    "consistency": consistency,
    "segmentation": segmentation,
    "knn": knn,
    "linear": linear,
    "norms": norms,
}
