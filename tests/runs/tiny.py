"""A run small enough for a test."""

from ml_collections import ConfigDict

from rats_jax.config import default_config


def tiny_config(**fields) -> ConfigDict:
    """Two narrow blocks on 16 px crops of drawings; `fields` are section__field=value."""
    config = default_config()
    config.compute_dtype = "float32"
    config.model.update(width=24, depth=2, heads=3, patch=8, registers_per_head=2, drop_path=0.1)
    config.head.update(hidden=16, bottleneck=8, prototypes=32)
    config.crops.update(global_size=16, local_size=8, local_crops=2)
    config.dino.teacher_temperature_warmup_epochs = 2
    config.optimizer.update(batch_size=8, epochs=8.0, warmup_epochs=1.0, learning_rate=3e-2)
    config.data.update(source="procedural_parts", length=40, size=16, threads=2)
    config.run.update(log_every=1, checkpoint_every=100)
    for name, value in fields.items():
        section, field = name.split("__")
        config[section][field] = value
    return config
