"""Moved to `rats_jax.parts.datasets` in version 0.2.0; this path will be removed in 0.3.0."""

from rats_jax.parts.datasets import open_dataset

__all__ = ["open_dataset"]
