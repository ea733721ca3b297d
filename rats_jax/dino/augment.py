"""DINO's photometric augmentation, on the device: uint8 crops in, normalised float32 out.

The operations are those of torchvision on Pillow images, down to the rounding to whole levels,
because the official recipe used these. They work on planes: float32 [..., 3, h, w] holding whole
numbers 0 to 255. The channel axis comes before the spatial axes, so that no accelerator pads a
minor axis of 3. A parameter has the leading shape `...`: one number per crop.
"""

from dataclasses import dataclass
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.dino.blur import gaussian_blur, per_crop

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

BRIGHTNESS, CONTRAST, SATURATION = 0, 1, 2
_ORDERS = np.array(list(permutations((BRIGHTNESS, CONTRAST, SATURATION))))


@dataclass(frozen=True, kw_only=True)
class Photometrics:
    """Strengths and probabilities; the pairs are for global crop 1 and global crop 2.

    brightness, contrast, saturation: factors are uniform in [1 - x, 1 + x].
    hue: shift in turns, uniform in [-x, x].
    blur_sigma: range of the Gaussian's standard deviation, in pixels.
    """

    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grayscale: float = 0.2
    blur_global: tuple[float, float] = (1.0, 0.1)
    blur_local: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_global: tuple[float, float] = (0.0, 0.2)
    solarize_local: float = 0.0


DINO_V1 = Photometrics()  # official `main_dino.py`, class DataAugmentationDINO


def photometrics(
    key: jax.Array, batch: dict[str, jax.Array], *, settings: Photometrics = DINO_V1
) -> dict[str, jax.Array]:
    """Colour jitter, grayscale, blur, solarisation and ImageNet normalisation of a batch of crops.

    Random numbers depend only on `key`, the position of the image in the batch and the crop. They
    do not depend on the batch size or, under jax's partitionable threefry (its default), on the
    sharding.

    Args:
      key: the random key of this step.
      batch: {"global": uint8 [B, 2, S, S, 3], "local": uint8 [B, V, s, s, 3]}, V may be 0.

    Returns:
      The same names and shapes, float32.
    """
    images, views = batch["local"].shape[:2]
    draws = draw_parameters(key, images=images, local_crops=views, settings=settings)
    return augment(batch, draws, settings=settings)


def augment(
    batch: dict[str, jax.Array], draws: dict[str, jax.Array], *, settings: Photometrics = DINO_V1
) -> dict[str, jax.Array]:
    """`photometrics` with given random parameters, as drawn by `draw_parameters`."""
    first_local = len(settings.blur_global)
    return {
        "global": _augment(
            batch["global"], {name: draw[:, :first_local] for name, draw in draws.items()}, settings
        ),
        "local": _augment(
            batch["local"], {name: draw[:, first_local:] for name, draw in draws.items()}, settings
        ),
    }


def _augment(crops: jax.Array, draw: dict[str, jax.Array], settings: Photometrics) -> jax.Array:
    if crops.shape[1] == 0:
        return crops.astype(jnp.float32)
    x = jnp.moveaxis(crops, -1, -3).astype(jnp.float32)
    x = _where(draw["jitter"], color_jitter(x, draw), x)
    x = _where(draw["grayscale"], grayscale(x), x)
    x = _where(draw["blur"], gaussian_blur(x, draw["sigma"], max_sigma=settings.blur_sigma[1]), x)
    x = _where(draw["solarize"], solarize(x), x)
    return normalize(jnp.moveaxis(x, -3, -1))


def draw_parameters(
    key: jax.Array, *, images: int, local_crops: int, settings: Photometrics = DINO_V1
) -> dict[str, jax.Array]:
    """The random parameters of every crop, [B, 2 + V]: the global crops, then the local ones.

    Returns:
      jitter, grayscale, blur, solarize: bool, whether to apply;
      factors: float32 [B, 2 + V, 3], of brightness, contrast and saturation;
      order: int32 [B, 2 + V, 3], the order of these three;
      hue_turn: int32, 0 to 3, how many of the three come before the hue shift. Together with
        `order` it makes all 24 orders of the four operations equally likely;
      hue: float32, in turns;
      sigma: float32, in pixels.
    """
    blur = jnp.array(settings.blur_global + (settings.blur_local,) * local_crops)
    solarized = jnp.array(settings.solarize_global + (settings.solarize_local,) * local_crops)
    strength = jnp.array([settings.brightness, settings.contrast, settings.saturation])
    low = jnp.maximum(1 - strength, 0)
    sigma_low, sigma_high = settings.blur_sigma
    # One flat draw: XLA compiles it six times faster than the same numbers drawn by shape.
    u = jax.random.uniform(key, (images * blur.size * 11,)).reshape(images, blur.size, 11)
    return {
        "jitter": u[..., 0] < settings.jitter,
        "grayscale": u[..., 1] < settings.grayscale,
        "blur": u[..., 2] < blur,
        "solarize": u[..., 3] < solarized,
        "factors": low + (1 + strength - low) * u[..., 4:7],
        "order": jnp.asarray(_ORDERS)[(u[..., 7] * len(_ORDERS)).astype(jnp.int32)],
        "hue_turn": (u[..., 8] * 4).astype(jnp.int32),
        "hue": settings.hue * (2 * u[..., 9] - 1),
        "sigma": sigma_low + (sigma_high - sigma_low) * u[..., 10],
    }


