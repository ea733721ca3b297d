"""The fields of a run, their defaults, and the schedules derived from them.

A config file in `configs/` starts from `default_config()` and changes what makes its recipe. The
defaults are DINO v1's; fields that no recipe shares have none of their own and stand at zero.
"""

import dataclasses

from ml_collections import ConfigDict

from rats_jax.dino.augment import DINO_V1
from rats_jax.dino.schedules import Schedules
from rats_jax.validation import check


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
    config.model.register_std = 0.02  # rats: standard deviation of the registers at the start
    #: Sizes of parameters at the start, see models/start.py. kernel_std: of kernels and positions.
    config.model.kernel_std = 0.02
    config.model.query_key_gain = 1.0
    config.model.value_gain = 1.0
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
    #: A resumed run that finds other images than before ends; its last line says what to set here
    #: to continue with them all the same.
    config.data.accept = ""

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
    config.evaluation.centered = False  # regions by cosines that are centered: docs/evaluation.md
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


def schedules(config: ConfigDict, *, images: int) -> Schedules:
    """The recipe's schedules in steps, for a data set of `images`. An epoch is its whole batches,
    as in the official code; the order of images runs on through it, so none is left out."""
    optimizer, dino = config.optimizer, config.dino
    steps_per_epoch = images // optimizer.batch_size
    check(
        steps_per_epoch > 0,
        f"config.optimizer.batch_size {optimizer.batch_size} is larger than the data set "
        f"({images} images); make the batch smaller, or give more images",
    )
    steps = round(optimizer.epochs * steps_per_epoch)
    check(steps > 0, f"config.optimizer.epochs {optimizer.epochs} is less than a step; raise it")
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
