"""Fine-tuning in PyTorch: transformers' Mask2Former on a backbone of rats_jax."""
