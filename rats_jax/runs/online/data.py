"""The images of an evaluation during training, and the numbers of regions."""

from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options
from rats_jax.data.fingerprint import fingerprint_of_names
from rats_jax.errors import UserError
from rats_jax.models.options import Options
from rats_jax.parts.datasets import PartDataset, open_dataset
from rats_jax.parts.datasets.drawings import Drawings, drawings
from rats_jax.parts.region_counts import numbers_of_regions, registers_of
from rats_jax.parts.region_metrics import HEADERS
from rats_jax.procedural_parts import ProceduralParts
from rats_jax.voice import say

#: Metric of parts, without the number of regions -> display name.
PART_SCORES = {f"parts/{name}": header for name, header in HEADERS.items()}

DRAWN_SEED = 2_000_003  # a seed that nothing else uses


def fingerprint_of_parts(data: PartDataset) -> str:
    """A fingerprint of the images and their order, independent of where the files are."""
    if isinstance(data, Drawings):
        return data.source.fingerprint()
    return fingerprint_of_names(entry.name for entry in data.entries)


def open_parts(config: ConfigDict) -> PartDataset:
    """The images that `config.evaluation.parts` names."""
    evaluation = config.evaluation
    if evaluation.parts != "procedural_parts":
        try:
            dataset = open_dataset(evaluation.parts)
        except UserError as error:
            raise UserError(f"config.evaluation.parts: {error}") from None
        for note in dataset.notes:
            say(note)
        return dataset
    if not evaluation.images:
        raise UserError("config.evaluation.images is 0: give the number of images to draw")
    side, images = evaluation.resolution, evaluation.images
    return drawings(ProceduralParts(size=side, length=images, seed=DRAWN_SEED))


def top_k_of(config: ConfigDict) -> tuple[int, ...]:
    """The values of K, ascending. Raises UserError for values that the model cannot have."""
    model, evaluation = backbone_options(config), config.evaluation
    check_resolution(evaluation.resolution, model)
    patches, given = model.patches(evaluation.resolution), tuple(evaluation.top_k)
    named = f"config.evaluation.top_k is {given}"
    if registers_of(model) is None:
        if given not in ((), (model.heads,)):
            raise UserError(
                f"{named}: a ViT has a region for each of its {model.heads} heads; leave it at ()"
            )
        return (model.heads,)
    return numbers_of_regions(given or None, model, patches=patches, named=named)


def check_resolution(resolution: int, model: Options) -> None:
    """Raises UserError if `config.evaluation.resolution` is not a multiple of the patch."""
    if resolution % model.patch:
        nearest = max(round(resolution / model.patch), 1) * model.patch
        raise UserError(
            f"config.evaluation.resolution {resolution} is not a multiple of "
            f"config.model.patch {model.patch}; the nearest is {nearest}"
        )


def headline(top_k: tuple[int, ...], best_metric: str) -> int:
    """The number of regions to show if only one is shown: that of the best metric, else 12 as in
    the paper, or the next larger one, or the largest."""
    group, _, number = best_metric.rpartition("_")
    if group in PART_SCORES and number in map(str, top_k):
        return int(number)
    return next((k for k in top_k if k >= 12), top_k[-1])
