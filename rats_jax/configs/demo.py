"""A small RATS on drawings of many-part objects, in minutes on two CPU cores: see `make demo`.

rats train --config=demo --workdir=DIR

`make demo` starts it from a model that the recipe drawings made in 3,000 steps; this command, from
random weights. What differs from the ImageNet recipes, and why (see docs/emergence.md):

- Kernels, queries, keys, values and registers start larger: with those of the paper every register
  of so narrow a model reads the mean of the image.
- Larger crops and a blur of less than a pixel: the pictures are small.
- A sharp teacher, a small bottleneck and a faster teacher: the run is short, and must not drift to
  the uniform solution.
"""

from rats_jax.config import default_config


def get_config():
    config = default_config()
    config.compute_dtype = "float32"

    config.model.architecture = "rats"
    config.model.width = 96
    config.model.depth = 4
    config.model.heads = 4
    config.model.registers_per_head = 4  # 16 in all
    config.model.patch = 8
    config.model.kernel_std = 0.1
    config.model.query_key_gain = 2.0
    config.model.value_gain = 1.5
    config.model.register_std = 0.5

    config.head.hidden = 256
    config.head.bottleneck = 32
    config.head.prototypes = 1024

    config.crops.global_size = 64
    config.crops.global_scale = (0.4, 1.0)
    config.crops.local_size = 32
    config.crops.local_scale = (0.15, 0.5)
    config.crops.local_crops = 2

    config.photometrics.blur_sigma = (0.1, 0.6)
    config.photometrics.solarize_global = (0.0, 0.0)

    config.dino.teacher_temperature_start = 0.02
    config.dino.teacher_temperature = 0.02
    config.dino.teacher_temperature_warmup_epochs = 0
    config.dino.teacher_momentum = 0.99
    config.dino.freeze_last_layer_epochs = 0.1

    config.optimizer.batch_size = 64
    config.optimizer.epochs = 0.8  # 200 steps
    config.optimizer.warmup_epochs = 0.1
    config.optimizer.learning_rate = 8e-4  # 2e-4 at 64
    config.optimizer.end_learning_rate = 1e-5
    config.optimizer.clip = 0.3

    config.data.source = "procedural_parts"
    config.data.length = 16_000
    config.data.size = 80
    config.data.cropping = "exact"  # pictures as small as these leave nothing to save
    config.data.threads = 2

    config.run.log_every = 25
    config.run.checkpoint_every = 100

    config.evaluation.every_epochs = 0.2  # 50 steps
    config.evaluation.parts = "procedural_parts"
    config.evaluation.images = 100  # of another world than those that make demo scores at the end
    config.evaluation.resolution = 96
    config.evaluation.top_k = (8,)
    config.evaluation.smoothing = 0.5  # the usual 1 would be an eighth of these small grids
    config.evaluation.centered = True
    return config
