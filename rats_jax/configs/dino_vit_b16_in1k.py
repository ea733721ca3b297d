"""The baseline of RATS-B/16: a DINO ViT-B/16 with the same recipe, on ImageNet-1k.

rats train --config=dino_vit_b16_in1k --config.data.path=IMAGENET/train --workdir=DIR
"""

from rats_jax.config import default_config
from rats_jax.models import SIZES


def get_config():
    config = default_config()

    config.model.architecture = "vit"
    config.model.update(SIZES["B"])
    config.model.patch = 16
    config.model.drop_path = 0.1
    config.model.remat = "dots"  # as RATS-B

    config.head.prototypes = 65_536
    config.head.norm_last_layer = True

    config.crops.global_size = 224
    config.crops.global_scale = (0.25, 1.0)
    config.crops.local_size = 96
    config.crops.local_scale = (0.05, 0.25)
    config.crops.local_crops = 10

    config.dino.student_temperature = 0.1
    config.dino.teacher_temperature_start = 0.04
    config.dino.teacher_temperature = 0.07
    config.dino.teacher_temperature_warmup_epochs = 50
    config.dino.teacher_momentum = 0.996
    config.dino.center_momentum = 0.9
    config.dino.freeze_last_layer_epochs = 3.0

    config.optimizer.batch_size = 1024
    config.optimizer.epochs = 400.0  # 500,400 steps
    config.optimizer.warmup_epochs = 10.0
    config.optimizer.learning_rate = 7.5e-4  # 3e-3 at 1024
    config.optimizer.end_learning_rate = 2e-6
    config.optimizer.weight_decay = 0.04
    config.optimizer.end_weight_decay = 0.4
    config.optimizer.clip = 0.3

    config.data.source = "image_folder"
    config.data.length = 1_281_167
    config.data.workers = 16

    config.run.log_every = 100
    config.run.checkpoint_every = 1251  # an epoch

    config.evaluation.every_epochs = 1.0
    config.evaluation.images = 1000
    return config
