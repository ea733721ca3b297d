"""Fields of the data: the training images, and how they are prepared."""

from rats_jax.config.checks import NOT_NEGATIVE, POSITIVE, SHARE, below, one_of, within
from rats_jax.config.field import Field
from rats_jax.data.source_kinds import SOURCES

DATA = (
    Field(
        "data.source",
        "image_folder",
        f"Where the images come from: one of {', '.join(SOURCES)}.",
    ),
    Field(
        "data.path",
        "",
        "What holds the images. "
        + "; ".join(
            f"{k}: {of.needs['path'].removeprefix('give ')}"
            for k, of in SOURCES.items()
            if "path" in of.needs
        )
        + ".",
        per_process=True,
    ),
    Field("data.name", "", "tfds: the data set, such as `imagenet2012:5.1.0`."),
    Field("data.split", "train", "tfds: the split, as TFDS writes it, such as `train[:90%]`."),
    Field(
        "data.length",
        0,
        "procedural_parts: how many pictures to draw. Other sources: how many images there must "
        "be; 0 for any number.",
        check=NOT_NEGATIVE,
    ),
    Field(
        "data.size",
        128,
        "procedural_parts: side of a picture, in pixels.",
        check=within(8, 2048, unit="pixels"),
    ),
    Field(
        "data.seed",
        0,
        "procedural_parts: seed of the pictures. Another seed draws other pictures.",
        check=below(2**63),
    ),
    Field(
        "data.cropping",
        "fast",
        "How crops are cut out: `fast`, by libjpeg-turbo and a vectorised resampler; `exact`, by "
        "Pillow alone; `canvas`, by the device. See `rats_jax/data/samples.py`.",
        check=one_of("fast", "exact", "canvas"),
    ),
    Field(
        "data.canvas",
        512,
        "Cropping by the device: side of the canvas, in pixels. A larger image is shrunk to fit. "
        "At least `crops.global_size`.",
        check=POSITIVE,
    ),
    Field(
        "data.workers",
        0,
        "Number of processes that prepare samples; 0 for threads of the training process.",
        check=NOT_NEGATIVE,
        per_process=True,
    ),
    Field(
        "data.threads",
        4,
        "Number of threads that prepare samples, in each of these processes.",
        check=POSITIVE,
        per_process=True,
    ),
    Field(
        "data.prefetch",
        2,
        "Number of batches that are placed on the devices ahead of the training step.",
        check=POSITIVE,
    ),
    Field(
        "data.max_unreadable",
        0.01,
        "The run stops when more than this share of the images seen so far (counted as 1,000 at "
        "least) cannot be read.",
        check=SHARE,
    ),
    Field(
        "data.accept",
        "",
        "When a run is resumed and finds other images than before, it ends. The last line of its "
        "output has the value to set here to continue with them.",
        old_runs="",
        silent=True,
    ),
)
