"""The page computes the regions that the evaluation scores, and needs no network."""

import json
import re
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from rats_jax.gallery.html import pack, page, page_image
from rats_jax.gallery.image_files import register_colours
from rats_jax.gallery.maps import map_sets
from rats_jax.parts.regions import register_regions
from rats_jax.pictures.overlays import PALETTE
from rats_jax.pictures.sheets import ATTENTION, COSINE, HEAT, heat
from tests.gallery.looks import GRID, RATS, VIT, features

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no Node to run the page's program")


def in_node(program: str, given: dict, *others: str):
    """What `program`, which returns a value, makes of `given` with the functions of regions.js and
    of other files of the page."""
    folder = files("rats_jax.gallery") / "files"
    functions = "\n".join((folder / name).read_text() for name in ("regions.js", *others))
    script = f"""
    {functions}
    const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
    (async () => {{ {program} }})().then((found) => console.log(JSON.stringify(found)));
    """
    done = subprocess.run(
        [NODE, "-e", script], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def smooth_maps(count: int, grid: tuple[int, int]) -> np.ndarray:
    draws = np.random.default_rng(1).standard_normal((count, *grid))
    return draws.cumsum(1).cumsum(2).reshape(count, -1).astype(np.float32)


@pytest.mark.processes
@needs_node
@pytest.mark.parametrize("count", [3, 600])
def test_maps_come_back_but_for_rounding(count):
    grid = (4, 9)
    maps = smooth_maps(count, grid)
    packed = pack(maps, grid=grid)
    assert packed["levels"] == (255 if count == 3 else 15)  # so many have to be coarser
    program = "return (await unpack(given.packed, given.grid)).map((m) => [...m]);"
    found = in_node(program, {"packed": packed, "grid": grid})
    half = (maps.max(1) - maps.min(1)) / packed["levels"] / 2
    assert (np.abs(np.array(found) - maps).max(1) <= 1.001 * half).all()


@pytest.mark.processes
@needs_node
def test_a_sharp_peak_leaves_the_low_values_of_attention_apart():
    maps = np.array([[300, 0.1, 0.2, 0.5, 1, 2]], np.float32)
    packed = pack(maps, grid=(2, 3), root=True)
    program = "return (await unpack(given.packed, [2, 3])).map((m) => [...m]);"
    np.testing.assert_allclose(in_node(program, {"packed": packed}), maps, rtol=0.15)


REGIONS = """
    const smoothed = smoothAll(await unpack(given.packed, given.grid), given.grid, 1);
    return [[...regionsOf(smoothed, given.k)], leadOf(smoothed, given.k)];
"""


@pytest.mark.processes
@needs_node
@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_the_page_has_the_regions_that_are_scored(k):
    seen = features()
    (maps,) = map_sets(seen, RATS, grid=GRID)
    given = {"packed": pack(maps.maps, grid=GRID), "grid": GRID, "k": k}
    regions, lead = in_node(REGIONS, given)
    expected = register_regions(
        registers=seen.registers, patches=seen.patches, grid=GRID, top_k=k, size=None
    )
    np.testing.assert_array_equal(np.array(regions).reshape(GRID), expected[0])
    assert lead == (None if k == 1 else pytest.approx(maps.lead(k, GRID), abs=0.005))


@pytest.mark.processes
@needs_node
@pytest.mark.parametrize("k", [2, 3])
def test_the_page_has_the_regions_of_attention(k):
    (maps,) = map_sets(features(tokens=1), VIT, grid=GRID)
    given = {"packed": pack(maps.maps, grid=GRID, root=True), "grid": GRID, "k": k}
    regions, lead = in_node(REGIONS, given)
    smooth = [gaussian_filter(m.reshape(GRID), 1, mode="reflect", truncate=4) for m in maps.maps]
    ordered = np.sort(smooth[:k], axis=0)
    clear = ordered[-1] - ordered[-2] > 0.01  # of this little a number may be rounded
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(np.reshape(regions, GRID)[clear], maps.regions(k)[clear])
    assert lead == pytest.approx(maps.lead(k, GRID), abs=0.01)


@pytest.mark.processes
@needs_node
@pytest.mark.parametrize("k, lead", [(1, None), (2, 2.5), (3, 5)])
def test_the_lead_is_a_median_over_patches(k, lead):
    maps = [[1, 2, 3, 20], [0, 0, 0, 0], [9, 0, 2, 0]]
    program = "return leadOf(given.maps.map((m) => Float32Array.from(m)), given.k);"
    assert in_node(program, {"maps": maps, "k": k}) == lead


def test_attention_is_packed_by_its_root_and_cosines_are_not():
    for options, root in ((RATS, False), (VIT, True)):
        sets = map_sets(features(), options, grid=GRID)
        image = np.zeros((40, 56, 3), np.uint8)
        part = page_image("x", image, sets, grid=GRID, pca=np.zeros((35, 3), np.uint8))
        assert [packed["root"] for packed in part["sets"]] == [root] * len(sets)


@pytest.mark.processes
@needs_node
@pytest.mark.parametrize("scale", [ATTENTION, COSINE])
def test_the_page_has_the_scale_of_the_pictures(scale):
    values = [-2, -0.3, 0, 0.05, 0.3, 1, 1.01, 7, 400]
    program = "return given.values.map((value) => placeOn(given.scale, value));"
    places = in_node(program, {"values": values, "scale": scale._asdict()})
    steps = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(places, steps, HEAT[:, c]) for c in range(3)], -1)
    np.testing.assert_array_equal(np.round(colours).astype(np.uint8), heat(np.array(values), scale))


