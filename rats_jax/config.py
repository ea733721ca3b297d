"""The fields of a run, their defaults, and what is derived from them.

A config file in `configs/` starts from `default_config()` and changes what makes its recipe. The
defaults are DINO v1's; fields that no recipe shares have none of their own and stand at zero.
"""

import dataclasses

from ml_collections import ConfigDict

from rats_jax.dino.augment import DINO_V1
from rats_jax.dino.schedules import Schedules
from rats_jax.errors import UserError


def default_config() -> ConfigDict:
    """Every field there is. The tree is locked: a name that is not here is an error."""
    config = ConfigDict()
    config.seed = 0
    #: "bfloat16" or "float32": of activations and matrix products. State is float32 always.
    config.compute_dtype = "bfloat16"

    config.model = ConfigDict()
    config.model.architecture = "rats"  # "rats", "vit" or "perceiver"
    config.model.width = 384
    config.model.depth = 12
    config.model.heads = 6
    config.model.patch = 16
    config.model.mlp_ratio = 4
    config.model.drop_path = 0.0
    config.model.position_offset = 0.1  # the official +0.1 of interpolation; 0.0 for a plain one
    config.model.registers_per_head = 16  # rats
    config.model.communicate = "parameter_free"  # rats: or "learned"
    config.model.sharing = "partitioned"  # rats: or "shared"
    config.model.parallel = "none"  # rats: or "shared", "separate" (Eq. 8)
    config.model.plain_registers = 0  # vit
    config.model.latents = 80  # perceiver
    config.model.queries = 96  # perceiver
    config.model.remat = "none"  # what the backward pass computes again: or "dots", "full"
    config.model.unroll = 1  # blocks in one iteration of the compiled loop

    # Devices by axis; one may be -1 and takes what is left. The batch is split over data and fsdp.
    config.mesh = ConfigDict()
    config.mesh.data = -1
    config.mesh.fsdp = 1  # splits parameters, moments and teacher as well
    config.mesh.tensor = 1  # splits heads with their registers, MLPs and prototypes

    config.head = ConfigDict()
    config.head.hidden = 2048
    config.head.bottleneck = 256
    config.head.prototypes = 65_536
    config.head.norm_last_layer = True

    config.crops = ConfigDict()
    config.crops.global_size = 224
    config.crops.global_scale = (0.25, 1.0)
    config.crops.local_size = 96
    config.crops.local_scale = (0.05, 0.25)
    config.crops.local_crops = 10

    # Strengths and probabilities of the photometric augmentation: DINO v1's, see dino/augment.py.
    config.photometrics = ConfigDict(dataclasses.asdict(DINO_V1))

    config.dino = ConfigDict()
    config.dino.loss_scope = "all"  # or "head": one loss per head (rats, Table 6)
    config.dino.student_temperature = 0.1
    config.dino.teacher_temperature_start = 0.04
    config.dino.teacher_temperature = 0.07
    config.dino.teacher_temperature_warmup_epochs = 30
    config.dino.center_momentum = 0.9
    config.dino.teacher_momentum = 0.996  # to 1, on a cosine
    config.dino.freeze_last_layer_epochs = 1.0

    config.optimizer = ConfigDict()
    config.optimizer.batch_size = 1024  # global
    config.optimizer.accumulation = 1  # micro-batches that it is computed in, one after another
    config.optimizer.epochs = 100.0
    config.optimizer.warmup_epochs = 10.0
    config.optimizer.learning_rate = 5e-4  # times batch_size / 256
    config.optimizer.end_learning_rate = 1e-5  # not scaled
    config.optimizer.weight_decay = 0.04
    config.optimizer.end_weight_decay = 0.4
    config.optimizer.clip = 0.0  # largest gradient norm of one tensor; 0 for no clipping

    config.data = ConfigDict()
    config.data.source = "image_folder"  # or "records", "tar", "tfds", "procedural_parts"
    config.data.path = ""  # what holds the images; of tfds its data_dir
    config.data.name = ""  # tfds: such as "imagenet2012:5.1.0"
    config.data.split = "train"  # tfds
    #: procedural_parts: how many pictures. Others: how many images there must be; 0 for any number.
    config.data.length = 0
    config.data.size = 128  # procedural_parts: pixels
    config.data.seed = 0  # procedural_parts: which world
    #: "fast"; or "exact", by Pillow alone; or "canvas", by the device. See data/samples.py.
    config.data.cropping = "fast"
    config.data.canvas = 512  # canvas: its side in pixels; a larger image is shrunk to fit
    config.data.workers = 0  # processes that prepare samples; 0 for threads of this one
    config.data.threads = 4  # in each of them
    config.data.prefetch = 2  # batches that wait on the devices
    #: The run stops when more than this share of the images seen (1,000 at least) is unreadable.
    config.data.max_unreadable = 0.01

    config.run = ConfigDict()
    #: Stop after this many steps, on the schedules of the whole run; 0 for the whole run.
    config.run.stop_after = 0
    config.run.log_every = 50
    config.run.checkpoint_every = 1000
    config.run.keep_checkpoints = 2  # the newest
    config.run.keep_every_epochs = 0.0  # and one every so many epochs, for good; 0 for none
    config.run.keep_best = 0  # and so many with the best of a metric, as last reported
    #: A name in metrics.jsonl. With one of an evaluation, such as "parts/m2o_12" or "knn/top1_20",
    #: the state is saved at every evaluation, and judged by it alone.
    config.run.best_metric = "loss"
    config.run.best_is = "lowest"  # or "highest"
    #: Where compiled programs are kept for the next start: a folder, "" for nowhere; "auto" for
    #: ~/.cache/rats_jax/compiled, but on CPUs nowhere.
    config.run.compilation_cache = "auto"

    # Measures the teacher while it trains: docs/operations.md.
    config.evaluation = ConfigDict()
    #: 0 for never; else also before the first step and after the last.
    config.evaluation.every_epochs = 0.0
    #: Images with part masks: KIND:PATH as of `rats_jax.evaluate`, or "procedural_parts", drawings
    #: of a world of their own; "" for none, and a training batch tells of the registers.
    config.evaluation.parts = ""
    config.evaluation.images = 0  # at most so many of them, evenly spread; 0 for all
    config.evaluation.resolution = 512  # pixels of both sides, as the model sees them
    #: Numbers of regions; () for 6, 12, 33, 96, as far as the model has them. A ViT has its heads.
    config.evaluation.top_k = ()
    config.evaluation.smoothing = 1.0  # of register maps, in patches; 0 for none
    #: k-NN: images with a class each, KIND:PATH; those that vote, and those that are classified.
    config.evaluation.knn_train = ""
    config.evaluation.knn_test = ""
    config.evaluation.knn_images = 0  # at most so many of each, evenly spread; 0 for all
    config.evaluation.knn_k = 20

    # What watches over a run: docs/operations.md.
    config.guards = ConfigDict()
    config.guards.nonfinite_steps = 10  # in a row, that changed nothing: the run stops
    config.guards.collapse = "warn"  # or "stop" the run, or "off"
    config.guards.stall_minutes = 30.0  # without a step: the run ends; 0 to wait for ever
    return config.lock()


