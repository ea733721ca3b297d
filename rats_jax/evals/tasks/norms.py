"""With --task=norms: how the norms of patch tokens are distributed in each layer, and how many of
them are outliers."""

from absl import flags

from rats_jax.evals.request import Request, say_end
from rats_jax.evals.whole_images import open_images
from rats_jax.voice import say

OUTLIER = flags.DEFINE_string(
    "outlier",
    "3x",
    "The norm above which a patch is an outlier: a number such as 150, or 3x for 3 times the "
    "median.",
)
FLAGS = (OUTLIER,)


def run(request: Request) -> None:
    from rats_jax.data.reading import LeftOut
    from rats_jax.evals.norm_results import write_norms
    from rats_jax.evals.token_norms import measure_norms, outlier
    from rats_jax.results_folder import new_folder

    limit = outlier(OUTLIER.value)
    opened = open_images(request)
    left_out = LeftOut(skip_broken=request.skip_broken)
    with new_folder(opened.target) as folder:
        found = measure_norms(
            opened.models, opened.dataset, side=opened.resolution, left_out=left_out
        )
        about = opened.about | {"skipped": left_out.lines}
        write_norms(folder, found, limit=limit, about=about)
    say("(norms before the final LayerNorm)")
    say_end(left_out.lines, opened.target)
