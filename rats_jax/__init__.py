"""rats_jax: pretraining of Register Attention Transformers (arXiv 2606.14701) in JAX."""

__version__ = "0.2.0"
