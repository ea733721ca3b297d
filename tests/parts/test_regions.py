"""Region maps against loops in numpy, scipy.ndimage's smoothing, and their invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from rats_jax.errors import UserError
from rats_jax.parts.region_metrics import score
from rats_jax.parts.regions import (
    attention_regions,
    register_maps,
    register_regions,
    resize_labels,
)

GRID = (6, 9)


def tokens(seed=0, images=3, registers=12, width=16, grid=GRID):
    rng = np.random.default_rng(seed)
    shape = (images, grid[0] * grid[1], width)
    return rng.normal(size=(images, registers, width)), rng.normal(size=shape)


def literal_regions(registers, patches, *, grid, top_k, sigma, size):
    """One image, one cosine, one pixel at a time, in float64."""
    labels = np.zeros((len(registers), *size), int)
    for image in range(len(registers)):
        maps = [
            np.array([r @ p / np.linalg.norm(r) / np.linalg.norm(p) for p in patches[image]])
            for r in registers[image]
        ]
        maps = sorted(maps, key=lambda m: -m.max())[:top_k]
        maps = [m.reshape(grid) for m in maps]
        if sigma:
            maps = [gaussian_filter(m, sigma, mode="reflect", truncate=4.0) for m in maps]
        for y in range(size[0]):
            for x in range(size[1]):
                cell = int((y + 0.5) * grid[0] / size[0]), int((x + 0.5) * grid[1] / size[1])
                labels[image, y, x] = np.argmax([m[cell] for m in maps])
    return labels


@pytest.mark.parametrize("sigma", [0.0, 0.6, 1.0, 3.0])
@pytest.mark.parametrize("size", [GRID, (17, 40), (4, 5)])
def test_register_regions_equal_the_loops(sigma, size):
    registers, patches = tokens()
    options = dict(grid=GRID, top_k=5, sigma=sigma, size=size)
    regions = register_regions(registers=registers, patches=patches, **options)
    assert regions.dtype == jnp.int32 and regions.shape == (3, *size)
    np.testing.assert_array_equal(regions, literal_regions(registers, patches, **options))


@pytest.mark.parametrize("sigma", [0.0, 1.0])
@pytest.mark.parametrize("size", [(54, 63), (6, 9), (13, 40)])
def test_labels_of_pixels_are_those_of_bilinearly_resized_maps(sigma, size):
    registers, patches = tokens(13)
    maps, _ = register_maps(registers=registers, patches=patches, top_k=5)
    maps = np.asarray(maps).reshape(3, 5, *GRID)
    if sigma:
        maps = gaussian_filter(maps, sigma, mode="reflect", axes=(2, 3))
    expected = torch.nn.functional.interpolate(torch.tensor(maps), size, mode="bilinear").argmax(1)
    options = dict(grid=GRID, sigma=sigma, size=size, argmax="pixel")
    labels = register_regions(registers=registers, patches=patches, top_k=5, **options)
    assert labels.dtype == jnp.int32
    assert (np.asarray(labels) == expected.numpy()).mean() > 0.999  # but for rounding at borders
    assert (np.asarray(labels[:, 1:]) != np.asarray(labels[:, :-1])).any()


def test_labels_of_pixels_need_no_memory_for_all_maps():
    """192 maps of 1,024 x 1,024 pixels would be 805 MB an image."""

    def regions(attention):
        options = dict(grid=(64, 64), size=(1024, 1024), argmax="pixel")
        return attention_regions(attention=attention, **options)

    maps = jax.ShapeDtypeStruct((1, 192, 64 * 64), jnp.float32)
    memory = jax.jit(regions).lower(maps).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 50e6


def test_labels_of_pixels_tie_as_those_of_patches():
    attention = np.ones((1, 4, 54))
    for argmax in ("patch", "pixel"):
        labels = attention_regions(attention=attention, grid=GRID, size=(12, 18), argmax=argmax)
        assert not np.asarray(labels).any()


def test_maps_are_ranked_cosines_of_the_kept_registers():
    registers, patches = tokens()
    maps, kept = register_maps(registers=registers, patches=patches, top_k=12)
    peaks = np.asarray(maps.max(-1))
    assert (np.diff(peaks) <= 0).all()
    assert all(sorted(row) == list(range(12)) for row in np.asarray(kept))
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (registers, patches)]
    cosine = unit[0] @ unit[1].swapaxes(1, 2)
    expected = np.take_along_axis(cosine, np.asarray(kept)[..., None], 1)
    np.testing.assert_allclose(maps, expected, atol=2e-6)
    fewer, kept_fewer = register_maps(registers=registers, patches=patches, top_k=4)
    np.testing.assert_array_equal(kept_fewer, kept[:, :4])
    np.testing.assert_array_equal(fewer, maps[:, :4])


def test_centered_maps_do_not_depend_on_what_all_tokens_share():
    registers, patches = tokens()
    maps, kept = register_maps(registers=registers, patches=patches, top_k=5, centered=True)
    left = [np.asarray(x, np.float64) - np.mean(x, 1, keepdims=True) for x in (registers, patches)]
    expected, expected_kept = register_maps(registers=left[0], patches=left[1], top_k=5)
    np.testing.assert_array_equal(kept, expected_kept)
    np.testing.assert_allclose(maps, expected, atol=2e-6)
    shared = np.linspace(-3, 3, registers.shape[-1]), np.linspace(5, 1, registers.shape[-1])
    moved = dict(registers=registers + shared[0], patches=patches + shared[1])
    options = dict(grid=GRID, top_k=5, centered=True)
    regions = register_regions(registers=registers, patches=patches, **options)
    np.testing.assert_array_equal(register_regions(**moved, **options), regions)
    plain = register_regions(**moved, grid=GRID, top_k=5)
    assert (np.asarray(plain) != np.asarray(regions)).mean() > 0.3


def test_without_size_one_label_a_patch():
    registers, patches = tokens()
    options = dict(registers=registers, patches=patches, grid=GRID, top_k=4)
    small = register_regions(**options)
    assert small.shape == (3, *GRID)
    large = register_regions(**options, size=(48, 72))
    np.testing.assert_array_equal(large, np.kron(small, np.ones((1, 8, 8), int)))


def test_order_of_registers_and_scale_of_features_do_not_matter():
    registers, patches = tokens(1)
    options = dict(grid=GRID, top_k=6, size=(30, 31))
    regions = register_regions(registers=registers, patches=patches, **options)
    rng = np.random.default_rng(2)
    shuffled = registers[:, rng.permutation(12)] * rng.uniform(0.01, 100, (3, 12, 1))
    scaled = patches * rng.uniform(0.01, 100, (3, len(patches[0]), 1))
    again = register_regions(registers=shuffled, patches=scaled, **options)
    np.testing.assert_array_equal(regions, again)


def test_images_do_not_see_each_other():
    registers, patches = tokens(3)
    options = dict(grid=GRID, top_k=6)
    together = register_regions(registers=registers, patches=patches, **options)
    alone = register_regions(registers=registers[1:2], patches=patches[1:2], **options)
    np.testing.assert_array_equal(together[1:2], alone)


def test_planted_parts_are_found():
    """Patches drawn around orthogonal directions, one register along each, plus idle registers."""
    rng = np.random.default_rng(4)
    parts = resize_labels(np.arange(6).reshape(2, 3), (14, 14))
    directions = np.eye(32)[:12]
    patches = directions[parts.ravel()] + 0.05 * rng.normal(size=(196, 32))
    registers = np.concatenate([directions[6:], directions[:6]])  # the idle ones come first
    regions = register_regions(
        registers=registers[None], patches=patches[None], grid=(14, 14), top_k=6, sigma=0.5
    )
    assert score(np.asarray(regions[0]), parts)[:3] == (1, 1, 1)


def test_smoothing_removes_a_lone_patch():
    patches = np.tile([1.0, 0.0], (49, 1))
    patches[24] = [0.0, 1.0]
    options = dict(registers=np.eye(2)[None], patches=patches[None], grid=(7, 7), top_k=2)
    assert len(np.unique(register_regions(**options, sigma=0.0))) == 2
    assert len(np.unique(register_regions(**options, sigma=1.0))) == 1


def test_bfloat16_inputs_and_an_outer_jit():
    registers, patches = (jnp.asarray(x, jnp.bfloat16) for x in tokens(5))

    @jax.jit
    def regions(registers, patches):
        return register_regions(registers=registers, patches=patches, grid=GRID, top_k=3)

    exact = [np.asarray(x, np.float32) for x in (registers, patches)]
    expected = register_regions(registers=exact[0], patches=exact[1], grid=GRID, top_k=3)
    np.testing.assert_array_equal(regions(registers, patches), expected)


def test_zero_features_give_a_label_not_nan():
    regions = register_regions(
        registers=np.zeros((1, 3, 4)), patches=np.zeros((1, 6, 4)), grid=(2, 3), top_k=2
    )
    assert not np.asarray(regions).any()


@pytest.mark.parametrize("top_k", [0, 13])
def test_top_k_beyond_the_registers_is_a_readable_error(top_k):
    registers, patches = tokens()
    with pytest.raises(UserError, match=f"top_k={top_k} with 12 registers"):
        register_regions(registers=registers, patches=patches, grid=GRID, top_k=top_k)


def test_grid_must_hold_the_patches():
    registers, patches = tokens()
    with pytest.raises(ValueError, match="54 patches"):
        register_regions(registers=registers, patches=patches, grid=(7, 8), top_k=3)


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_attention_regions_equal_the_loops(sigma):
    attention = np.random.default_rng(6).dirichlet(np.ones(55), (2, 6))[..., 1:]  # drop [CLS]
    regions = np.asarray(attention_regions(attention=attention, grid=GRID, sigma=sigma))
    for image in range(2):
        maps = [(a / a.sum()).reshape(GRID) for a in attention[image]]
        if sigma:
            maps = [gaussian_filter(m, sigma, mode="reflect") for m in maps]
        np.testing.assert_array_equal(regions[image], np.argmax(maps, 0))


def test_attention_regions_ignore_what_a_head_gives_to_other_tokens():
    rng = np.random.default_rng(7)
    attention = rng.dirichlet(np.ones(54), (2, 6))
    kept = attention * rng.uniform(0.01, 1, (2, 6, 1))
    options = dict(grid=GRID, size=(20, 20))
    expected = attention_regions(attention=attention, **options)
    np.testing.assert_array_equal(attention_regions(attention=kept, **options), expected)


def test_resize_reads_cells_at_half_pixel_centres():
    np.testing.assert_array_equal(
        resize_labels(np.arange(3)[None], (1, 7))[0], [0, 0, 1, 1, 1, 2, 2]
    )
    np.testing.assert_array_equal(resize_labels(np.arange(9)[None], (1, 3))[0], [1, 4, 7])
    labels = np.random.default_rng(12).integers(0, 9, (2, 5, 6))
    flipped = resize_labels(labels[:, ::-1, ::-1], (33, 46))[:, ::-1, ::-1]
    np.testing.assert_array_equal(resize_labels(labels, (33, 46)), flipped)  # no shift
