"""Instance segmentation of COCO 2017, 368,750 steps of 8 crops: the paper's Table 2.

rats finetune --config=coco --checkpoint=WEIGHTS --workdir=DIR
"""

from rats_jax.config import finetune_config


def get_config():
    config = finetune_config()
    config.task = "instance"
    config.data.crop = 1024
    config.data.resize = "inside"
    config.data.scale = (0.1, 2.0)
    config.data.color = False
    config.optimizer.steps = 368_750
    config.optimizer.schedule = "steps"
    config.optimizer.milestones = (327_778, 355_092)
    config.evaluation.short_side = 800
    config.evaluation.long_side = 1333
    config.run.best_metric = "instance/ap_mask"
    return config
