"""Fields of the start: the weights that a run starts from, instead of random ones."""

from rats_jax.config.checks import NOT_NEGATIVE, POSITIVE, one_of
from rats_jax.config.field import Field

INIT = (
    Field(
        "init.checkpoint",
        "",
        "The weights to start from: anything that `--checkpoint` reads, see "
        "docs/start_from_weights.md. Empty for random weights. Read at the first start only, never "
        "on a resume.",
        old_runs="",
        per_process=True,
        silent=True,
    ),
    Field(
        "init.weights",
        "",
        "Which set of weights to read, as `--weights`. Empty: the student from the student and the "
        "teacher from the teacher if the checkpoint has both with their heads; otherwise the set "
        "that `--weights` reads by default.",
        old_runs="",
        silent=True,
    ),
    Field(
        "init.registers",
        "cls",
        "How registers start that the weights do not have: `cls`, close to [CLS] with its position "
        "(random if there is no [CLS]); `random`, as without weights; `kmeans`, at the k-means "
        "centers of the patch tokens of some training images, as they enter the first block.",
        check=one_of("cls", "random", "kmeans"),
        old_runs="cls",
        silent=True,
    ),
    Field(
        "init.images",
        256,
        "Training images, evenly spread, whose patch tokens are clustered for "
        "`init.registers=kmeans`.",
        check=POSITIVE,
        old_runs=256,
        silent=True,
    ),
    Field(
        "init.learning_rate",
        1.0,
        "Factor on the learning rate of the parameters that were taken from the weights. 0 freezes "
        "them: they do not change at all, weight decay included. New parameters always have the "
        "full learning rate.",
        check=NOT_NEGATIVE,
        old_runs=1.0,
    ),
    Field(
        "init.learning_rate_epochs",
        0.0,
        "For how many epochs this factor holds; 0 for the whole run.",
        check=NOT_NEGATIVE,
        old_runs=0.0,
    ),
    Field(
        "init.taken",
        "",
        "Which parameters were taken from the weights, as starts of their paths. The first start "
        "sets it, and a resume reads it from `config.json`; a value given by hand has no effect.",
        old_runs="",
        silent=True,
    ),
)
