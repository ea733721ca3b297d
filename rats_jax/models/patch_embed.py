"""Images to patch tokens."""

import jax
import jax.numpy as jnp
from flax import nnx


class PatchEmbed(nnx.Module):
    """A convolution whose stride is its kernel, initialised as PyTorch does: U(+-1 / sqrt(fan in)),
    bias too (the official DINO code leaves it so)."""

    def __init__(self, *, width: int, patch: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        bound = (3 * patch**2) ** -0.5
        uniform = jax.random.uniform
        self.patch = patch
        self.dtype = dtype
        self.kernel = nnx.Param(
            uniform(rngs.params(), (patch, patch, 3, width), minval=-bound, maxval=bound)
        )
        self.bias = nnx.Param(uniform(rngs.params(), (width,), minval=-bound, maxval=bound))

    def grid(self, images: jax.Array) -> tuple[int, int]:
        """Patch grid (h, w) of images [B, height, width, 3]."""
        height, width, channels = images.shape[1:]
        if height % self.patch or width % self.patch or channels != 3:
            raise ValueError(
                f"images [B, {height}, {width}, {channels}]: height and width must be multiples "
                f"of the patch ({self.patch}), with 3 channels last"
            )
        return height // self.patch, width // self.patch

    def __call__(self, images: jax.Array) -> jax.Array:
        """[B, h * patch, w * patch, 3] -> [B, L, D], row by row."""
        h, w = self.grid(images)
        x = images.reshape(-1, h, self.patch, w, self.patch, 3).swapaxes(2, 3)
        x = x.reshape(-1, h * w, self.patch**2 * 3).astype(self.dtype)
        kernel = self.kernel[...].reshape(x.shape[-1], -1)
        return x @ kernel.astype(self.dtype) + self.bias[...].astype(self.dtype)


def square_grid(image_size: int, patch: int) -> tuple[int, int]:
    """Patch grid of a square image."""
    if image_size % patch:
        raise ValueError(f"image size {image_size} is not a multiple of the patch ({patch})")
    return image_size // patch, image_size // patch
