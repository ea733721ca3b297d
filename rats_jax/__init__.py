"""Pretraining of Register Attention Transformers (RATS, arXiv 2606.14701) with DINO, in JAX.

From the command line: `rats --help`. From Python:

    import rats_jax

    backbone = rats_jax.open_backbone("runs/mine")            # a run, or any file of weights
    features = rats_jax.compute_features(backbone, ["a.jpg", "b.jpg"])
    features.registers, features.patches, features.global_vector
    regions = rats_jax.find_regions(backbone, "a.jpg", k=8)    # name of the method -> label map
    parts = rats_jax.name_parts(backbone, "a.jpg", "dictionary")  # name of the part -> heat map
    results = rats_jax.score_parts(backbone, "procedural_parts:100", top_k=8)

    config = rats_jax.load_recipe("drawings")
    config.run.stop_after = 100
    rats_jax.run_training(config, "runs/drawings")

    config = rats_jax.load_recipe("parts")                     # segmentation, see docs/transfer.md
    config.model.checkpoint = "runs/drawings"
    rats_jax.run_finetuning(config, "runs/parts")

Importing the package alone loads no JAX; these functions load it when they are first used. Mistakes
that a user can fix are `rats_jax.errors.UserError`, with the remedy in the message.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rats_jax.api import (
        compute_features,
        find_regions,
        load_recipe,
        name_parts,
        run_finetuning,
        run_training,
        score_parts,
    )
    from rats_jax.backbones import open_backbone

__version__ = "0.4.0"
__all__ = [
    "compute_features",
    "find_regions",
    "load_recipe",
    "name_parts",
    "open_backbone",
    "run_finetuning",
    "run_training",
    "score_parts",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rats_jax import api, backbones

    return getattr(backbones if name == "open_backbone" else api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
