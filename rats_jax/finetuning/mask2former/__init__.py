<<<<<<< HEAD
"""Fine-tuning with transformers' Mask2Former in PyTorch: the only modules that import torch."""
=======
"""Fine-tuning in PyTorch: transformers' Mask2Former on a backbone of rats_jax."""
>>>>>>> torchmodel
