"""Compares a resolution with the one that a model was trained at."""

from rats_jax.models.options import Options

USUAL = 512  # pixels: the paper's resolution for parts, for models trained at 224
LARGEST = 8192  # with patch 16, an image then has 262,144 patches
FAR = 2.5  # ratio to the side in training, either way: 512 is not yet far for a model of 224


def is_far(resolution: int, options: Options) -> bool:
    """Whether the resolution is far from that in training. options: `Backbone.options`."""
    trained = options.trained_size
    return trained is not None and not 1 / FAR <= resolution / trained <= FAR


def default_resolution(options: Options) -> int:
    """512 pixels; if that is far from the training resolution, twice or half the latter."""
    trained = options.trained_size
    if trained is None or not is_far(USUAL, options):
        return USUAL
    return 2 * trained if trained < USUAL else trained // 2


def distance_warning(resolution: int, options: Options, *, what: str = "maps") -> str | None:
    """A warning that the resolution is far from that in training; None if it is not far.

    what: the results that may be wrong at this resolution, in the plural.
    """
    if not is_far(resolution, options):
        return None
    trained = options.trained_size
    times = max(resolution / trained, trained / resolution)
    factor = f"{times:.1f}".removesuffix(".0") if times < 10 else f"{times:.0f}"
    comparison = "larger" if resolution > trained else "smaller"
    return (
        f"warning: --resolution={resolution} is {factor} times {comparison} than the {trained} "
        f"pixels that the model was trained at, so its {what} may be unreliable: compare with "
        f"--resolution={default_resolution(options)}"
    )
