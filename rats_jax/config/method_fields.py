"""Fields of the method: crops, augmentation, DINO's loss and teacher, and the optimizer.

The defaults are those of DINO v1 (official `main_dino.py`).
"""

from rats_jax.config.checks import (
    AREAS,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITIES,
    RANGE,
    SHARE,
    one_of,
)
from rats_jax.config.field import Field
from rats_jax.dino.augment import DINO_V1

CROPS = (
    Field(
        "crops.global_size",
        224,
        "Side of the two global crops, in pixels. A multiple of `model.patch`. It sets the size of "
        "the position embedding.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "crops.global_scale",
        (0.25, 1.0),
        "Least and largest share of the image's area that a global crop covers.",
        check=AREAS,
    ),
    Field(
        "crops.local_size",
        96,
        "Side of a local crop, in pixels. A multiple of `model.patch`.",
        check=POSITIVE,
    ),
    Field(
        "crops.local_scale",
        (0.05, 0.25),
        "Least and largest share of the image's area that a local crop covers.",
        check=AREAS,
    ),
    Field("crops.local_crops", 10, "Number of local crops of an image.", check=NOT_NEGATIVE),
)

PHOTOMETRICS = (
    Field(
        "photometrics.jitter",
        DINO_V1.jitter,
        "Probability of colour jitter, for each crop.",
        check=SHARE,
    ),
    Field(
        "photometrics.brightness",
        DINO_V1.brightness,
        "Strength x of the jitter of brightness: factors are uniform in [1 - x, 1 + x].",
        check=NOT_NEGATIVE,
    ),
    Field(
        "photometrics.contrast",
        DINO_V1.contrast,
        "Strength x of the jitter of contrast: factors are uniform in [1 - x, 1 + x].",
        check=NOT_NEGATIVE,
    ),
    Field(
        "photometrics.saturation",
        DINO_V1.saturation,
        "Strength x of the jitter of saturation: factors are uniform in [1 - x, 1 + x].",
        check=NOT_NEGATIVE,
    ),
    Field(
        "photometrics.hue",
        DINO_V1.hue,
        "Strength x of the jitter of hue: shifts are uniform in [-x, x], in turns of the colour "
        "circle.",
        check=SHARE,
    ),
    Field(
        "photometrics.grayscale",
        DINO_V1.grayscale,
        "Probability that a crop becomes grey.",
        check=SHARE,
    ),
    Field(
        "photometrics.blur_global",
        DINO_V1.blur_global,
        "Probability of a Gaussian blur of the first and of the second global crop.",
        check=PROBABILITIES,
    ),
    Field(
        "photometrics.blur_local",
        DINO_V1.blur_local,
        "Probability of a Gaussian blur of a local crop.",
        check=SHARE,
    ),
    Field(
        "photometrics.blur_sigma",
        DINO_V1.blur_sigma,
        "Least and largest standard deviation of the blur, in pixels.",
        check=RANGE,
    ),
    Field(
        "photometrics.solarize_global",
        DINO_V1.solarize_global,
        "Probability of solarisation of the first and of the second global crop.",
        check=PROBABILITIES,
    ),
    Field(
        "photometrics.solarize_local",
        DINO_V1.solarize_local,
        "Probability of solarisation of a local crop.",
        check=SHARE,
    ),
)

DINO = (
    Field(
        "dino.loss_scope",
        "all",
        "One loss of the mean of all registers (`all`), or one loss for each head's registers "
        "(`head`; RATS only, Table 6 of the paper).",
        check=one_of("all", "head"),
        fixed=True,
    ),
    Field(
        "dino.student_temperature",
        0.1,
        "Temperature of the student's softmax.",
        check=POSITIVE,
    ),
    Field(
        "dino.teacher_temperature_start",
        0.04,
        "Temperature of the teacher's softmax at the first step.",
        check=POSITIVE,
        automatic=True,
    ),
    Field(
        "dino.teacher_temperature",
        0.07,
        "Temperature of the teacher's softmax after its warm-up.",
        check=POSITIVE,
        automatic=True,
    ),
    Field(
        "dino.teacher_temperature_warmup_epochs",
        30,
        "Epochs in which the teacher's temperature rises linearly to its last value.",
        check=NOT_NEGATIVE,
        automatic=True,
    ),
    Field(
        "dino.center_momentum",
        0.9,
        "Share of the old center that a step keeps. The center is subtracted from the teacher's "
        "outputs.",
        check=SHARE,
    ),
    Field(
        "dino.teacher_momentum",
        0.996,
        "Share of the old teacher that a step keeps, at the first step; it rises to 1 on a cosine "
        "over the run.",
        check=SHARE,
        automatic=True,
    ),
    Field(
        "dino.freeze_last_layer_epochs",
        1.0,
        "Epochs at the start in which the last layer of the head is not trained.",
        check=NOT_NEGATIVE,
        automatic=True,
    ),
)

OPTIMIZER = (
    Field(
        "optimizer.batch_size",
        1024,
        "Images of a step, over all devices and processes.",
        check=POSITIVE,
        automatic=True,
    ),
    Field(
        "optimizer.accumulation",
        1,
        "Micro-batches, one after another, that a batch is computed in. Less memory for the same "
        "result.",
        check=POSITIVE,
        automatic=True,
    ),
    Field(
        "optimizer.epochs", 100.0, "Length of the run, in epochs.", check=POSITIVE, automatic=True
    ),
    Field(
        "optimizer.warmup_epochs",
        10.0,
        "Epochs in which the learning rate rises linearly from 0. Fewer than `optimizer.epochs`.",
        check=NOT_NEGATIVE,
        automatic=True,
    ),
    Field(
        "optimizer.learning_rate",
        5e-4,
        "Peak learning rate for a batch of 256 images. It is multiplied by `batch_size` / 256.",
        check=POSITIVE,
        automatic=True,
    ),
    Field(
        "optimizer.end_learning_rate",
        1e-5,
        "Learning rate at the end of the cosine. It is not scaled by the batch size.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "optimizer.weight_decay",
        0.04,
        "Weight decay of AdamW at the first step.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "optimizer.end_weight_decay",
        0.4,
        "Weight decay of AdamW at the last step, reached on a cosine.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "optimizer.clip",
        0.0,
        "Largest norm of the gradient of one tensor; larger ones are scaled down. 0 for no "
        "clipping.",
        check=NOT_NEGATIVE,
    ),
)
