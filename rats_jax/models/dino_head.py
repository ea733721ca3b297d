"""The DINO projection head (official `DINOHead`): MLP, L2 norm, weight-normalised prototypes."""

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.axes import BATCH, FSDP, TENSOR, constrain
from rats_jax.models.gelu import gelu
from rats_jax.models.linear import Affine, add_bias, cast_einsum, gather_kernel


class Prototypes(nnx.Module):
    """Cosine with each prototype, times its gain: torch's weight_norm(Linear(bias=False)).

    `direction` [bottleneck, K] is initialised as U(+-1 / sqrt(bottleneck)); `gain` [K] starts at 1
    and is a parameter only when it is trained.
    """

    def __init__(self, *, bottleneck: int, prototypes: int, train_gain: bool, dtype, rngs):
        bound = bottleneck**-0.5
        self.dtype = dtype
        self.direction = nnx.Param(
            jax.random.uniform(rngs.params(), (bottleneck, prototypes), minval=-bound, maxval=bound)
        )
        self.gain = nnx.Param(jnp.ones(prototypes)) if train_gain else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., bottleneck] -> logits [..., K], float32."""
        direction = self.direction[...]
        scale = jax.lax.rsqrt(jnp.sum(direction**2, axis=0))
        if self.gain is not None:
            scale *= self.gain[...]
        return scaled_matmul(x, direction, scale)


@jax.custom_vjp
def scaled_matmul(x: jax.Array, kernel: jax.Array, scale: jax.Array) -> jax.Array:
    """(x @ kernel) * scale, float32, for [..., D] of any dtype, float32 [D, K] and [K].

    The scale is applied after the product: XLA's CPU backend would recompute a scaled kernel for
    every row (jax 0.10.2, K = 65,536: 9.5 s instead of 0.08 s). The backward pass is written by
    hand, so that the unscaled logits are not stored for the gradient of the scale.
    """
    kernel = gather_kernel(kernel, x.dtype, (FSDP, TENSOR))
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32) * scale


def _forward(x, kernel, scale):
    return scaled_matmul(x, kernel, scale), (x, kernel, scale)


def _backward(saved, gradient):
    x, kernel, scale = saved
    gathered = gather_kernel(kernel, x.dtype, (FSDP, TENSOR))
    to_x = jnp.einsum("...K,DK->...D", (gradient * scale).astype(x.dtype), gathered)
    outer = jnp.einsum(
        "...D,...K->DK", x, gradient.astype(x.dtype), preferred_element_type=jnp.float32
    )
    to_scale = jnp.sum(outer * gathered, axis=0)
    return to_x, constrain(outer, FSDP, TENSOR) * scale, to_scale


scaled_matmul.defvjp(_forward, _backward)


class DINOHead(nnx.Module):
    """D - hidden - hidden - bottleneck with GELU, L2 norm, then K prototypes.

    norm_last_layer: keep the gains of the prototypes at 1 (official default).
    """

    def __init__(
        self,
        *,
        width: int,
        hidden: int = 2048,
        bottleneck: int = 256,
        prototypes: int = 65_536,
        norm_last_layer: bool = True,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        self.fc1 = Affine((width, hidden), (hidden,), axes=(FSDP, TENSOR), rngs=rngs)
        self.fc2 = Affine((hidden, hidden), (hidden,), axes=(TENSOR, FSDP), rngs=rngs)
        self.fc3 = Affine((hidden, bottleneck), (bottleneck,), axes=(TENSOR, FSDP), rngs=rngs)
        self.last_layer = Prototypes(
            bottleneck=bottleneck,
            prototypes=prototypes,
            train_gain=not norm_last_layer,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Global vectors [B, V, G, D] -> logits over prototypes [B, V, G, K], float32."""
        x = x.astype(self.dtype)
        for i, affine in enumerate((self.fc1, self.fc2, self.fc3)):
            x = cast_einsum("...D,DM->...M", x, affine.kernel[...], affine.axes)
            x = add_bias(x, affine.bias[...])
            x = gelu(x) if i < 2 else x
        # F.normalize: x / max(|x|, 1e-12), here also differentiable at 0.
        x = x.astype(jnp.float32)
        x *= jax.lax.rsqrt(jnp.maximum(jnp.sum(x**2, axis=-1, keepdims=True), 1e-24))
        return constrain(self.last_layer(x.astype(self.dtype)), BATCH, None, None, TENSOR)
