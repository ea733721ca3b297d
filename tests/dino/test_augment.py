"""Photometrics against Pillow, and against torchvision's definitions on top of Pillow."""

import os
import subprocess
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from rats_jax.dino import augment
from rats_jax.dino.blur import blur_by_products, blur_by_shifts, blur_kernel, gaussian_blur

RNG = np.random.default_rng(0)
SIZE = 48


def noise() -> np.ndarray:
    return RNG.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def smooth() -> np.ndarray:
    """Photo-like: smooth colour fields with some grain."""
    small = Image.fromarray(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    big = np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC), np.int16)
    return (big + RNG.integers(-6, 7, big.shape)).clip(0, 255).astype(np.uint8)


def gray_levels() -> np.ndarray:
    return np.repeat(RNG.integers(0, 256, (SIZE, SIZE, 1), dtype=np.uint8), 3, axis=2)


IMAGES = [noise(), noise(), smooth(), smooth(), gray_levels(), np.zeros_like(noise())]
SMOOTH = (2, 3)
PHOTOMETRICS = jax.jit(augment.photometrics, static_argnames="settings")


def planes(image: np.ndarray) -> jax.Array:
    return jnp.moveaxis(jnp.asarray(image, jnp.float32), -1, -3)


def image_of(x: jax.Array) -> np.ndarray:
    x = np.moveaxis(np.asarray(x), -3, -1)
    assert np.array_equal(x, np.round(x)) and x.min() >= 0 and x.max() <= 255
    return x.astype(np.int16)


def levels_apart(ours: jax.Array, theirs: Image.Image) -> np.ndarray:
    return np.abs(image_of(ours) - np.asarray(theirs, np.int16))


@pytest.mark.parametrize(
    "adjust, enhance",
    [
        (augment.adjust_brightness, ImageEnhance.Brightness),
        (augment.adjust_contrast, ImageEnhance.Contrast),
        (augment.adjust_saturation, ImageEnhance.Color),
    ],
)
def test_blends_are_those_of_pillow(adjust, enhance):
    adjust = jax.jit(adjust)
    for image in IMAGES:
        for factor in (0.0, 0.6003, 0.8123, 1.0, 1.1711, 1.3997):
            apart = levels_apart(
                adjust(planes(image), jnp.float32(factor)),
                enhance(Image.fromarray(image)).enhance(factor),
            )
            # Equal but for single pixels where float32 rounds across a whole level.
            assert apart.max() <= 1 and (apart > 0).mean() < 2e-3, (factor, (apart > 0).mean())


def test_grayscale_is_that_of_pillow():
    for image in IMAGES:
        gray = np.asarray(jax.jit(augment.grayscale)(planes(image)))[0]
        assert np.array_equal(gray, np.asarray(Image.fromarray(image).convert("L")))


def test_solarize_is_that_of_pillow():
    for image in IMAGES:
        assert not levels_apart(
            augment.solarize(planes(image)), ImageOps.solarize(Image.fromarray(image), 128)
        ).any()


def torchvision_hue(image: np.ndarray, turns: float) -> Image.Image:
    hue, saturation, value = Image.fromarray(image).convert("HSV").split()
    turned = (np.asarray(hue, np.int64) + int(turns * 255)) % 256
    hue = Image.fromarray(turned.astype(np.uint8))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


@pytest.mark.parametrize("turns", [-0.5, -0.1, -0.037, 0.0, 0.02, 0.1, 0.5])
def test_hue_is_that_of_torchvision_on_pillow(turns):
    every_hue = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), -1).reshape(-1, 18, 3)
    for image in [*IMAGES, every_hue.astype(np.uint8)]:
        apart = levels_apart(
            jax.jit(augment.adjust_hue)(planes(image), jnp.float32(turns)),
            torchvision_hue(image, turns),
        )
        # One hue step is at most 6 levels; it happens where a hue lies on a step's border.
        assert apart.max() <= 6 and (apart > 0).mean() < 0.01, (apart.max(), (apart > 0).mean())


