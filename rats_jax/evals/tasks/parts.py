"""With --task=parts, the default: how well the regions of a model agree with part masks, compared
with a plain grid, SLIC and k-means on the same features at the same number of regions. With
--regions, regions from other programs are scored as well, or instead of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from rats_jax.errors import UserError
from rats_jax.evals.part_masks import (
    BACKGROUND,
    REGIONS,
    check_background,
    open_masks,
    refuse_without_model,
)
from rats_jax.evals.request import Request, say_end
from rats_jax.model_flags import define_top_k, given_top_k
from rats_jax.voice import say

if TYPE_CHECKING:
    from rats_jax.models.options import Options

TOP_K = define_top_k(
    "several: 6,12,33,96, as far as the model has registers, and for a ViT its heads and registers."
)
SMOOTHING = flags.DEFINE_float(
    "smoothing",
    1.0,
    "Smoothing of the maps: the sigma of a Gaussian, in patches; 0 for none.",
    lower_bound=0,
)
NORM = flags.DEFINE_enum(
    "norm",
    "post",
    ["post", "pre"],
    "Use the tokens of the last layer after (post) or before (pre) the final LayerNorm.",
)
ARGMAX = flags.DEFINE_enum(
    "argmax",
    "patch",
    ["patch", "pixel"],
    "Label whole patches, or label pixels after resizing the maps bilinearly.",
)
FLAGS = TOP_K, SMOOTHING, NORM, ARGMAX, REGIONS, BACKGROUND


def run(request: Request) -> None:
    from rats_jax.evals.part_evaluation import evaluate_parts
    from rats_jax.evals.part_results import write_results
    from rats_jax.parts.truth import report
    from rats_jax.parts.ways import RegionOptions
    from rats_jax.results_folder import new_folder

    if not SMOOTHING.value < 1000:
        raise UserError(
            f"--smoothing={SMOOTHING.value}: give a number of patches, such as 1, or 0 for none"
        )
    target, dataset, line, saved = open_masks(request)
    options = RegionOptions(SMOOTHING.value, NORM.value, ARGMAX.value)
    models, about, resolutions, top_k = {}, {"task": request.task}, (), ()
    if request.checkpoint:
        models = request.models()
        backbone = models["model"]
        resolutions = request.resolutions(backbone.options)
        top_k = _top_k(backbone.options, lowest=resolutions[0])
        about |= {
            "model": backbone.origin,
            "options": backbone.options.asdict(),
            "resolutions": resolutions,
            "regions": options._asdict(),
        }
    else:
        _refuse_flags_of_models(request)
    if dataset.background is not None:
        line += f"; background {dataset.background} (mBO and FG-ARI leave it out)"
    say("\n".join([line, *dataset.notes]))
    about["saved_regions"] = {regions.name: str(regions.folder) for regions in saved}
    about["dataset"] = {"from": request.dataset, **dataset.about}
    about |= {"limit": request.limit, "background": dataset.background}
    with new_folder(target) as folder:
        found = evaluate_parts(
            models,
            dataset,
            top_k=top_k,
            resolutions=resolutions,
            options=options,
            saved=saved,
            skip_broken=request.skip_broken,
        )
        check_background(any(image.background for image in found.images))
        write_results(folder, found, about=about)
    last = "(means over images, in percent, with 95 % bootstrap intervals)"
    if dataset.background is None:
        last += "\nmBO is over all ids: give that of the background with --background to exclude it"
    say("\n".join([last, *report(found.truth)]))
    say_end(found.skipped, target)


def _top_k(options: Options, *, lowest: int) -> tuple[int, ...]:
    """Those of --top_k. Raises UserError.

    options: of the backbone. lowest: resolution, in pixels.
    """
    from rats_jax.parts.region_counts import numbers_of_regions

    given = TOP_K.value
    return numbers_of_regions(
        given_top_k(given),
        options,
        patches=options.patches(lowest),
        named=f"--top_k={','.join(given or ())}",
        where=" at the lowest resolution",
    )


def _refuse_flags_of_models(request: Request) -> None:
    given = [flag.name for flag in (TOP_K, SMOOTHING, NORM, ARGMAX) if flag.present]
    given += ["resolution"] if request.resolution is not None else []
    given += ["untrained"] if request.untrained else []
    refuse_without_model(*given)
