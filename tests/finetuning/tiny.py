"""A run of fine-tuning in JAX that is small enough for a test, and weights to start from.

Also a recipe: `--config=tests/finetuning/tiny.py` with the same fields.
"""

import json
from pathlib import Path

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from rats_jax.config import finetune_config
from rats_jax.models import make_backbone
from rats_jax.models.options import Options, options_of
from rats_jax.torch_export import one_file

#: Metrics of a line that depend on the machine.
TIMES = (
    *("time", "images_per_second", "input_wait", "seconds_left"),
    "evaluation/seconds",
)


def get_config() -> ConfigDict:
    return tiny_finetune()


def tiny_finetune(**fields) -> ConfigDict:
    """Drawings in crops of 32 pixels; `fields` are section__field=value, or field=value."""
    config = finetune_config()
    config.compute_dtype = "float32"
    config.decoder.update(name="registers", width=16, upscale=2, supervised=2)
    config.loss.points = 64
    config.data.update(train="procedural_parts:24", test="procedural_parts:6@3", crop=32, threads=2)
    config.optimizer.update(steps=6, batch_size=4, learning_rate=1e-2)
    config.evaluation.update(every_steps=3, short_side=32, long_side=64, pictures=1)
    config.run.update(log_every=1, checkpoint_every=2, keep_checkpoints=9)
    for name, value in fields.items():
        section, _, field = name.rpartition("__")
        (config[section] if section else config)[field] = value
    return config


def tiny_options(**options) -> Options:
    tiny = {"width": 24, "depth": 2, "heads": 3, "patch": 8, "image_size": 32}
    return options_of({"architecture": "rats", **tiny, "registers_per_head": 2} | options)


def write_weights(folder: Path, options: Options) -> Path:
    """Random weights of a backbone, as a folder that `open_backbone` reads."""
    module = make_backbone(options, dtype=jnp.float32, rngs=nnx.Rngs(7))
    folder.mkdir()
    one_file.write(folder, options=options, params=nnx.to_pure_dict(nnx.state(module)), about={})
    return folder


def metrics(workdir: Path) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def saved(workdir: Path, step: int) -> dict:
    """Shape, dtype and fingerprint of each array of a checkpoint."""
    from rats_jax.runs.checkpoints.stored_state import read_meta

    return read_meta(workdir / "checkpoints" / str(step))["arrays"]
