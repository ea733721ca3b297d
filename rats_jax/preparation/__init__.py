"""Image files of any origin to ArrayRecord shards: what `python -m rats_jax.prepare` does."""
