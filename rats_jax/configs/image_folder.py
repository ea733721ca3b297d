"""RATS-S/16 on your own images: any folder of JPEG, PNG or WebP files, at any depth.

rats train --config=image_folder --config.data.path=FOLDER --workdir=DIR

Written for one accelerator and 10,000 to 1,000,000 images. What one changes first:

    --config.optimizer.batch_size=128          as large as memory allows; learning rate follows
    --config.optimizer.epochs=300              fewer images want more epochs
    --config.model.remat=dots                  half the memory of activations; not slower on a TPU
                                               by the compiler's estimate (docs/pods.md)
    --config.compute_dtype=float32             on a CPU

To watch parts come and keep the checkpoint where they peak, on images with masks of your own
(docs/operations.md):

    --config.evaluation.every_epochs=5 --config.evaluation.parts=folder:DIR \
    --config.run.keep_best=1 --config.run.best_metric=parts/m2o_12 --config.run.best_is=highest
"""

from rats_jax.config import default_config
from rats_jax.models import SIZES


def get_config():
    config = default_config()

    config.model.architecture = "rats"
    config.model.update(SIZES["S"])
    config.model.registers_per_head = 16
    config.model.drop_path = 0.05

    # Fewer prototypes than for ImageNet's 1,281,167 images, and gains that stay at 1: both make the
    # start of a run steadier (official README, "Training tips").
    config.head.prototypes = 16_384
    config.head.norm_last_layer = True

    config.dino.teacher_temperature = 0.06
    config.dino.teacher_temperature_warmup_epochs = 30
    config.dino.freeze_last_layer_epochs = 1.0

    config.optimizer.batch_size = 256
    config.optimizer.epochs = 200.0
    config.optimizer.warmup_epochs = 10.0
    config.optimizer.learning_rate = 5e-4
    config.optimizer.end_learning_rate = 1e-5
    config.optimizer.clip = 0.3

    config.data.source = "image_folder"
    config.data.workers = 8

    config.run.log_every = 50
    config.run.checkpoint_every = 1000
    return config
