"""Segmentation of your own images, each with a mask, or of drawings.

rats finetune --config=masks --checkpoint=WEIGHTS --workdir=DIR \
    --config.data.train=folder:TRAIN --config.data.test=folder:TEST

TRAIN and TEST are folders with images/ and masks/; a mask has the id of a class in each pixel.
Drawings need no files: --config.data.train=procedural_parts:2000
--config.data.test=procedural_parts:200@1. What one changes first:

    --task=instance                            objects, which are the connected parts of a class
    --decoder=registers                        the head in JAX; --decoder=linear for a baseline
    --queries=learned                          for weights without registers, such as DINO's ViT
    --config.data.void=255                     the id of pixels that are not labelled
    --config.data.crop=512                     larger crops, for small parts of large images
    --config.optimizer.steps=20000             longer

The values are ours, for one GPU and some hundred to some thousand images; all others are those of
the recipe ade20k.
"""

from rats_jax.config import finetune_config


def get_config():
    config = finetune_config()

    config.data.crop = 384
    config.data.one_class = 1.0  # in masks of one object, the background is most of a crop
    config.data.workers = 4

    config.optimizer.steps = 4000
    config.optimizer.batch_size = 8
    config.optimizer.warmup_steps = 100

    config.evaluation.every_steps = 500
    config.evaluation.short_side = 384
    config.evaluation.long_side = 1536

    config.run.log_every = 20
    config.run.checkpoint_every = 500
    return config
