"""Instance segmentation of COCO 2017, 80 classes: Table 2 of the paper.

rats finetune --config=coco --checkpoint=WEIGHTS --workdir=DIR \
    --config.data.train=coco-instances:COCO/train2017 --config.data.test=coco-instances:COCO/val2017

Values without another source are those of MMDetection's recipe for Mask2Former
(mask2former_r50_8xb2-lsj-50e_coco), which the paper follows with 8 images a step, not 16.
For the paper's column in brackets, and for a ViT, add --queries=learned.
"""

from rats_jax.config import finetune_config


def get_config():
    config = finetune_config()
    config.task = "instance"

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

    config.data.crop = 1024
    config.data.resize = "inside"  # large-scale jitter
    config.data.scale = (0.1, 2.0)
    config.data.flip = 0.5
    config.data.color = False
    config.data.most_instances = 100  # ours
    config.data.workers = 8  # ours

    config.optimizer.steps = 368_750  # the paper; 50 epochs of 16 images a step, 25 of 8
    config.optimizer.batch_size = 8  # the paper
    config.optimizer.learning_rate = 1e-4
    config.optimizer.backbone_rate = 0.1
    config.optimizer.layer_decay = 1.0  # none
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip = 0.01
    config.optimizer.schedule = "steps"
    config.optimizer.milestones = (327_778, 355_092)
    config.optimizer.gamma = 0.1

    config.evaluation.every_steps = 5000
    config.evaluation.short_side = 800
    config.evaluation.long_side = 1333

    config.run.checkpoint_every = 5000
    config.run.log_every = 50
    config.run.best_metric = "instance/ap_mask"
    return config
