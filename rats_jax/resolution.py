"""Compares a resolution with the one that a model was trained at."""

from rats_jax.models.options import Options

USUAL = 512  # pixels: the paper's resolution for parts, for models trained at 224
LARGEST = 8192  # with patch 16, an image then has 262,144 patches
CELL = 16  # pixels: the cells of rows that use no model, where there is no model with a patch
FAR = 2.5  # ratio to the side in training, either way: 512 is not yet far for a model of 224


def is_far(resolution: int, options: Options) -> bool:
    """Whether the resolution is far from that in training. options: `Backbone.options`."""
    trained = options.trained_size
    return trained is not None and not 1 / FAR <= resolution / trained <= FAR


def default_resolution(options: Options) -> int:
    """512 pixels; if that is far from the training resolution, twice or half the latter. The
    nearest multiple of the patch."""
    trained, side = options.trained_size, USUAL
    if trained is not None and is_far(USUAL, options):
        side = 2 * trained if trained < USUAL else trained // 2
    return max(round(side / options.patch), 1) * options.patch


def distance_warning(resolution: int, options: Options, *, what: str = "maps") -> str | None:
    """A warning that the resolution is far from that in training; None if it is not far.

    what: the results that may be wrong at this resolution, in the plural.
    """
    trained = options.trained_size
    if trained is None or not is_far(resolution, options):
        return None
    times = max(resolution / trained, trained / resolution)
    factor = f"{times:.1f}".removesuffix(".0") if times < 10 else f"{times:.0f}"
    comparison = "larger" if resolution > trained else "smaller"
    return (
        f"warning: --resolution={resolution} is {factor} times {comparison} than the {trained} "
        f"pixels that the model was trained at, so its {what} may be unreliable: compare with "
        f"--resolution={default_resolution(options)}"
    )
