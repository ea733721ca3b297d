"""A slow, literal PyTorch twin of the models and of DINO v1's training step.

Written from the paper and the official DINO semantics, never from the JAX code, so that the two
can check each other. Only tests import it.
"""
