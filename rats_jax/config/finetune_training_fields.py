"""Fields of fine-tuning: optimizer, learning rate, and evaluation during training.

The defaults are those of Mask2Former on ADE20K, as MMSegmentation trains it.
"""

from rats_jax.config.checks import NOT_NEGATIVE, POSITIVE, STEPS, UP_TO_ONE, one_of
from rats_jax.config.field import Field

OPTIMIZER = (
    Field("optimizer.steps", 160_000, "Length of the run, in steps.", check=POSITIVE),
    Field(
        "optimizer.batch_size",
        8,
        "Images of a step, over all devices and processes.",
        check=POSITIVE,
    ),
    Field(
        "optimizer.accumulation",
        1,
        "Micro-batches, one after another, that a batch is computed in. Less memory for the same "
        "number of images.",
        check=POSITIVE,
    ),
    Field(
        "optimizer.learning_rate",
        1e-4,
        "Highest learning rate of AdamW. It is not scaled by the batch size.",
        check=POSITIVE,
    ),
    Field(
        "optimizer.backbone_rate",
        0.1,
        "Factor on the learning rate of the backbone.",
        check=POSITIVE,
    ),
    Field(
        "optimizer.layer_decay",
        1.0,
        "Factor on the learning rate from one block of the backbone to the block before it; 1 for "
        "the same rate in all blocks.",
        check=UP_TO_ONE,
    ),
    Field("optimizer.weight_decay", 0.05, "Weight decay of AdamW.", check=NOT_NEGATIVE),
    Field(
        "optimizer.clip",
        0.01,
        "Largest norm of the whole gradient; a larger gradient is scaled down. 0 for no clipping.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "optimizer.schedule",
        "poly",
        "How the learning rate falls: as a power of the share of the run that is left (`poly`), or "
        "by a factor at some steps (`steps`).",
        check=one_of("poly", "steps"),
    ),
    Field("optimizer.power", 0.9, "The power of `optimizer.schedule=poly`.", check=POSITIVE),
    Field(
        "optimizer.milestones",
        (),
        "The steps at which `optimizer.schedule=steps` multiplies the rate by `optimizer.gamma`.",
        check=STEPS,
    ),
    Field("optimizer.gamma", 0.1, "The factor of `optimizer.schedule=steps`.", check=POSITIVE),
    Field(
        "optimizer.warmup_steps",
        0,
        "Steps in which the learning rate rises linearly from 0. Fewer than `optimizer.steps`.",
        check=NOT_NEGATIVE,
    ),
)

EVALUATION = (
    Field(
        "evaluation.every_steps",
        5000,
        "Steps from one evaluation on `data.test` to the next; 0 for only after the last step.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "evaluation.images",
        0,
        "Use at most this many images of `data.test`, evenly spread; 0 for all.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "evaluation.short_side",
        512,
        "Images are scored at a size at which their short side has this many pixels.",
        check=POSITIVE,
    ),
    Field(
        "evaluation.long_side",
        2048,
        "Images whose long side would then have more pixels than this are made smaller, so that it "
        "has this many.",
        check=POSITIVE,
    ),
    Field(
        "evaluation.pictures",
        8,
        "How many images are drawn with their predictions; 0 for none.",
        check=NOT_NEGATIVE,
    ),
)