def validate(config: ConfigDict) -> None:
    """Raises UserError on the first field that cannot be what was meant."""
    model, crops, optimizer = config.model, config.crops, config.optimizer
    _one_of(config, "compute_dtype", ("bfloat16", "float32"))
    _one_of(config, "model.architecture", ("rats", "vit", "perceiver"))
    _one_of(config, "model.communicate", ("parameter_free", "learned"))
    _one_of(config, "model.sharing", ("partitioned", "shared"))
    _one_of(config, "model.parallel", ("none", "shared", "separate"))
    _one_of(config, "model.remat", ("none", "dots", "full"))
    _one_of(config, "dino.loss_scope", ("all", "head"))
    _one_of(config, "run.best_is", ("lowest", "highest"))
    _one_of(config, "guards.collapse", ("warn", "stop", "off"))
    _one_of(config, "data.cropping", ("fast", "exact", "canvas"))
    for name in POSITIVE:
        _check(_get(config, name) > 0, f"config.{name} is {_get(config, name)}: it must be over 0")
    for name in NOT_NEGATIVE:
        _check(_get(config, name) >= 0, f"config.{name} is {_get(config, name)}: 0 is the least")

    _check(
        model.width % model.heads == 0,
        f"config.model.width {model.width} is not divisible by config.model.heads {model.heads}",
    )
    for name in ("global_size", "local_size"):
        nearest = max(round(crops[name] / model.patch), 1) * model.patch
        _check(
            crops[name] == nearest,
            f"config.crops.{name} {crops[name]} is not a multiple of config.model.patch "
            f"{model.patch}; the nearest is {nearest}",
        )
    _check(
        config.data.canvas >= crops.global_size,
        f"config.data.canvas {config.data.canvas} is smaller than config.crops.global_size "
        f"{crops.global_size}: crops would be enlarged from it",
    )
    for name in ("crops.global_scale", "crops.local_scale"):
        low, high = _pair(config, name)
        _check(
            0 < low <= high <= 1,
            f"config.{name} is ({low}, {high}): shares of the image's area, low first",
        )
    low, high = _pair(config, "photometrics.blur_sigma")
    _check(0 <= low <= high, f"config.photometrics.blur_sigma is ({low}, {high}): low comes first")
    for name in ("photometrics.blur_global", "photometrics.solarize_global"):
        for value in _pair(config, name):
            _check(0 <= value <= 1, f"config.{name} holds {value}: probabilities are meant")
    for name in SHARES:
        value = _get(config, name)
        _check(0 <= value <= 1, f"config.{name} is {value}: choose a number from 0 to 1")
    _check(
        config.dino.loss_scope == "all" or model.architecture == "rats",
        "config.dino.loss_scope=head needs registers owned by heads: "
        "set config.model.architecture=rats or config.dino.loss_scope=all",
    )
    _check(
        model.architecture != "perceiver" or model.depth >= 3,
        f"config.model.depth {model.depth}: a perceiver has at least 3 layers",
    )
    _check(0 <= model.drop_path < 1, f"config.model.drop_path {model.drop_path} is not in [0, 1)")
    _check(
        optimizer.warmup_epochs < optimizer.epochs,
        f"config.optimizer.warmup_epochs {optimizer.warmup_epochs} is not below "
        f"config.optimizer.epochs {optimizer.epochs}; shorten the one or lengthen the other",
    )
    _check(config.seed < 2**32, f"config.seed is {config.seed}: choose one below {2**32}")