@jax.jit
def blur_of_cpus(image: jax.Array, sigma: jax.Array) -> jax.Array:
    return gaussian_blur(image, sigma, max_sigma=2.0)


@jax.jit
def blur_of_accelerators(image: jax.Array, sigma: jax.Array) -> jax.Array:
    kernel = blur_kernel(sigma, max_sigma=2.0)
    return jnp.floor(blur_by_products(image, kernel) + 0.5)


@pytest.mark.parametrize("blur", [blur_of_cpus, blur_of_accelerators])
@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.7, 1.0, 1.4, 1.42, 1.7, 2.0])
def test_blur_is_that_of_pillow(sigma, blur):
    """But for Pillow's rounding after each of its six passes, and its border."""
    reach = 6
    for i, image in enumerate(IMAGES):
        apart = levels_apart(
            blur(planes(image), jnp.float32(sigma)),
            Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)),
        )
        inside = apart[reach:-reach, reach:-reach]
        assert inside.max() <= 3
        if i in SMOOTH:
            assert apart.max() <= 3 and apart.mean() < 0.65
        else:
            assert apart.max() <= 30 and inside.mean() < 1.1


def test_both_ways_to_blur_give_the_same_sums():
    sides = SIZE, 9  # the kernel reaches beyond both borders of the second
    images = RNG.uniform(0, 255, (4, 3, *sides)).astype(np.float32)
    kernel = blur_kernel(jnp.array([0.1, 0.8, 1.5, 2.0]), max_sigma=2.0)
    np.testing.assert_allclose(
        blur_by_products(images, kernel),
        blur_by_shifts(images, kernel),
        atol=2e-4,
    )


def test_blur_kernel_is_a_unit_gaussian_of_the_given_deviation():
    for sigma in (0.5, 1.0, 1.5, 2.0):
        half = np.asarray(blur_kernel(jnp.float32(sigma), max_sigma=2.0))
        distance = np.arange(len(half))
        mass = np.where(distance == 0, 1, 2) * half
        np.testing.assert_allclose(mass.sum(), 1, rtol=1e-5)
        np.testing.assert_allclose((mass * distance**2).sum(), sigma**2, rtol=1e-3)
        assert (np.diff(half) <= 1e-7).all()


def test_normalize_gives_imagenet_statistics():
    image = noise().astype(np.float32)
    expected = (image / 255 - augment.IMAGENET_MEAN) / augment.IMAGENET_STD
    np.testing.assert_allclose(augment.normalize(jnp.asarray(image)), expected, atol=2e-6)


def test_jitter_applies_the_four_operations_in_the_order_drawn():
    count = 32
    images = np.stack([smooth() for _ in range(count)])
    draw = augment.draw_parameters(jax.random.key(3), images=count, local_crops=0)
    draw = {name: value[:, 0] for name, value in draw.items()}
    ours = jax.jit(augment.color_jitter)(planes(images), draw)
    draw = jax.tree.map(np.asarray, draw)
    enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
    for i in range(count):
        expected = images[i]
        operations = [*draw["order"][i]]
        operations.insert(draw["hue_turn"][i], "hue")
        for operation in operations:
            if operation == "hue":
                expected = torchvision_hue(expected, float(draw["hue"][i]))
            else:
                factor = float(draw["factors"][i, operation])
                expected = enhancers[operation](Image.fromarray(expected)).enhance(factor)
            expected = np.asarray(expected)
        apart = levels_apart(ours[i], expected)
        # A hue step (6 levels) stretched by the factors after it, on few pixels.
        assert apart.max() <= 16 and apart.mean() < 0.1, (operations, apart.max(), apart.mean())


