"""Fields of the run: reports, checkpoints, evaluation during training, and guards."""

from rats_jax.config.checks import NOT_NEGATIVE, POSITIVE, one_of
from rats_jax.config.field import Field

RUN = (
    Field(
        "run.stop_after",
        0,
        "Stop after this many steps, on the schedules of the whole run; 0 for the whole run.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "run.log_every", 50, "Steps from one report to the next.", check=POSITIVE, automatic=True
    ),
    Field(
        "run.checkpoint_every",
        1000,
        "Steps from one checkpoint to the next.",
        check=POSITIVE,
        automatic=True,
    ),
    Field("run.keep_checkpoints", 2, "How many of the newest checkpoints stay.", check=POSITIVE),
    Field(
        "run.keep_every_epochs",
        0.0,
        "Epochs from one checkpoint that is kept for good to the next; 0 for none.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "run.keep_best",
        0,
        "How many of the checkpoints with the best values of `run.best_metric` are kept.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "run.best_metric",
        "loss",
        "The metric, by its name in `metrics.jsonl`, that the best checkpoints are chosen by. With "
        "a metric of an evaluation, such as `parts/m2o_12` or `knn/top1_20`, the state is saved at "
        "every evaluation, and only these checkpoints are compared.",
    ),
    Field(
        "run.best_is",
        "lowest",
        "Whether the lowest or the highest value of `run.best_metric` is the best.",
        check=one_of("lowest", "highest"),
    ),
    Field(
        "run.compilation_cache",
        "auto",
        "Folder that keeps compiled programs for the next start; empty for none. `auto` is "
        "`~/.cache/rats_jax/compiled`, and none on CPUs.",
        per_process=True,
    ),
)

EVALUATION = (
    Field(
        "evaluation.every_epochs",
        0.0,
        "Epochs from one evaluation of the teacher to the next; 0 for never. The teacher is also "
        "evaluated before the first step and after the last.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "evaluation.measures",
        ("parts", "registers", "knn"),
        "What is measured, by the names of `rats_jax.runs.online.evaluators`: `parts`, on the "
        "images of `evaluation.parts`; `registers`, on the same images, or on a training batch if "
        "there are none; `knn`, on those of `evaluation.knn_train` and `evaluation.knn_test`; "
        "`segmentation` (not by default), on those of `evaluation.parts`.",
        old_runs=("parts", "registers", "knn"),
    ),
    Field(
        "evaluation.parts",
        "",
        "Images with part masks: KIND:PATH as for `--dataset` of `rats evaluate`, or "
        "`procedural_parts` for drawings with a seed of their own. Empty for none.",
    ),
    Field(
        "evaluation.images",
        0,
        "Use at most this many images of `evaluation.parts`, evenly spread; 0 for all.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "evaluation.resolution",
        512,
        "Side of the images as the model sees them, in pixels. A multiple of `model.patch`.",
        check=POSITIVE,
    ),
    Field(
        "evaluation.top_k",
        (),
        "Numbers of regions that are scored; `()` for those of 6, 12, 33 and 96 that the model "
        "has. A ViT has one region for each head.",
    ),
    Field(
        "evaluation.smoothing",
        1.0,
        "Standard deviation of the Gaussian that smooths register maps, in patches; 0 for none.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "evaluation.centered",
        False,
        "Whether regions come from centered registers, that is, without the mean of their image, "
        "and patches likewise. See docs/evaluation.md.",
        old_runs=False,
    ),
    Field(
        "evaluation.knn_train",
        "",
        "k-NN: the labelled images that vote, KIND:PATH as for `--dataset` of `rats evaluate`; "
        "empty for no k-NN.",
    ),
    Field(
        "evaluation.knn_test",
        "",
        "k-NN: the labelled images that are classified, KIND:PATH.",
    ),
    Field(
        "evaluation.knn_images",
        0,
        "k-NN: use at most this many images of either set, evenly spread; 0 for all.",
        check=NOT_NEGATIVE,
    ),
    Field("evaluation.knn_k", 20, "k-NN: number of neighbours that vote.", check=POSITIVE),
)

GUARDS = (
    Field(
        "guards.nonfinite_steps",
        10,
        "The run stops after this many steps in a row that were not applied because of a NaN or an "
        "infinity.",
        check=POSITIVE,
    ),
    Field(
        "guards.collapse",
        "warn",
        "What an alarm of a collapse does: report a warning (`warn`) or end the run (`stop`); "
        "`off` for no such alarm.",
        check=one_of("warn", "stop", "off"),
    ),
    Field(
        "guards.stall_minutes",
        30.0,
        "The run ends after this many minutes without a step; 0 to wait forever.",
        check=NOT_NEGATIVE,
    ),
)
