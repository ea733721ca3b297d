"""A small RATS on drawings of many-part objects, on a CPU: see `make demo`."""

from rats_jax.config import default_config


def get_config():
    config = default_config()
    config.compute_dtype = "float32"

    config.model.architecture = "rats"
    config.model.width = 192
    config.model.depth = 4
    config.model.heads = 6
    config.model.registers_per_head = 4
    config.model.patch = 8
    config.model.drop_path = 0.0
    config.model.unroll = 4

    config.head.hidden = 512
    config.head.bottleneck = 128
    config.head.prototypes = 1024
    config.crops.global_size = 64
    config.crops.local_size = 32
    config.crops.local_crops = 4

    config.dino.teacher_temperature_warmup_epochs = 0
    config.dino.teacher_temperature = 0.04
    config.dino.freeze_last_layer_epochs = 1.0
    config.dino.teacher_momentum = 0.99

    config.optimizer.batch_size = 32
    config.optimizer.epochs = 10.0
    config.optimizer.warmup_epochs = 1.0
    config.optimizer.learning_rate = 4e-3
    config.optimizer.end_learning_rate = 1e-5

    config.data.source = "procedural_parts"
    config.data.length = 4000
    config.data.size = 96
    config.data.threads = 2

    config.run.log_every = 10
    config.run.checkpoint_every = 200
    return config
