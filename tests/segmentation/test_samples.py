"""Windows of images, label maps and masks, compared with Pillow and with literal rules."""

import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.segmentation.crops import Window, Windows, nearest, window_of_pixels
from rats_jax.segmentation.interface import VOID, Segmented
from rats_jax.segmentation.packed_masks import packed
from rats_jax.segmentation.samples import InstanceSamples, SemanticSamples

SIZES = [(37, 53, 81, 115), (64, 48, 20, 15), (5, 7, 5, 7), (1, 1, 40, 40), (50, 9, 3, 1)]


@pytest.mark.parametrize("height, width, down, across", SIZES)
def test_labels_are_resized_as_by_pillow(height, width, down, across):
    labels = np.random.default_rng(0).integers(0, 200, (height, width), dtype=np.uint8)
    pillow = Image.fromarray(labels).resize((across, down), Image.Resampling.NEAREST)
    rows, columns = nearest(Window((down, across), 0, 0, (down, across)), (height, width))
    own, others = labels[rows][:, columns], np.asarray(pillow)
    ties = on_border(height, down)[:, None] | on_border(width, across)
    assert not ties.all()
    np.testing.assert_array_equal(own[~ties], others[~ties])


def on_border(old: int, new: int) -> np.ndarray:
    """Whether the center of a new pixel is on the border of two old ones, where Pillow rounds."""
    return (2 * np.arange(new) + 1) * old % (2 * new) == 0


