"""With --task=knn: how well the model's vectors separate classes, by k-NN as in DINO's official
protocol."""

from absl import flags

from rats_jax.evals.request import Request, say_end
from rats_jax.evals.whole_images import TRAIN, open_classified
from rats_jax.voice import say

KNN_K = flags.DEFINE_list(
    "knn_k",
    None,
    "Numbers of neighbours; by default those of 10,20,100,200 for which there are enough images.",
)
FLAGS = TRAIN, KNN_K


def run(request: Request) -> None:
    from rats_jax.evals.knn_evaluation import evaluate_knn, write_results
    from rats_jax.results_folder import new_folder

    opened = open_classified(request)
    with new_folder(opened.target) as folder:
        found = evaluate_knn(
            opened.models,
            opened.dataset,
            opened.train,
            knn_k=KNN_K.value,
            resolution=opened.resolution,
            skip_broken=request.skip_broken,
        )
        write_results(folder, found, about=opened.about)
    say(f"(percent of {found.images:,} images, with {found.learned_from:,} training images)")
    say_end(found.skipped, opened.target)