def color_jitter(image: jax.Array, draw: dict[str, jax.Array]) -> jax.Array:
    """Brightness, contrast, saturation and hue, each crop in its own order.

    Every operation must be computed wherever it may be in the order. The three blends share one
    formula and are cheap; the hue shift is expensive. So the blends are placed three times before
    and three times after a single hue shift, and those out of turn get a factor of 1, which changes
    nothing.
    """
    order = draw["order"]
    factors = jnp.take_along_axis(draw["factors"], order, axis=-1)
    before_hue = jnp.arange(3) < draw["hue_turn"][..., None]

    def blends(image: jax.Array, factors: jax.Array) -> jax.Array:
        # A loop, because XLA would fuse one blend into the next and recompute each many times.
        def blend(image, step):
            operation, factor = step
            return _blend(_anchor(image, operation), image, factor), None

        steps = jnp.moveaxis(order, -1, 0), jnp.moveaxis(factors, -1, 0)
        return jax.lax.scan(blend, image, steps)[0]

    image = blends(image, jnp.where(before_hue, factors, 1.0))
    image = adjust_hue(image, draw["hue"])
    return blends(image, jnp.where(before_hue, 1.0, factors))


def adjust_brightness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Pillow's ImageEnhance.Brightness."""
    return _blend(0.0, image, factor)


def adjust_contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Pillow's ImageEnhance.Contrast: away from the mean of the grayscale image, rounded."""
    return _blend(_mean_level(grayscale(image)), image, factor)


def adjust_saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Pillow's ImageEnhance.Color: away from the grayscale image."""
    return _blend(grayscale(image), image, factor)


def _anchor(image: jax.Array, operation: jax.Array) -> jax.Array:
    """What the operation blends with: black, the mean level, or the grayscale image."""
    gray = grayscale(image)
    flat = jnp.where(per_crop(operation == CONTRAST), _mean_level(gray), 0.0)
    return jnp.where(per_crop(operation == SATURATION), gray, flat)


def _mean_level(gray: jax.Array) -> jax.Array:
    return jnp.floor(gray.mean((-2, -1), keepdims=True) + 0.5)


def _blend(anchor: jax.Array | float, image: jax.Array, factor: jax.Array) -> jax.Array:
    """Pillow's Image.blend: truncates to whole levels. A factor of 1 changes nothing."""
    return jnp.floor(jnp.clip(anchor + per_crop(factor) * (image - anchor), 0, 255))


def grayscale(image: jax.Array) -> jax.Array:
    """Pillow's convert("L"), [..., 1, h, w]: fixed point, exact in float32 (below 2^24)."""
    red, green, blue = _planes(image)
    return jnp.floor((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536)


def adjust_hue(image: jax.Array, turns: jax.Array) -> jax.Array:
    """torchvision's adjust_hue on a Pillow image: hue and saturation in whole 1/255ths.

    Pillow divides in another order, so at the border between two of its 256 hues the result may be
    the neighbouring hue.
    """
    red, green, blue = _planes(image)
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    sixths = jnp.where(
        red == value,
        green - blue,
        jnp.where(green == value, blue - red + 2 * chroma, red - green + 4 * chroma),
    ) / jnp.maximum(chroma, 1)
    saturation = jnp.floor(255 * chroma / jnp.maximum(value, 1)) / 255
    hue = jnp.floor(42.5 * jnp.where(sixths < 0, sixths + 6, sixths))
    hue = hue + per_crop(jnp.trunc(turns * 255))  # wraps at 256, as the uint8 does
    hue = jnp.where(hue < 0, hue + 256, jnp.where(hue > 255, hue - 256, hue)) * (6 / 255)

    def channel(offset: int) -> jax.Array:
        turned = hue + offset
        turned = jnp.where(turned >= 6, turned - 6, turned)
        depth = jnp.clip(jnp.minimum(turned, 4 - turned), 0, 1)
        return jnp.floor(value * (1 - saturation * depth) + 0.5)

    return jnp.concatenate([channel(5), channel(3), channel(1)], axis=-3)


def solarize(image: jax.Array) -> jax.Array:
    """Pillow's ImageOps.solarize at 128: inverts the brighter half of the range."""
    return jnp.where(image < 128, image, 255 - image)


def normalize(image: jax.Array) -> jax.Array:
    """[..., 3] from 0..255 to ImageNet's zero mean and unit deviation."""
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    scale, shift = 1 / (255 * std), mean / std
    return image * scale.astype(np.float32) - shift.astype(np.float32)


def _planes(image: jax.Array) -> list[jax.Array]:
    return jnp.split(image, 3, axis=-3)


def _where(apply: jax.Array, then: jax.Array, otherwise: jax.Array) -> jax.Array:
    return jnp.where(per_crop(apply), then, otherwise)
