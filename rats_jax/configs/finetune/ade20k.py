"""Semantic segmentation of ADE20K's 150 classes, 160,000 steps of 8 crops: the paper's Table 2.

rats finetune --config=ade20k --checkpoint=WEIGHTS --workdir=DIR \
    --config.data.train=ade20k:ADE20K/training --config.data.test=ade20k:ADE20K/validation
"""

from rats_jax.config import finetune_config


def get_config():
    config = finetune_config()
    config.task = "semantic"
    return config