def validate_source(config: ConfigDict) -> None:
    """As `validate`, of the fields that say which images to train on."""
    data = config.data
    _one_of(config, "data.source", tuple(HOLDERS) + ("procedural_parts",))
    if data.source in HOLDERS:
        _check(data.path, f"config.data.path is empty: give {HOLDERS[data.source]}")
        _check(
            data.name or data.source != "tfds",
            "config.data.name is empty: say which data set, such as imagenet2012:5.1.0",
        )
    else:
        _check(data.length > 0, "config.data.length is 0: say how many pictures to draw")
        _check(
            8 <= data.size <= 2048,
            f"config.data.size is {data.size}: pictures are drawn at 8 to 2048 pixels",
        )
    _check(data.seed < 2**63, f"config.data.seed is {data.seed}: too large")


#: The sources that read `config.data.path`, and what it must be.
HOLDERS = {
    "image_folder": "the folder of images to train on",
    "records": "a folder that `python -m rats_jax.prepare` has made",
    "tar": "a tar file, a folder of them, or a pattern such as data-{000..146}.tar",
    "tfds": "the data_dir of tensorflow-datasets, which holds the prepared data set",
}
POSITIVE = (
    *("model.width", "model.depth", "model.heads", "model.patch", "model.mlp_ratio"),
    *("model.registers_per_head", "model.latents", "model.queries", "model.unroll"),
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


def schedules(config: ConfigDict, *, images: int) -> Schedules:
    """The recipe's schedules in steps, for a data set of `images`. An epoch is its whole batches,
    as in the official code; the order of images runs on through it, so none is left out."""
    optimizer, dino = config.optimizer, config.dino
    steps_per_epoch = images // optimizer.batch_size
    _check(
        steps_per_epoch > 0,
        f"config.optimizer.batch_size {optimizer.batch_size} is larger than the data set "
        f"({images} images); make the batch smaller",
    )
    steps = round(optimizer.epochs * steps_per_epoch)
    _check(steps > 0, f"config.optimizer.epochs {optimizer.epochs} is less than a step; raise it")
    return Schedules(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        peak_learning_rate=optimizer.learning_rate * optimizer.batch_size / 256,
        end_learning_rate=optimizer.end_learning_rate,
        warmup_steps=round(optimizer.warmup_epochs * steps_per_epoch),
        weight_decay_start=optimizer.weight_decay,
        weight_decay_end=optimizer.end_weight_decay,
        momentum_start=dino.teacher_momentum,
        momentum_end=1.0,
        temperature_start=dino.teacher_temperature_start,
        temperature_end=dino.teacher_temperature,
        temperature_warmup_epochs=dino.teacher_temperature_warmup_epochs,
        freeze_last_layer_steps=round(dino.freeze_last_layer_epochs * steps_per_epoch),
    )


def _get(config: ConfigDict, name: str):
    for part in name.split("."):
        config = config[part]
    return config


def _pair(config: ConfigDict, name: str) -> tuple[float, float]:
    value = _get(config, name)
    _check(
        len(value) == 2 and all(isinstance(x, int | float) for x in value),
        f"config.{name} is {tuple(value)}: two numbers are meant, such as (0.1, 0.5)",
    )
    return value


def _one_of(config: ConfigDict, name: str, choices: tuple[str, ...]) -> None:
    value = _get(config, name)
    _check(value in choices, f"config.{name} is {value!r}: choose one of {', '.join(choices)}")


def _check(condition: object, message: str) -> None:
    if not condition:
        raise UserError(message)
