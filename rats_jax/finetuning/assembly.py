"""Makes the parts of a run of fine-tuning in JAX from its config."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD
from rats_jax.finetuning.initial import random_backbone
from rats_jax.finetuning.method import Schedules
from rats_jax.mask_head.network import make_linear_network, make_mask_network
from rats_jax.mask_head.options import HeadOptions, LossOptions, OptimizerOptions
from rats_jax.mask_head.step import LinearTraining, MaskTraining
from rats_jax.models import Options


def make_decoder(
    config: ConfigDict,
    options: Options,
    schedules: Schedules,
    *,
    classes: int,
    scales: Mapping[str, float],
) -> MaskTraining | LinearTraining:
    """The network of a backbone with these options and the decoder, and how it is trained.

    scales: of random weights of the backbone, by their fields of config.model in pretraining; empty
    for the usual ones. Images are normalised as those of ImageNet: `initial.initial_backbone`
    adapts the weights.
    """
    model, optimizer = config.model, config.optimizer
    training = {name: model[name] for name in ("drop_path", "remat")}
    dtype = jnp.dtype(config.compute_dtype)
    of_network: dict[str, Any] = {"classes": classes, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    method: dict[str, Any] = {
        "learning_rate": schedules.learning_rate,
        "accumulation": optimizer.accumulation,
        "optimizer": OptimizerOptions(
            frozen=model.freeze == "backbone",
            **{
                name: optimizer[name]
                for name in ("backbone_rate", "layer_decay", "weight_decay", "clip")
            },
        ),
    }

    def make(rngs: nnx.Rngs) -> nnx.Module:
        return random_backbone(options, scales, **training, dtype=dtype, rngs=rngs)

    if config.decoder.name == "linear":
        network, init = make_linear_network(make, **of_network)
        return LinearTraining(network=network, init_network=init, **method)
    decoder = config.decoder
    head = HeadOptions(width=decoder.width, upscale=decoder.upscale, supervised=decoder.supervised)
    network, init = make_mask_network(make, options=head, **of_network)
    losses = LossOptions(**config.loss)
    return MaskTraining(network=network, init_network=init, losses=losses, **method)
