"""RATS-S/16 on ImageNet-1k, 300 epochs: the small recipe of the paper.

rats train --config=rats_s16_in1k --config.data.path=IMAGENET/train --workdir=DIR

Registers are looked at after each epoch. To score parts then as well, and keep where they peak:

    --config.evaluation.parts=partimagenet:DIR --config.run.keep_best=1 \
    --config.run.best_metric=parts/m2o_33 --config.run.best_is=highest
"""

from rats_jax.config import default_config
from rats_jax.models import SIZES


def get_config():
    config = default_config()

    config.model.architecture = "rats"
    config.model.update(SIZES["S"])
    config.model.patch = 16
    config.model.registers_per_head = 16  # 6 heads: 96 registers
    config.model.drop_path = 0.05

    config.head.prototypes = 65_536
    config.head.norm_last_layer = False

    config.crops.global_size = 224
    config.crops.global_scale = (0.25, 1.0)
    config.crops.local_size = 96
    config.crops.local_scale = (0.05, 0.25)
    config.crops.local_crops = 10

    config.dino.student_temperature = 0.1
    config.dino.teacher_temperature_start = 0.04
    config.dino.teacher_temperature = 0.07
    config.dino.teacher_temperature_warmup_epochs = 30
    config.dino.teacher_momentum = 0.996
    config.dino.center_momentum = 0.9
    config.dino.freeze_last_layer_epochs = 1.0

    config.optimizer.batch_size = 768
    config.optimizer.epochs = 300.0  # 500,400 steps
    config.optimizer.warmup_epochs = 10.0
    config.optimizer.learning_rate = 5e-4  # 1.5e-3 at 768
    config.optimizer.end_learning_rate = 1e-5
    config.optimizer.weight_decay = 0.04
    config.optimizer.end_weight_decay = 0.4
    config.optimizer.clip = 0.0  # off

    config.data.source = "image_folder"
    config.data.length = 1_281_167
    config.data.workers = 16

    config.run.log_every = 100
    config.run.checkpoint_every = 1668  # an epoch

    config.evaluation.every_epochs = 1.0
    config.evaluation.images = 1000
    return config
