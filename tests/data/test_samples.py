"""Crops of each way against Pillow's, and the canvas with its boxes."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from rats_jax.data import samples
from rats_jax.data.crops import MultiCrop
from rats_jax.data.decode import UnreadableImage
from rats_jax.data.device_crops import crop_canvases, flip_crops
from rats_jax.data.samples import Canvases, ExactCrops, FastCrops
from rats_jax.errors import UserError

RECIPE = MultiCrop(
    global_size=224, local_size=96, local_crops=10, global_scale=(0.25, 1), local_scale=(0.05, 0.25)
)
SMALL = MultiCrop(
    global_size=20, local_size=12, local_crops=3, global_scale=(0.25, 1), local_scale=(0.05, 0.25)
)
TOLERANCE = 0.3  # levels of 255, mean absolute difference from Pillow over the crops of an image


def photo(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Shapes with sharp borders, shades and noise: harder to resample alike than photographs."""
    rng = np.random.default_rng(seed)
    image = np.empty((height, width, 3))
    image[:] = np.linspace(0, 200, width)[None, :, None] + rng.uniform(0, 55, 3)
    y, x = np.mgrid[:height, :width]
    for _ in range(25):
        cx, cy, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.02, 0.2) * width
        image[(x - cx) ** 2 + (y - cy) ** 2 < r**2] = rng.uniform(0, 255, 3)
    return (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90, **options)
    return out.getvalue()


def make(way: samples.Samples, image, seed: int = 0) -> dict[str, np.ndarray]:
    # What was in the buffers must not show.
    out = {name: np.full(shape, 77).astype(dtype) for name, (shape, dtype) in way.fields.items()}
    way.write(image, np.random.default_rng(seed), out)
    return out


def crops_of(way: samples.Samples, image, seed: int = 0) -> dict[str, np.ndarray]:
    """What the device makes of the host's crops."""
    batch = {name: array[None] for name, array in make(way, image, seed).items()}
    return {name: np.asarray(array[0]) for name, array in flip_crops(batch).items()}


def cropped(way: Canvases, image, crops: MultiCrop, seed: int = 0) -> dict[str, np.ndarray]:
    batch = {name: array[None] for name, array in make(way, image, seed).items()}
    cut = crop_canvases(batch, global_size=crops.global_size, local_size=crops.local_size)
    return {name: np.asarray(array[0]) for name, array in cut.items()}


def pillow(image, crops: MultiCrop, seed: int = 0) -> dict[str, np.ndarray]:
    """The official pipeline's geometry, with the same draws."""
    whole = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else Image.fromarray(image)
    whole = whole.convert("RGB")
    views = []
    draws = crops.draw(whole.size, np.random.default_rng(seed))
    for i, (box, flip) in enumerate(zip(*draws, strict=True)):
        side = crops.global_size if i < 2 else crops.local_size
        view = np.asarray(whole.crop(box).resize((side, side), Image.Resampling.BICUBIC))
        views.append(view[:, ::-1] if flip else view)
    return {"global": np.stack(views[:2]), "local": np.stack(views[2:])}


def differences(ours: dict, theirs: dict) -> dict[str, np.ndarray]:
    assert {name: x.shape for name, x in ours.items()} == {n: x.shape for n, x in theirs.items()}
    return {name: np.abs(ours[name].astype(int) - theirs[name]) for name in theirs}


SIZES = [(500, 375), (333, 500), (64, 48), (900, 40)]


@pytest.mark.parametrize("size", SIZES)
def test_exact_crops_are_pillows(size):
    image = jpeg(photo(*size))
    for seed in range(3):
        ours, theirs = crops_of(ExactCrops(RECIPE), image, seed), pillow(image, RECIPE, seed)
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("size", SIZES)
def test_fast_crops_are_pillows_within_the_tolerance(size):
    image = jpeg(photo(*size))
    for seed in range(3):
        apart = differences(crops_of(FastCrops(RECIPE), image, seed), pillow(image, RECIPE, seed))
        assert apart["global"].mean() < TOLERANCE and apart["local"].mean() < TOLERANCE
        assert max(apart["global"].max(), apart["local"].max()) <= 25


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (512, 512), (512, 40)])
def test_canvas_crops_are_pillows_within_the_tolerance(size):
    image, way = jpeg(photo(*size)), Canvases(RECIPE, size=512)
    apart = differences(cropped(way, image, RECIPE), pillow(image, RECIPE))
    assert apart["global"].mean() < TOLERANCE and apart["local"].mean() < TOLERANCE


