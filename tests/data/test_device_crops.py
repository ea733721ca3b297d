"""Crops cut on the device, against Pillow and against the definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from PIL import Image

from rats_jax.data.crops import random_box
from rats_jax.data.device_crops import crop_canvases, resize_weights

GLOBAL, LOCAL = 48, 20
CROP = jax.jit(crop_canvases, static_argnames=("global_size", "local_size"))
WEIGHTS = jax.jit(resize_weights, static_argnames=("size", "pixels"))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photo_like(height: int, width: int, seed: int = 0) -> np.ndarray:
    small = Image.fromarray(noise(7, 9, seed)).resize((width, height), Image.Resampling.BICUBIC)
    grain = noise(height, width, seed + 1).astype(np.int16) % 13 - 6
    return (np.asarray(small) + grain).clip(0, 255).astype(np.uint8)


def batch_of(images, boxes, flips=None, *, canvas: int = 160, outside: int = 0) -> dict:
    """`boxes` [B, 2 + V, 4]; what lies outside the images is `outside`."""
    canvases = np.full((len(images), canvas, canvas, 3), outside, np.uint8)
    for place, image in zip(canvases, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    boxes = np.float32(boxes)
    flips = np.zeros(boxes.shape[:2], bool) if flips is None else np.array(flips)
    return {"canvas": canvases, "boxes": boxes, "flips": flips}


def crops_of(batch: dict, global_size: int = GLOBAL, local_size: int = LOCAL) -> list[list]:
    """Every image's crops in the order of its boxes, int16."""
    out = CROP(batch, global_size=global_size, local_size=local_size)
    assert all(crops.dtype == jnp.uint8 for crops in out.values())
    large, small = (np.asarray(out[name], np.int16) for name in ("global", "local"))
    return [[*large[i], *small[i]] for i in range(len(large))]


def pillow(image: np.ndarray, box, size: int, flip: bool = False) -> np.ndarray:
    """Across, then down. Pillow 13 starts with the other when that is cheaper, which moves levels
    a little, as the image between the two is rounded; older ones start across."""
    crop = Image.fromarray(image).crop(tuple(int(edge) for edge in box))
    across = crop.resize((size, crop.height), Image.Resampling.BICUBIC)
    crop = np.asarray(across.resize((size, size), Image.Resampling.BICUBIC), np.int16)
    return crop[:, ::-1] if flip else crop


def test_crops_are_those_of_pillow():
    rng = np.random.default_rng(0)
    sizes = [(120, 160), (160, 107), (33, 160), (160, 160), (90, 75), (150, 21)]
    images = [make(*size, seed=i) for i, size in enumerate(sizes) for make in (noise, photo_like)]
    scales = [(0.25, 1)] * 2 + [(0.05, 0.25)] * 4
    boxes = [
        [random_box((x.shape[1], x.shape[0]), rng, scale=scale) for scale in scales] for x in images
    ]
    flips = rng.random((len(images), len(scales))) < 0.5
    ours = crops_of(batch_of(images, boxes, flips))
    everywhere = []
    for i, image in enumerate(images):
        for j, box in enumerate(boxes[i]):
            size = GLOBAL if j < 2 else LOCAL
            apart = np.abs(ours[i][j] - pillow(image, box, size, flips[i, j]))
            # Equal but where float32 rounds a half to the other side.
            assert apart.max() <= 1 and apart.mean() < 0.02, (image.shape, box)
            crop = Image.fromarray(image).crop(box)
            resized = np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC), np.int16)
            everywhere.append(np.abs(ours[i][j] - (resized[:, ::-1] if flips[i, j] else resized)))
    assert np.mean([apart.mean() for apart in everywhere]) < 0.3  # whatever Pillow starts with


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 1, 1),
        (99, 79, 100, 80),
        (0, 0, 100, 80),
        (0, 0, 100, 1),
        (0, 0, 1, 80),
        (0, 30, 48, 78),
        (52, 0, 100, 80),
        (17, 32, 65, 80),
        (10, 0, 13, 2),
        (96, 75, 100, 80),
    ],
)
def test_boxes_of_one_pixel_at_borders_and_of_the_crops_own_size_are_those_of_pillow(box):
    image = noise(80, 100)
    ours = crops_of(batch_of([image], [[box] * 3], [[False, True, False]]))[0]
    for crop, size, flip in zip(ours, (GLOBAL, GLOBAL, LOCAL), (False, True, False), strict=True):
        apart = np.abs(crop - pillow(image, box, size, flip))
        assert apart.max() <= 1 and apart.mean() < 5e-3


def test_nothing_outside_the_box_is_seen():
    image, box = noise(60, 60), (20, 15, 45, 52)
    elsewhere = noise(60, 60, seed=9)
    left, top, right, bottom = box
    elsewhere[top:bottom, left:right] = image[top:bottom, left:right]
    first = crops_of(batch_of([image], [[box] * 3]))[0]
    second = crops_of(batch_of([elsewhere], [[box] * 3], outside=255))[0]
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)


def test_the_size_of_the_canvas_does_not_matter():
    image, boxes = noise(60, 64), [[(0, 0, 64, 60), (5, 5, 40, 60), (30, 1, 64, 20)]]
    small = crops_of(batch_of([image], boxes, canvas=64))[0]
    large = crops_of(batch_of([image], boxes, canvas=200))[0]
    for a, b in zip(small, large, strict=True):
        assert np.abs(a - b).max() <= 1 and (a != b).mean() < 1e-3


