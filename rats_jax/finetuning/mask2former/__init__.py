"""Fine-tuning with transformers' Mask2Former in PyTorch: the only modules that import torch."""
