"""With --task=linear: how well these vectors separate classes, by a linear classifier trained on
them while the model is frozen."""

from absl import flags

from rats_jax.evals.request import Request, say_end
from rats_jax.evals.whole_images import TRAIN, open_classified
from rats_jax.voice import say

EPOCHS = flags.DEFINE_integer(
    "epochs", 100, "Number of epochs of a linear classifier.", lower_bound=1
)
LEARNING_RATES = flags.DEFINE_list(
    "learning_rates",
    ["0.001"],
    "Learning rates at batch size 256; a linear classifier is trained for each of them, all at "
    "once.",
)
LAST_BLOCKS = flags.DEFINE_integer(
    "last_blocks",
    None,
    "The number of last blocks whose global vectors are classified; by default 4 up to width 384, "
    "else 1.",
    lower_bound=1,
)
AVERAGE_PATCHES = flags.DEFINE_bool(
    "average_patches",
    None,
    "Also classify the mean of the patches; by default if the width is above 384.",
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
        say(
            "(the best epoch was chosen on the images that are scored, so its accuracy is too "
            "optimistic; the same would hold for a learning rate chosen from this table)"
        )
    say(f"(percent of {found.images:,} images, with {found.learned_from:,} training images)")
    say_end(found.skipped, opened.target)
