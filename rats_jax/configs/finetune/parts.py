"""Segmentation of drawings into their parts, on a CPU in minutes: to see how fine-tuning works, and
to compare decoders and backbones.

rats finetune --config=parts --checkpoint=demo --workdir=DIR --decoder=registers

The decoder is a small Mask2Former unless --decoder says otherwise.
"""

from rats_jax.config import finetune_config


def get_config():
    config = finetune_config()
    config.compute_dtype = "float32"

    config.decoder.width = 64
    config.decoder.learned_queries = 16
    config.decoder.heads = 4
    config.decoder.layers = 3
    config.decoder.feedforward = 256
    config.decoder.pixel_layers = 2
    config.decoder.pixel_feedforward = 256
    config.decoder.supervised = 2

    config.loss.points = 1024

    config.data.train = "procedural_parts:400@101"
    config.data.test = "procedural_parts:200@102"
    config.data.crop = 96
    config.data.scale = (0.8, 1.5)
    config.data.threads = 2

    config.optimizer.steps = 400
    config.optimizer.batch_size = 8
    config.optimizer.learning_rate = 1e-3
    config.optimizer.backbone_rate = 0.3
    config.optimizer.clip = 0.1
    config.optimizer.warmup_steps = 10

    config.evaluation.every_steps = 200
    config.evaluation.short_side = 96
    config.evaluation.long_side = 192

    config.run.log_every = 50
    config.run.checkpoint_every = 200
    return config