def by_pillow(image: np.ndarray, draw: dict[str, np.ndarray]) -> np.ndarray:
    """The official chain on one crop, up to the normalisation, float64 levels."""
    x = Image.fromarray(image)
    operations = [*draw["order"]]
    operations.insert(draw["hue_turn"], "hue")
    enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
    for operation in operations if draw["jitter"] else []:
        if operation == "hue":
            x = torchvision_hue(np.asarray(x), float(draw["hue"]))
        else:
            x = enhancers[operation](x).enhance(float(draw["factors"][operation]))
    if draw["grayscale"]:
        x = x.convert("L").convert("RGB")
    if draw["blur"]:
        x = x.filter(ImageFilter.GaussianBlur(float(draw["sigma"])))
    if draw["solarize"]:
        x = ImageOps.solarize(x, 128)
    return np.asarray(x, np.float64)


def test_whole_chain_is_that_of_pillow_with_the_recipes_random_numbers():
    images, views = 16, 4
    crops = np.stack([smooth() for _ in range(images * views)]).reshape(
        images, views, SIZE, SIZE, 3
    )
    key = jax.random.key(7)
    ours = PHOTOMETRICS(key, {"global": crops[:, :2], "local": crops[:, 2:]})
    ours = np.concatenate([ours["global"], ours["local"]], axis=1)
    ours = (ours * augment.IMAGENET_STD + augment.IMAGENET_MEAN) * 255
    draws = augment.draw_parameters(key, images=images, local_crops=views - 2)
    draws = jax.tree.map(np.asarray, draws)
    for i, view in np.ndindex(images, views):
        draw = {name: value[i, view] for name, value in draws.items()}
        apart = np.abs(ours[i, view] - by_pillow(crops[i, view], draw))
        # Rounding in the blur (.65 on average, more where contrast was raised) and in the jitter
        # (.1): see their own tests.
        assert apart.mean() < (1.0 if draw["blur"] else 0.11), (i, view, apart.mean())


def test_random_parameters_follow_the_recipes_distributions():
    """Kolmogorov and Smirnov's test of each, at the seed given; 1e-4 is one failure in 10,000."""
    images, local_crops = 3000, 2
    draw = augment.draw_parameters(jax.random.key(11), images=images, local_crops=local_crops)
    draw = jax.tree.map(np.asarray, draw)
    for values, low, high in [
        (draw["factors"][..., 0], 0.6, 1.4),
        (draw["factors"][..., 1], 0.6, 1.4),
        (draw["factors"][..., 2], 0.8, 1.2),
        (draw["hue"], -0.1, 0.1),
        (draw["sigma"], 0.1, 2.0),
    ]:
        for crop in range(2 + local_crops):
            uniform = scipy.stats.uniform(low, high - low)
            assert scipy.stats.kstest(values[:, crop], uniform.cdf).pvalue > 1e-4
    for name, expected in {
        "jitter": [0.8] * 4,
        "grayscale": [0.2] * 4,
        "blur": [1.0, 0.1, 0.5, 0.5],
        "solarize": [0.0, 0.2, 0.0, 0.0],
    }.items():
        for crop, probability in enumerate(expected):
            count = int(draw[name][:, crop].sum())
            assert scipy.stats.binomtest(count, images, probability).pvalue > 1e-4


def test_random_parameters_have_the_recipes_ranges_and_probabilities():
    images, local_crops = 4000, 3
    draw = augment.draw_parameters(jax.random.key(0), images=images, local_crops=local_crops)
    draw = jax.tree.map(np.asarray, draw)

    def close(values, expected):
        deviation = np.sqrt(np.maximum(np.multiply(expected, np.subtract(1, expected)), 0) / images)
        assert (np.abs(values.mean(0) - expected) <= 4.5 * deviation).all(), values.mean(0)

    close(draw["jitter"], [0.8] * 5)
    close(draw["grayscale"], [0.2] * 5)
    close(draw["blur"], [1, 0.1, 0.5, 0.5, 0.5])
    close(draw["solarize"], [0, 0.2, 0, 0, 0])
    for values, low, high in [
        (draw["factors"][..., 0], 0.6, 1.4),
        (draw["factors"][..., 1], 0.6, 1.4),
        (draw["factors"][..., 2], 0.8, 1.2),
        (draw["hue"], -0.1, 0.1),
        (draw["sigma"], 0.1, 2.0),
    ]:
        assert values.min() >= low - 1e-6 and values.max() <= high + 1e-6
        quarters = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(quarters, np.linspace(low, high, 5), atol=0.02 * (high - low))

    orders = Counter()
    for order, turn in zip(draw["order"].reshape(-1, 3), draw["hue_turn"].ravel(), strict=True):
        orders[(*order[:turn], "hue", *order[turn:])] += 1
    expected = images * 5 / 24
    assert len(orders) == 24
    assert max(abs(n - expected) for n in orders.values()) < 5 * np.sqrt(expected)

    columns = np.stack(
        [draw[name].ravel() for name in ("jitter", "grayscale", "hue_turn", "hue", "sigma")]
        + [*draw["factors"].reshape(-1, 3).T]
    ).astype(np.float64)
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlation).max() < 5 / np.sqrt(columns.shape[1])