@pytest.mark.processes
@needs_node
@pytest.mark.parametrize("grid", [(1, 3), (12, 17)])
def test_the_page_smooths_as_the_evaluation_does(grid):
    (first, second) = smooth_maps(2, grid)
    given = {"maps": [first.tolist(), second.tolist()], "grid": grid}
    found = in_node("return smoothAll(given.maps, given.grid, 1).map((m) => [...m]);", given)
    for smoothed, one in zip(found, (first, second), strict=True):
        expected = gaussian_filter(one.reshape(grid).astype(float), 1, mode="reflect", truncate=4)
        np.testing.assert_allclose(np.reshape(smoothed, grid), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.processes
@needs_node
def test_the_page_has_the_colours_of_the_pictures():
    kept = [50, 2, 3, 47, 95, 0, *range(100, 150)]  # 50 and 2 want one place, as do 47 and 95
    program = "return colourPlaces(given.kept, given.palette);"
    places = in_node(program, {"kept": kept, "palette": len(PALETTE)})
    np.testing.assert_array_equal(PALETTE[places], register_colours(kept))


def test_no_two_of_a_picture_share_a_colour_and_better_ranks_keep_theirs():
    kept = [50, 2, 3, 47, 95, *range(100, 143)]
    colours = register_colours(kept)
    assert len(np.unique(colours, axis=0)) == len(PALETTE) == len(kept)
    np.testing.assert_array_equal(colours[:3], register_colours(kept[:3]))
    np.testing.assert_array_equal(colours[0], PALETTE[50 % len(PALETTE)])


def made_page(name: str) -> str:
    sets = map_sets(features(), RATS, grid=GRID)
    image = np.zeros((40, 56, 3), np.uint8)
    part = page_image(name, image, sets, grid=GRID, pca=np.zeros((35, 3), np.uint8))
    return page(origin="<b>a model</b>", sets=sets, top_k=4, pca="5 %", images=[part])


def test_the_page_is_whole_and_asks_for_nothing():
    html = made_page("x.png")
    assert not re.search(r"https?://|\bimport\b|\bfetch\(|src=|href=", html)
    assert "default-src 'none'" in html
    assert not re.search(r"/\* \S+ \*/", html)  # everything has been put in its place


def test_a_name_cannot_end_the_page():
    name = "</script><script>alert(1)</script>"
    html = made_page(name)
    data = html.split('id="data">')[1].split("</script>")[0]
    found = json.loads(data)
    assert found["images"][0]["name"] == name and found["origin"] == "<b>a model</b>"
    assert html.count("<script") == 2


def test_twenty_images_of_many_registers_stay_below_5_mb():
    grid, count = (32, 32), 192  # RATS-B at 512 px; noise is the worst that maps can be
    draws = np.random.default_rng(0)
    packed = pack(draws.normal(0, 1, (count, 1024)).astype(np.float32), grid=grid)
    assert 20 * len(json.dumps(packed)) < 4.2e6  # and 40 kB each for the JPEG
