"""RATS-S/16 on your own images: any folder of JPEG, PNG or WebP files, at any depth.

rats train --config=image_folder --config.data.path=FOLDER --workdir=DIR

Batch, epochs, prototypes, schedules and intervals are chosen from the number of images and the
memory of the device, and printed at the start: docs/train_on_your_images.md has the rules. Each of
them can be set by hand, and those that depend on it follow. What one changes first:

    --config.model.size=B                      Ti, S, B, L or g; S if not given
    --config.optimizer.epochs=100              schedules and intervals follow
    --config.optimizer.batch_size=128          learning rate, schedules and intervals follow

To watch parts come and keep the checkpoint where they peak, on images with masks of your own
(docs/operations.md):

    --config.evaluation.every_epochs=5 --config.evaluation.parts=folder:DIR \
    --config.run.keep_best=1 --config.run.best_metric=parts/m2o_12 --config.run.best_is=highest
"""

from rats_jax.config import AUTO, AUTO_TEXT, default_config
from rats_jax.models import SIZES


def get_config():
    config = default_config()
    config.compute_dtype = AUTO_TEXT

    config.model.architecture = "rats"
    config.model.update(SIZES["S"])
    config.model.registers_per_head = 16
    config.model.drop_path = 0.05
    config.model.remat = AUTO_TEXT

    config.head.prototypes = AUTO
    config.head.norm_last_layer = True  # steadier (official README, "Training tips")

    config.dino.teacher_temperature_start = AUTO
    config.dino.teacher_temperature = AUTO
    config.dino.teacher_temperature_warmup_epochs = AUTO
    config.dino.teacher_momentum = AUTO
    config.dino.freeze_last_layer_epochs = AUTO

    config.optimizer.batch_size = AUTO
    config.optimizer.accumulation = AUTO
    config.optimizer.epochs = AUTO
    config.optimizer.warmup_epochs = AUTO
    config.optimizer.learning_rate = AUTO
    config.optimizer.end_learning_rate = 1e-5
    config.optimizer.clip = 0.3

    config.data.source = "image_folder"
    config.data.workers = 8

    config.run.log_every = AUTO
    config.run.checkpoint_every = AUTO
    return config
