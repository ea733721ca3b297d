"""A small RATS on drawings of many-part objects, in minutes on two CPU cores: see `make demo`.

python -m rats_jax.train --config=configs/demo.py --workdir=DIR

What differs from the ImageNet recipes, and why (found by search; see docs/demo.md):

- One loss per head: with one loss for all, the registers become copies of each other in the first
  hundred steps.
- Larger crops: a twentieth of a 64 px picture shows nothing that the rest could be told from.
- Weaker photometrics: a blur of 2 px, meant for 224 px, wipes out a 64 px crop.
- Two registers a head: with four, training does not improve on the untrained grouping so early.
- A small bottleneck and a faster teacher: logits differ between pictures from the start, and the
  teacher keeps up with a run of hundreds of steps.
"""

from rats_jax.config import default_config


def get_config():
    config = default_config()
    config.compute_dtype = "float32"

    config.model.architecture = "rats"
    config.model.width = 96
    config.model.depth = 3
    config.model.heads = 4
    config.model.registers_per_head = 2  # 8 in all
    config.model.patch = 8

    config.head.hidden = 256
    config.head.bottleneck = 16
    config.head.prototypes = 256

    config.crops.global_size = 64
    config.crops.global_scale = (0.5, 1.0)
    config.crops.local_size = 32
    config.crops.local_scale = (0.2, 0.6)
    config.crops.local_crops = 2

    config.photometrics.brightness = 0.2
    config.photometrics.contrast = 0.2
    config.photometrics.saturation = 0.1
    config.photometrics.hue = 0.02
    config.photometrics.grayscale = 0.0
    config.photometrics.blur_sigma = (0.1, 0.6)
    config.photometrics.solarize_global = (0.0, 0.0)

    config.dino.loss_scope = "head"
    config.dino.teacher_temperature_start = 0.04
    config.dino.teacher_temperature = 0.04
    config.dino.teacher_temperature_warmup_epochs = 0
    config.dino.teacher_momentum = 0.99
    config.dino.freeze_last_layer_epochs = 0.2

    config.optimizer.batch_size = 32
    config.optimizer.epochs = 3.0  # 375 steps
    config.optimizer.warmup_epochs = 0.5
    config.optimizer.learning_rate = 2e-3  # 2.5e-4 at 32
    config.optimizer.end_learning_rate = 1e-5
    config.optimizer.clip = 0.3

    config.data.source = "procedural_parts"
    config.data.length = 4000
    config.data.size = 80
    config.data.cropping = "exact"  # pictures as small as these leave nothing to save
    config.data.threads = 2

    config.run.log_every = 25
    config.run.checkpoint_every = 125
    config.run.keep_best = 1
    config.run.best_metric = "parts/m2o_8"
    config.run.best_is = "highest"

    config.evaluation.every_epochs = 0.4  # 50 steps
    config.evaluation.parts = "procedural_parts"
    config.evaluation.images = 100  # of another world than those that make demo scores at the end
    config.evaluation.resolution = 96
    config.evaluation.top_k = (8,)
    config.evaluation.smoothing = 0.5  # the usual 1 would be an eighth of these small grids
    return config