def test_no_way_sees_beyond_the_box():
    image = np.zeros((60, 60, 3), np.uint8)
    image[:, 30:] = 255

    class LeftHalf(MultiCrop):
        def draw(self, size, rng):
            return [(0, 0, 30, 60)] * self.views, [False] * self.views

    crops = LeftHalf(**vars(SMALL))
    for way in (ExactCrops(crops), FastCrops(crops)):
        out = make(way, image)
        assert out["global"].max() == 0 and out["local"].max() == 0
    out = cropped(Canvases(crops, size=64), image, crops)
    assert out["global"].max() == 0 and out["local"].max() == 0


def test_what_is_too_large_comes_out_much_the_same():
    image = jpeg(photo(1300, 1000))  # for the canvas, 640 pixels; for 20 pixel crops, 325
    theirs = pillow(image, SMALL)
    apart = differences(crops_of(FastCrops(SMALL), image), theirs)
    assert apart["global"].mean() < 4 and apart["local"].mean() < 4
    way = Canvases(SMALL, size=512)
    apart = differences(cropped(way, image, SMALL), theirs)
    assert apart["global"].mean() < 4 and apart["local"].mean() < 4


def test_a_canvas_holds_the_image_and_nothing_else():
    image = photo(50, 30)
    out = make(Canvases(SMALL, size=64), image)
    assert np.array_equal(out["canvas"][:30, :50], image)
    assert out["canvas"][30:].max() == 0 and out["canvas"][:, 50:].max() == 0
    boxes, flips = SMALL.draw((50, 30), np.random.default_rng(0))
    assert out["boxes"].tolist() == [list(box) for box in boxes]
    assert out["flips"].tolist() == flips


def test_an_image_larger_than_the_canvas_is_shrunk_with_its_boxes(monkeypatch):
    image = photo(128, 96)
    for resampler in (samples.cykooz_resizer, None):
        monkeypatch.setattr(samples, "cykooz_resizer", resampler)
        out = make(Canvases(SMALL, size=64), image)
        expected = np.asarray(Image.fromarray(image).resize((64, 48), Image.Resampling.BICUBIC))
        assert np.abs(out["canvas"][:48].astype(int) - expected).mean() < TOLERANCE
        assert out["canvas"][48:].max() == 0
        boxes, _ = SMALL.draw((128, 96), np.random.default_rng(0))
        assert out["boxes"].tolist() == [[x / 2 for x in box] for box in boxes]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_the_smallest_images_have_crops(size):
    image = np.full((*size, 3), 90, np.uint8)
    for way in (ExactCrops(SMALL), FastCrops(SMALL)):
        assert all((array == 90).all() for array in crops_of(way, image).values())
    out = cropped(Canvases(SMALL, size=64), image, SMALL)
    assert all((array == 90).all() for array in out.values())


@pytest.mark.parametrize("way", [ExactCrops(SMALL), FastCrops(SMALL), Canvases(SMALL, size=64)])
def test_an_unreadable_image_leaves_the_generator_alone(way):
    rng = np.random.default_rng(0)
    out = {name: np.empty(shape, dtype) for name, (shape, dtype) in way.fields.items()}
    with pytest.raises(UnreadableImage):
        pickle.loads(pickle.dumps(way)).write(b"damaged", rng, out)
    assert rng.random() == np.random.default_rng(0).random()


def test_without_the_resampler_fast_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr(samples, "cykooz_resizer", None)
    with pytest.raises(UserError, match="pip install .*canvas"):
        FastCrops(SMALL)
