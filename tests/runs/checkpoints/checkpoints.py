"""Checkpoints of a small state, to test them with."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.runs.checkpoints.checkpoint import Checkpoints

ROOT = Path(__file__).parents[3]
ABOUT = {"config": {"crops": (0.25, 1.0), "lr": 1e-5}, "code": "1", "data": {"position": 80}}
ABOUT_READ = {**ABOUT, "config": {"crops": [0.25, 1.0], "lr": 1e-5}}


def make_state(step: int, *, size: int = 1000) -> dict:
    """A small state; another one at every step."""
    key = jax.random.key(step)
    return {
        "step": jnp.int32(step),
        "teacher": {"kernel": jax.random.normal(key, (2, size)), "bias": jnp.zeros(7)},
        "optimizer": {"mu": jax.random.normal(key, (size,)), "half": jnp.ones(5, jnp.bfloat16)},
        "rng": jax.random.key_data(key),
    }


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


LIKE = abstract(make_state(0))


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def save(checkpoints: Checkpoints, step: int, state=None, **metrics: float) -> None:
    checkpoints.save(step, state or make_state(step), about=ABOUT, metrics=metrics)
    checkpoints.finish()


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def data_files(step: Path) -> list[Path]:
    """Those that hold arrays, the largest first."""
    return sorted((step / "state").rglob("d/*"), key=lambda p: -p.stat().st_size)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
