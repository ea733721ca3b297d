"""With --task=linear: the same by a linear classifier, trained on frozen vectors."""

from absl import flags

from rats_jax.evals.request import Request, say_end
from rats_jax.evals.whole_images import TRAIN, open_classified
from rats_jax.voice import say

EPOCHS = flags.DEFINE_integer("epochs", 100, "Of a linear classifier.", lower_bound=1)
LEARNING_RATES = flags.DEFINE_list(
    "learning_rates", ["0.001"], "Of linear classifiers, one each, trained at once; at batch 256."
)
LAST_BLOCKS = flags.DEFINE_integer(
    "last_blocks",
    None,
    "Blocks whose global vectors are classified; by default 4 up to width 384, else 1.",
    lower_bound=1,
)
AVERAGE_PATCHES = flags.DEFINE_bool(
    "average_patches", None, "Classify the mean of the patches too; by default above width 384."
)
FLAGS = TRAIN, EPOCHS, LEARNING_RATES, LAST_BLOCKS, AVERAGE_PATCHES


def run(request: Request) -> None:
    from rats_jax.evals.linear_evaluation import choose_recipe, evaluate_linear
    from rats_jax.evals.linear_results import write_results
    from rats_jax.results_folder import new_folder

    opened = open_classified(request)
    recipe = choose_recipe(
        opened.models["model"].options,
        last_blocks=LAST_BLOCKS.value,
        average_patches=AVERAGE_PATCHES.value,
        learning_rates=LEARNING_RATES.value,
        epochs=EPOCHS.value,
    )
    with new_folder(opened.target) as folder:
        found = evaluate_linear(
            opened.models,
            opened.dataset,
            opened.train,
            recipe=recipe,
            resolution=opened.resolution,
            skip_broken=request.skip_broken,
        )
        write_results(folder, found, recipe, about=opened.about)
        say("(the best epoch was chosen on the images scored: it flatters; so would a rate)")
    say(f"(percent of {found.images:,} images, having learned from {found.learned_from:,})")
    say_end(found.skipped, opened.target)
