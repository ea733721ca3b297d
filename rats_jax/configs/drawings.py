"""A RATS on drawings, for an hour or more on two CPU cores, to find out when parts appear.

rats train --config=drawings --workdir=DIR

docs/emergence.md has what was found so far. What differs from the ImageNet recipes, and why:

- Kernels, queries, keys, values and registers start larger. At width 96 those of the paper make
  attention so uniform that every register of a head reads the mean of the image, and all of them
  grow alike.
- Larger crops and a blur of less than a pixel: the pictures are small.
- A sharp teacher, a small bottleneck, a faster teacher and a higher learning rate: the run has
  thousands of steps, not hundreds of thousands.
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
    config.crops.local_crops = 4

    config.photometrics.blur_sigma = (0.1, 0.6)
    config.photometrics.solarize_global = (0.0, 0.0)

    config.dino.teacher_temperature_start = 0.02
    config.dino.teacher_temperature = 0.02
    config.dino.teacher_temperature_warmup_epochs = 0
    config.dino.teacher_momentum = 0.99
    config.dino.freeze_last_layer_epochs = 0.2

    config.optimizer.batch_size = 64
    config.optimizer.epochs = 20.0  # 5,000 steps
    config.optimizer.warmup_epochs = 1.0
    config.optimizer.learning_rate = 4e-3  # 1e-3 at 64
    config.optimizer.end_learning_rate = 1e-5
    config.optimizer.clip = 0.3

    config.data.source = "procedural_parts"
    config.data.length = 16_000
    config.data.size = 80
    config.data.cropping = "exact"  # pictures as small as these leave nothing to save
    config.data.threads = 2

    config.run.log_every = 50
    config.run.checkpoint_every = 250
    config.run.keep_best = 1
    config.run.best_metric = "parts/ari_8"
    config.run.best_is = "highest"

    config.evaluation.every_epochs = 1.0
    config.evaluation.parts = "procedural_parts"
    config.evaluation.images = 200
    config.evaluation.resolution = 96
    config.evaluation.top_k = (4, 8)
    config.evaluation.smoothing = 0.5
    config.evaluation.centered = True
    return config
