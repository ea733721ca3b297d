"""Images to patch tokens."""

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.axes import FSDP
from rats_jax.models.linear import add_bias, cast_einsum
from rats_jax.models.positions import interpolate_positions


class PatchEmbed(nnx.Module):
    """A convolution whose stride is its kernel, plus position embeddings.

    Initialised as in PyTorch: U(+-1 / sqrt(fan in)) for kernel and bias (the official DINO code
    does not change this). The position table is a parameter of the model. This module knows the
    table's grid, that of a square image of `image_size` pixels, and resamples the table to other
    grids (`offset`, `antialias`: see `interpolate_positions`).
    """

    def __init__(
        self,
        *,
        width: int,
        patch: int,
        image_size: int,
        offset: float,
        antialias: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        if image_size % patch:
            raise ValueError(f"image size {image_size} is not a multiple of the patch ({patch})")
        bound = (3 * patch**2) ** -0.5
        uniform = jax.random.uniform
        self.patch, self.dtype = patch, dtype
        self.offset, self.antialias = offset, antialias
        self.native = (image_size // patch, image_size // patch)
        self.kernel = nnx.Param(
            uniform(rngs.params(), (patch, patch, 3, width), minval=-bound, maxval=bound)
        )
        self.bias = nnx.Param(uniform(rngs.params(), (width,), minval=-bound, maxval=bound))

    @property
    def positions(self) -> int:
        """Rows of the position table."""
        return self.native[0] * self.native[1]

    def grid(self, images: jax.Array) -> tuple[int, int]:
        """(h, w) of images [B, height, width, 3], whose sides are multiples of the patch."""
        height, width, channels = images.shape[1:]
        if height % self.patch or width % self.patch or channels != 3:
            raise ValueError(
                f"images [B, {height}, {width}, {channels}]: height and width must be multiples "
                f"of the patch ({self.patch}), with 3 channels last"
            )
        return height // self.patch, width // self.patch

    def __call__(self, images: jax.Array, positions: jax.Array | None) -> jax.Array:
        """Images, and the table [positions, D] if there is one -> [B, L, D], row by row."""
        h, w = self.grid(images)
        x = images.reshape(-1, h, self.patch, w, self.patch, 3).swapaxes(2, 3)
        x = x.reshape(-1, h * w, self.patch**2 * 3).astype(self.dtype)
        kernel = self.kernel[...].reshape(x.shape[-1], -1)
        x = add_bias(cast_einsum("BLC,CD->BLD", x, kernel, (None, FSDP)), self.bias[...])
        if positions is None:
            return x
        positions = interpolate_positions(
            positions,
            native=self.native,
            grid=(h, w),
            offset=self.offset,
            antialias=self.antialias,
        )
        return add_bias(x, positions)