def batch_of(images: int, local_crops: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "global": rng.integers(0, 256, (images, 2, 24, 24, 3), dtype=np.uint8),
        "local": rng.integers(0, 256, (images, local_crops, 12, 12, 3), dtype=np.uint8),
    }


def test_a_crop_depends_on_its_key_and_position_alone():
    batch = batch_of(8)
    whole = PHOTOMETRICS(jax.random.key(5), batch)
    for name, value in batch.items():
        assert whole[name].shape == value.shape and whole[name].dtype == jnp.float32
        assert np.isfinite(whole[name]).all()
    first = {name: value[:4] for name, value in batch.items()}
    part = PHOTOMETRICS(jax.random.key(5), first)
    other = PHOTOMETRICS(jax.random.key(6), first)
    for name in whole:
        apart = np.abs(np.asarray(part[name]) - np.asarray(whole[name][:4]))
        assert (apart > 1e-5).mean() < 1e-3  # a rounded level may tip over
        assert not np.allclose(other[name], part[name])


def test_crops_of_one_image_are_treated_apart():
    batch = batch_of(4)
    batch["local"] = np.repeat(batch["local"][:1, :1], 4, axis=0).repeat(3, axis=1)
    out = np.asarray(PHOTOMETRICS(jax.random.key(0), batch)["local"])
    assert len({crop.tobytes() for crop in out.reshape(12, -1)}) == 12


def test_strength_zero_only_normalises_and_no_local_crops_are_fine():
    off = augment.Photometrics(
        jitter=0.0, grayscale=0.0, blur_global=(0.0, 0.0), solarize_global=(0.0, 0.0)
    )
    batch = batch_of(2, local_crops=0)
    out = PHOTOMETRICS(jax.random.key(0), batch, settings=off)
    expected = augment.normalize(jnp.asarray(batch["global"], jnp.float32))
    np.testing.assert_allclose(out["global"], expected, atol=1e-5)
    assert out["local"].shape == (2, 0, 12, 12, 3)


ON_FOUR_DEVICES = """
import sys, jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from rats_jax.dino.augment import photometrics
assert jax.device_count() == 4
mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
sharding = NamedSharding(mesh, PartitionSpec("data"))
batch = jax.device_put(dict(np.load(sys.argv[1])), sharding)
out = jax.jit(photometrics, out_shardings=sharding)(jax.random.key(5), batch)
assert all(len(value.sharding.device_set) == 4 for value in out.values())
np.savez(sys.argv[2], **out)
"""


@pytest.mark.processes
def test_result_does_not_depend_on_the_number_of_devices(tmp_path):
    np.savez(tmp_path / "in.npz", **batch_of(8))
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", ON_FOUR_DEVICES, tmp_path / "in.npz", tmp_path / "out.npz"],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    single = PHOTOMETRICS(jax.random.key(5), batch_of(8))
    for name, sharded in np.load(tmp_path / "out.npz").items():
        apart = np.abs(sharded - np.asarray(single[name]))
        assert (apart > 1e-5).mean() < 1e-3  # a rounded level may tip over
