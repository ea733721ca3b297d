"""Configs that cannot be what was meant, told in one line each before anything starts."""

import math

from ml_collections import ConfigDict

from rats_jax.errors import UserError
from rats_jax.models.options import OPTIONS


def validate(config: ConfigDict) -> None:
    """Raises UserError on the first field that cannot be what was meant."""
    model, crops, optimizer = config.model, config.crops, config.optimizer
    _one_of(config, "compute_dtype", ("bfloat16", "float32"))
    _one_of(config, "model.architecture", tuple(OPTIONS))
    _one_of(config, "model.communicate", ("parameter_free", "learned"))
    _one_of(config, "model.sharing", ("partitioned", "shared"))
    _one_of(config, "model.parallel", ("none", "shared", "separate"))
    _one_of(config, "model.remat", ("none", "dots", "full"))
    _one_of(config, "dino.loss_scope", ("all", "head"))
    _one_of(config, "run.best_is", ("lowest", "highest"))
    _one_of(config, "guards.collapse", ("warn", "stop", "off"))
    _one_of(config, "data.cropping", ("fast", "exact", "canvas"))
    for name in POSITIVE:
        check(_get(config, name) > 0, f"config.{name} is {_get(config, name)}: it must be over 0")
    for name in NOT_NEGATIVE:
        check(_get(config, name) >= 0, f"config.{name} is {_get(config, name)}: 0 is the least")
    for name in POSITIVE + NOT_NEGATIVE:
        value = _get(config, name)
        check(math.isfinite(value), f"config.{name} is {value}: choose a finite number")

    check(
        model.width % model.heads == 0,
        f"config.model.width {model.width} is not divisible by config.model.heads {model.heads}",
    )
    for name in ("global_size", "local_size"):
        nearest = max(round(crops[name] / model.patch), 1) * model.patch
        check(
            crops[name] == nearest,
            f"config.crops.{name} {crops[name]} is not a multiple of config.model.patch "
            f"{model.patch}; the nearest is {nearest}",
        )
    check(
        config.data.canvas >= crops.global_size,
        f"config.data.canvas {config.data.canvas} is smaller than config.crops.global_size "
        f"{crops.global_size}: crops would be enlarged from it",
    )
    for name in ("crops.global_scale", "crops.local_scale"):
        low, high = _pair(config, name)
        check(
            0 < low <= high <= 1,
            f"config.{name} is ({low}, {high}): shares of the image's area, low first",
        )
    low, high = _pair(config, "photometrics.blur_sigma")
    check(0 <= low <= high, f"config.photometrics.blur_sigma is ({low}, {high}): low comes first")
    for name in ("photometrics.blur_global", "photometrics.solarize_global"):
        for value in _pair(config, name):
            check(0 <= value <= 1, f"config.{name} holds {value}: probabilities are meant")
    for name in SHARES:
        value = _get(config, name)
        check(0 <= value <= 1, f"config.{name} is {value}: choose a number from 0 to 1")
    check(
        config.dino.loss_scope == "all" or OPTIONS[model.architecture].registers_by_head,
        "config.dino.loss_scope=head needs registers owned by heads: "
        "set config.model.architecture=rats or config.dino.loss_scope=all",
    )
    least = OPTIONS[model.architecture].least_depth
    check(
        model.depth >= least,
        f"config.model.depth {model.depth}: a {model.architecture} has at least {least} layers",
    )
    check(0 <= model.drop_path < 1, f"config.model.drop_path {model.drop_path} is not in [0, 1)")
    check(
        optimizer.warmup_epochs < optimizer.epochs,
        f"config.optimizer.warmup_epochs {optimizer.warmup_epochs} is not below "
        f"config.optimizer.epochs {optimizer.epochs}; shorten the one or lengthen the other",
    )
    check(config.seed < 2**32, f"config.seed is {config.seed}: choose one below {2**32}")


def validate_source(config: ConfigDict) -> None:
    """As `validate`, of the fields that say which images to train on."""
    data = config.data
    _one_of(config, "data.source", tuple(HOLDERS) + ("procedural_parts",))
    if data.source in HOLDERS:
        check(data.path, f"config.data.path is empty: give {HOLDERS[data.source]}")
        check(
            data.name or data.source != "tfds",
            "config.data.name is empty: say which data set, such as imagenet2012:5.1.0",
        )
    else:
        check(data.length > 0, "config.data.length is 0: say how many pictures to draw")
        check(
            8 <= data.size <= 2048,
            f"config.data.size is {data.size}: pictures are drawn at 8 to 2048 pixels",
        )
    check(data.seed < 2**63, f"config.data.seed is {data.seed}: too large")


#: The sources that read `config.data.path`, and what it must be.
HOLDERS = {
    "image_folder": "the folder of images to train on",
    "records": "a folder that `python -m rats_jax.prepare` has made",
    "tar": "a tar file, a folder of them, or a pattern such as data-{000..146}.tar",
    "tfds": "the data_dir of tensorflow-datasets, which holds the prepared data set",
}
POSITIVE = (
    *("model.width", "model.depth", "model.heads", "model.patch", "model.mlp_ratio"),
    *("model.registers_per_head", "model.latents", "model.queries"),
    *("model.register_std", "model.kernel_std", "model.query_key_gain", "model.value_gain"),
    "model.unroll",
    *("head.hidden", "head.bottleneck", "head.prototypes"),
    *("crops.global_size", "crops.local_size"),
    *("dino.student_temperature", "dino.teacher_temperature", "dino.teacher_temperature_start"),
    *("optimizer.batch_size", "optimizer.accumulation", "optimizer.epochs"),
    "optimizer.learning_rate",
    *("data.size", "data.threads", "data.prefetch", "data.canvas"),
    *("run.log_every", "run.checkpoint_every", "run.keep_checkpoints"),
    *("evaluation.resolution", "evaluation.knn_k", "guards.nonfinite_steps"),
)
NOT_NEGATIVE = (
    *("seed", "model.plain_registers", "crops.local_crops", "optimizer.warmup_epochs"),
    *("optimizer.weight_decay", "optimizer.end_weight_decay", "optimizer.clip"),
    *("optimizer.end_learning_rate", "dino.freeze_last_layer_epochs"),
    *("dino.teacher_temperature_warmup_epochs", "data.length", "data.workers", "data.seed"),
    *("photometrics.brightness", "photometrics.contrast", "photometrics.saturation"),
    *("run.stop_after", "run.keep_every_epochs", "run.keep_best", "guards.stall_minutes"),
    *("evaluation.every_epochs", "evaluation.images", "evaluation.smoothing"),
    "evaluation.knn_images",
)
SHARES = (
    *("photometrics.jitter", "photometrics.grayscale", "photometrics.blur_local"),
    *("photometrics.solarize_local", "photometrics.hue", "data.max_unreadable"),
    *("dino.teacher_momentum", "dino.center_momentum"),
)


def _get(config: ConfigDict, name: str):
    for part in name.split("."):
        config = config[part]
    return config


def _pair(config: ConfigDict, name: str) -> tuple[float, float]:
    value = _get(config, name)
    check(
        len(value) == 2 and all(isinstance(x, int | float) for x in value),
        f"config.{name} is {tuple(value)}: two numbers are meant, such as (0.1, 0.5)",
    )
    return value


def _one_of(config: ConfigDict, name: str, choices: tuple[str, ...]) -> None:
    value = _get(config, name)
    check(value in choices, f"config.{name} is {value!r}: choose one of {', '.join(choices)}")


def check(condition: object, message: str) -> None:
    if not condition:
        raise UserError(message)
