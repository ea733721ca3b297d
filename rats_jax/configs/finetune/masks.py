"""Segmentation of your own images, each with a mask: minutes to hours on one GPU.

rats finetune --config=masks --checkpoint=WEIGHTS --workdir=DIR \
    --config.data.train=folder:TRAIN --config.data.test=folder:TEST
"""

from rats_jax.config import finetune_config


def get_config():
    config = finetune_config()
    config.data.crop = 384
    config.optimizer.steps = 4000
    config.optimizer.warmup_steps = 100
    config.evaluation.every_steps = 500
    config.evaluation.short_side = 384
    config.evaluation.long_side = 1536
    return config