@pytest.mark.parametrize("height, width, down, across", SIZES)
def test_a_window_of_pixels_is_that_of_the_resized_image(height, width, down, across):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    whole = Image.fromarray(pixels).resize((across, down), Image.Resampling.BILINEAR)
    top, left = down // 3, across // 4
    window = Window((down, across), top, left, (down - top, (across - left + 1) // 2))
    expected = np.asarray(whole)[top:, left : left + window.size[1]].astype(int)
    assert np.abs(window_of_pixels(pixels, window) - expected).max() <= 1


def test_sizes_keep_proportions_and_limits():
    rng = np.random.default_rng(0)
    short = Windows(512, "short_side", (0.5, 2.0), 2048)
    sizes = np.array([short.draw_size((512, 683), rng) for _ in range(300)])
    assert 256 <= sizes.min() <= 262 and 1000 <= sizes[:, 0].max() <= 1024
    np.testing.assert_allclose(sizes[:, 1] / sizes[:, 0], 683 / 512, rtol=4e-3)
    assert short.draw_size((100, 1000), rng)[1] <= 2048
    inside = Windows(1024, "inside", (2.0, 2.0), 10**6)
    assert inside.draw_size((480, 640), rng) == (1536, 2048)


def empty(samples) -> dict[str, np.ndarray]:
    """Arrays of a sample, with other values than any sample has."""
    return {name: np.full(shape, 77, dtype) for name, (shape, dtype) in samples.fields.items()}


def coordinates(height: int, width: int) -> np.ndarray:
    """An image whose red is the row and whose green is the column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_image_and_labels_show_the_same_place(seed):
    pixels = coordinates(150, 200)
    labels = (pixels[..., 0].astype(np.int16) // 10) * 20 + pixels[..., 1] // 10
    samples = SemanticSamples(crop=120, color=False, one_class=1)
    out = empty(samples)
    whole = Segmented(pixels, labels, None, None, None, "a")
    samples.write(whole, np.random.default_rng(seed), out)
    height, width = out["size"]
    inner = out["labels"][:height, :width]
    expected = out["image"][:height, :width].astype(int)
    expected = expected[..., 0] // 10 * 20 + expected[..., 1] // 10
    # Bilinear pixels are within half a pixel of the nearest, so only borders of cells differ.
    assert (inner == expected).mean() > 0.8 and set(np.unique(inner)) >= set(np.unique(expected))
    assert (out["labels"][height:] == VOID).all() and (out["labels"][:, width:] == VOID).all()
    assert not out["image"][height:].any() and not out["image"][:, width:].any()


def test_half_of_the_samples_are_mirrored():
    samples = SemanticSamples(crop=16, color=False, one_class=1, scale=(1, 1))
    labels = np.tile(np.arange(16, dtype=np.int16), (16, 1))
    image = Segmented(coordinates(16, 16), labels, None, None, None, "a")
    rng, mirrored, out = np.random.default_rng(0), 0, empty(samples)
    for _ in range(200):
        samples.write(image, rng, out)
        mirrored += out["labels"][0, 0] == 15
        np.testing.assert_array_equal(out["image"][..., 1], out["labels"])
    assert 75 < mirrored < 125


def test_one_class_is_avoided_if_ten_windows_allow():
    labels = np.zeros((64, 64), np.int16)
    labels[:, 40:] = 1
    image = Segmented(coordinates(64, 64), labels, None, None, None, "a")
    rng = np.random.default_rng(0)

    def largest(one_class: float, labels: np.ndarray = labels) -> np.ndarray:
        samples = SemanticSamples(crop=32, scale=(2, 2), one_class=one_class, color=False)
        shares, out = [], empty(samples)
        for _ in range(200):
            samples.write(image._replace(labels=labels), rng, out)
            counts = np.bincount(out["labels"].ravel() + 1, minlength=3)[1:]
            shares.append(counts.max() / counts.sum())
        return np.array(shares)

    assert (largest(1) > 0.75).mean() > 0.3
    assert (largest(0.75) >= 0.75).mean() < 0.1
    # Void does not count: without it, one class has all pixels of every window.
    assert (largest(0.75, np.where(labels == 0, VOID, labels).astype(np.int16)) == 1).all()


def test_colours_change_only_the_image():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    labels = np.zeros((40, 40), np.int16)
    image = Segmented(pixels, labels, None, None, None, "a")
    outs = []
    for color in (False, True):
        samples = SemanticSamples(crop=48, color=color, resize="inside", scale=(40 / 48, 40 / 48))
        outs.append(empty(samples))
        samples.write(image, np.random.default_rng(3), outs[-1])
    np.testing.assert_array_equal(outs[0]["labels"], outs[1]["labels"])
    assert not np.array_equal(outs[0]["image"], outs[1]["image"])
    assert not outs[1]["image"][40:].any()


def masks_of(out: dict[str, np.ndarray]) -> np.ndarray:
    return np.unpackbits(out["masks"], axis=2, count=out["image"].shape[1]).astype(bool)


@pytest.mark.parametrize("seed", range(8))
def test_instances_are_those_of_the_window(seed):
    pixels = coordinates(90, 120)
    masks = np.zeros((5, 90, 120), bool)
    masks[0, 10:60, 20:70] = True
    masks[1, 30:80, 40:110] = True  # overlaps
    masks[2] = True  # a crowd
    masks[4, 0, 0] = True
    crowd = np.array([False, False, True, False, False])
    categories = np.array([3, 1, 0, 2, 2], np.int16)
    samples = InstanceSamples(crop=101, most_instances=6, scale=(0.5, 2.0))
    out = empty(samples)
    samples.write(
        Segmented(pixels, None, masks, categories, crowd, "a"), np.random.default_rng(seed), out
    )
    height, width = out["size"]
    found, image = masks_of(out), out["image"].astype(int)
    assert found.shape == (6, 101, 101) and not found[:, height:].any()
    assert not found[:, :, width:].any()
    kept = out["categories"][out["categories"] >= 0].tolist()
    assert [c for c in kept if c in (3, 1)] == [c for c in (3, 1) if c in kept] and 0 not in kept
    for place, category in enumerate(kept):
        assert found[place].any()
        if category not in (3, 1):
            continue
        mask = masks[0 if category == 3 else 1]
        inside = image[:height, :width]
        expected = mask[inside[..., 0].clip(0, 89), inside[..., 1].clip(0, 119)]
        assert (found[place, :height, :width] == expected).mean() > 0.97
    assert not found[len(kept) :].any() and (out["categories"][len(kept) :] == -1).all()


@pytest.mark.parametrize("seed", range(30))
def test_packed_masks_are_those_of_the_resized_mask(seed):
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 60, 2)
    mask = np.zeros(size, bool)
    top, left = rng.integers(size)
    mask[top : top + rng.integers(1, 30), left : left + rng.integers(1, 30)] = True
    mask &= rng.random(size) < 0.8
    whole = tuple(rng.integers(1, 90, 2).tolist())
    window = Windows(40, "inside", (1, 1), 100).draw_window(whole, rng)
    rows, columns = nearest(window, mask.shape)
    expected = np.zeros((40, 40), bool)
    expected[: window.size[0], : window.size[1]] = mask[rows][:, columns]
    for flip in (False, True):
        if flip:
            width = window.size[1]
            expected[:, :width] = expected[:, :width][:, ::-1]
        found = packed(mask, window, flip=flip, side=40)
        bits = np.zeros((40, 5), np.uint8)
        if found:
            bits[found.start : found.start + len(found.bits)] = found.bits
            assert found.pixels == expected.sum() > 0
        np.testing.assert_array_equal(np.unpackbits(bits, axis=1), expected)


def test_the_largest_instances_are_kept():
    masks = np.zeros((4, 32, 32), bool)
    for i, side in enumerate((3, 9, 5, 7)):
        masks[i, :side, :side] = True
    image = Segmented(
        coordinates(32, 32), None, masks, np.arange(4, dtype=np.int16), np.zeros(4, bool), "a"
    )
    samples = InstanceSamples(crop=32, most_instances=2, scale=(1, 1))
    out = empty(samples)
    samples.write(image, np.random.default_rng(0), out)
    assert out["categories"].tolist() == [1, 3]
    assert masks_of(out).sum((1, 2)).tolist() == [81, 49]


def test_windows_without_instances_are_drawn_again():
    masks = np.zeros((1, 64, 64), bool)
    masks[0, :20, :20] = True
    image = Segmented(
        coordinates(64, 64), None, masks, np.zeros(1, np.int16), np.zeros(1, bool), "a"
    )
    samples = InstanceSamples(crop=32, scale=(2, 2))
    rng, out = np.random.default_rng(0), empty(samples)
    found = 0
    for _ in range(100):
        samples.write(image, rng, out)
        found += out["categories"][0] == 0
    assert found > 90  # a third of all windows have it


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_images_of_one_pixel(size):
    labels = np.zeros(size, np.int16)
    pixels = np.full((*size, 3), 200, np.uint8)
    semantic, instance = SemanticSamples(crop=24, color=False), InstanceSamples(crop=24)
    out = empty(semantic)
    semantic.write(Segmented(pixels, labels, None, None, None, "a"), np.random.default_rng(0), out)
    height, width = out["size"]
    assert (out["labels"][:height, :width] == 0).all() and (
        out["image"][:height, :width] == 200
    ).all()
    out = empty(instance)
    image = Segmented(
        pixels, None, np.ones((1, *size), bool), np.zeros(1, np.int16), np.zeros(1, bool), "a"
    )
    instance.write(image, np.random.default_rng(0), out)
    assert masks_of(out)[0].sum() == np.prod(out["size"])


@pytest.mark.parametrize("samples", [SemanticSamples, InstanceSamples])
def test_a_scale_that_cannot_be(samples):
    for scale in ((0.0, 1.0), (2.0, 1.0)):
        with pytest.raises(UserError, match=r"config\.data\.scale"):
            samples(crop=32, scale=scale)
