"""Semantic segmentation of ADE20K, 150 classes: Table 2 of the paper.

rats finetune --config=ade20k --checkpoint=WEIGHTS --workdir=DIR \
    --config.data.train=ade20k:ADEChallengeData2016/images/training \
    --config.data.test=ade20k:ADEChallengeData2016

Values without another source are those of MMSegmentation's recipe for Mask2Former
(mask2former_r50_8xb2-160k_ade20k-512x512), which the paper follows with 8 images a step, not 16.
For the paper's column in brackets, and for a ViT, add --queries=learned.
"""

from rats_jax.config import finetune_config


def get_config():
    config = finetune_config()
    config.task = "semantic"

    config.model.parallel = "shared"  # Eq. 8; the paper does not say whether projections are shared
    config.model.drop_path = 0.0  # not in the paper

    config.decoder.name = "mask2former"
    config.decoder.queries = "registers"
    config.decoder.learned_queries = 100
    config.decoder.width = 256
    config.decoder.heads = 8
    config.decoder.layers = 9
    config.decoder.feedforward = 2048
    config.decoder.pixel_layers = 6
    config.decoder.pixel_feedforward = 1024

    config.loss.class_weight = 2.0
    config.loss.mask_weight = 5.0
    config.loss.dice_weight = 5.0
    config.loss.no_object = 0.1
    config.loss.points = 12_544  # 112 x 112
    config.loss.oversample = 3.0
    config.loss.importance = 0.75

    config.data.crop = 512
    config.data.resize = "short_side"
    config.data.scale = (0.5, 2.0)  # any factor between; there the 16 from 0.5 to 2.0 in tenths
    config.data.one_class = 0.75
    config.data.flip = 0.5
    config.data.color = True
    config.data.workers = 8  # ours

    config.optimizer.steps = 160_000  # the paper
    config.optimizer.batch_size = 8  # the paper
    config.optimizer.learning_rate = 1e-4
    config.optimizer.backbone_rate = 0.1
    config.optimizer.layer_decay = 1.0  # none
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip = 0.01
    config.optimizer.schedule = "poly"  # to 0
    config.optimizer.power = 0.9

    config.evaluation.every_steps = 5000
    config.evaluation.short_side = 512
    config.evaluation.long_side = 2048

    config.run.checkpoint_every = 5000
    config.run.log_every = 50
    config.run.best_metric = "semantic/miou"
    return config
