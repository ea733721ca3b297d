"""Packs image files into ArrayRecord shards: the work of `python -m rats_jax.prepare`."""