def weights_by_definition(low: float, high: float, size: int, pixels: int) -> np.ndarray:
    """Bicubic weights of whole and cut pixels, one by one, in float64."""
    step = (high - low) / size
    out = np.zeros((size, pixels))
    for i in range(size):
        for k in range(pixels):
            share = max(min(k + 1, high) - max(k, low), 0)
            x = abs(k + 0.5 - low - (i + 0.5) * step) / max(step, 1)
            near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            out[i, k] = share * (near if x < 1 else far if x < 2 else 0)
    return out / out.sum(1, keepdims=True)


@pytest.mark.parametrize(
    "low, high", [(0, 64), (3, 50), (2.25, 60.5), (63.1, 63.9), (10.9, 12.1), (0.4, 30)]
)
def test_weights_are_those_of_the_definition_also_between_whole_pixels(low, high):
    for size in (7, 40):
        ours = WEIGHTS(jnp.float32(low), jnp.float32(high), size=size, pixels=64)
        expected = weights_by_definition(np.float32(low), np.float32(high), size, 64)
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_a_box_between_whole_pixels_is_that_of_pillow_away_from_its_border():
    """Pillow's resize(box=) looks beyond the box, and counts cut pixels whole."""
    image, box = photo_like(120, 150), (10.3, 20.6, 110.9, 101.2)
    ours = crops_of(batch_of([image], [[box] * 2]))[0][0]
    theirs = Image.fromarray(image).resize((GLOBAL, GLOBAL), Image.Resampling.BICUBIC, box=box)
    apart = np.abs(ours - np.asarray(theirs, np.int16))
    assert apart[3:-3, 3:-3].max() <= 3 and apart[3:-3, 3:-3].mean() < 0.3
    assert apart.mean() < 1


def test_a_flip_mirrors_the_crop():
    image, box = photo_like(90, 120), (4, 9, 101, 77)
    plain, flipped = crops_of(batch_of([image], [[box] * 2], [[False, True]]))[0]
    assert np.array_equal(plain[:, ::-1], flipped) and not np.array_equal(plain, flipped)


def test_no_local_crops_are_fine():
    out = CROP(
        batch_of([noise(20, 30)], [[(0, 0, 30, 20)] * 2]), global_size=GLOBAL, local_size=LOCAL
    )
    assert out["local"].shape == (1, 0, LOCAL, LOCAL, 3)


EINSUM = jnp.einsum


def rounded(x: jax.Array, mantissa_bits: int) -> jax.Array:
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=mantissa_bits)


def product_in_tf32(subscripts: str, a: jax.Array, b: jax.Array, *, precision: str) -> jax.Array:
    """How a GPU multiplies float32 in high precision."""
    assert precision == "high"
    return EINSUM(subscripts, rounded(a, 10), rounded(b, 10), precision="highest")


def product_in_three(subscripts: str, a: jax.Array, b: jax.Array, *, precision: str) -> jax.Array:
    """How a TPU does: each factor a sum of two bfloat16, three of the four products."""
    assert precision == "high"
    high, low = zip(*[(rounded(x, 7), rounded(x - rounded(x, 7), 7)) for x in (a, b)], strict=True)
    pairs = (high[0], high[1]), (high[0], low[1]), (low[0], high[1])
    return sum(EINSUM(subscripts, *pair, precision="highest") for pair in pairs)


@pytest.mark.parametrize(
    "product, mean", [(product_in_tf32, 0.06), (product_in_three, 3e-3)], ids=["GPU", "TPU"]
)
def test_crops_hold_on_accelerators_that_multiply_in_fewer_bits(product, mean, monkeypatch):
    images = [noise(100, 130), photo_like(130, 100)]
    batch = batch_of(images, [[(3, 5, 99, 98), (20, 1, 60, 40), (0, 0, 25, 90)]] * 2)
    exact = crops_of(batch)
    monkeypatch.setattr(jnp, "einsum", product)
    out = crop_canvases(batch, global_size=GLOBAL, local_size=LOCAL)
    for i in range(len(images)):
        ours = [*np.asarray(out["global"][i]), *np.asarray(out["local"][i])]
        for a, b in zip(ours, exact[i], strict=True):
            assert np.abs(a - b).max() <= 2 and np.abs(a - b).mean() < mean


def test_canvases_spread_over_devices_are_cropped_where_they_are():
    images = [noise(70, 90, seed=i) for i in range(8)]
    batch = batch_of(images, [[(3, 5, 80, 66), (20, 1, 60, 40), (0, 0, 25, 60)]] * 8, canvas=96)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    sharded = jax.device_put(batch, sharding)
    program = CROP.lower(sharded, global_size=GLOBAL, local_size=LOCAL).compile()
    text = program.as_text()
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert collective not in text
    out = program(sharded)
    single = CROP(batch, global_size=GLOBAL, local_size=LOCAL)
    for name in single:
        assert out[name].sharding.is_equivalent_to(sharding, out[name].ndim)
        assert np.array_equal(out[name], single[name])


def test_the_thinnest_boxes_give_numbers():
    low = jnp.float32([0, 511.9999, 100])
    high = jnp.float32([1e-6, 512, 100.00001])
    assert np.isfinite(np.asarray(WEIGHTS(low, high, size=8, pixels=512))).all()
