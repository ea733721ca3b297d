"""visualize --dictionary: the parts on the page are those of Python, and entries have pages."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from rats_jax.errors import UserError
from rats_jax.gallery import entry_pages
from rats_jax.gallery.entry_pages import EntryPages
from rats_jax.gallery.gallery import draw
from rats_jax.gallery.html import page_image
from rats_jax.gallery.looking import Seen
from rats_jax.gallery.maps import map_sets
from rats_jax.parts.dictionary.detectors import kind_of
from rats_jax.parts.dictionary.part_maps import Assigned, named_maps
from rats_jax.parts.dictionary.saved import Dictionary, load, save
from tests.gallery.looks import GRID, RATS, VIT, backbone, features
from tests.gallery.test_html import in_node, needs_node
from tests.gallery.test_visualize import KINDS, pages_of, visualize

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NAMES = {0: "leg", 1: "</script>", 2: "head"}


def dictionary_of(count: int, width: int = 8, *, named: bool = True) -> Dictionary:
    draws = np.random.default_rng(2)
    labels = np.arange(count) % 4 - 1 if named else np.full(count, -1)  # every fourth has no name
    purity = np.where(labels < 0, np.nan, 0.5).astype(np.float32)
    entries = draws.normal(size=(count, width)).astype(np.float32)
    return Dictionary(entries, labels.astype(np.int32), purity, np.arange(count), NAMES)


def assigned_of(count: int, entries: int, grid: tuple[int, int], seed: int = 0) -> Assigned:
    draws = np.random.default_rng(seed)
    maps = gaussian_filter(draws.normal(size=(count, *grid)), (0, 1, 1)).reshape(count, -1)
    maps -= maps.min(1, keepdims=True)
    maps = (maps / maps.max(1, keepdims=True)).astype(np.float32)
    distances = draws.uniform(1, 9, count).astype(np.float32)
    return Assigned(draws.integers(0, entries, count), distances, maps)


def data_of(assigned: Assigned) -> dict:
    sets = map_sets(features(), RATS, grid=GRID)
    image, pca = np.zeros((40, 56, 3), np.uint8), np.zeros((35, 3), np.uint8)
    return page_image("x", image, sets, grid=GRID, pca=pca, assigned=assigned)["entries"]


PARTS = """
    const found = partsOf(given.entries, (entry) => given.part[entry]);
    const maps = await unpack(given.entries, given.grid);
    const merged = found.members.map((its) => [...mergeMaps(its.map((place) => maps[place]))]);
    return [found, merged];
"""


@pytest.mark.processes
@needs_node
def test_the_page_merges_the_maps_of_a_name_as_python_does():
    dictionary, assigned = dictionary_of(12), assigned_of(20, 12, GRID)
    expected = named_maps(assigned, dictionary)
    given = {"entries": data_of(assigned), "part": dictionary.labels.tolist(), "grid": GRID}
    found, merged = in_node(PARTS, given, "entries.js")
    assert [NAMES[part] for part in found["kept"]] == [part.key for part in expected]
    assert found["counts"] == [part.count for part in expected]
    np.testing.assert_allclose(found["distances"], [part.distance for part in expected], rtol=1e-3)
    np.testing.assert_allclose(merged, [part.map for part in expected], atol=0.02)


def tf_idf_cosines(counts: np.ndarray, place: int) -> np.ndarray:
    having = (counts > 0).sum(0)
    weights = np.log(len(counts) / np.maximum(having, 1))
    vectors = counts * weights
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors @ vectors[place]


@pytest.mark.processes
@needs_node
def test_similar_images_are_by_the_cosine_of_tf_idf_counts():
    counts = np.random.default_rng(0).poisson(0.4, (9, 12))
    counts[:, 0] = 2  # in all images: of no weight
    counts[4, 1:] = 0  # so this one is like none
    images = [
        {"kept": np.flatnonzero(row).tolist(), "counts": row[row > 0].tolist()} for row in counts
    ]
    program = "return similarities(given.images, given.place);"
    for place in (0, 4):
        found = in_node(program, {"images": images, "place": place}, "entries.js")
        np.testing.assert_allclose(found, tf_idf_cosines(counts, place), atol=1e-6)


@pytest.mark.processes
@needs_node
def test_images_are_ranked_by_how_many_pins_they_have_then_by_distance_or_strength():
    near = [
        {"kept": [5], "distances": [2]},
        {"kept": [1], "distances": [0]},
        {"kept": [7, 5], "distances": [1, 1]},
        {"kept": [7], "distances": [1]},
        {"kept": [], "distances": []},
    ]
    strong = [{"kept": [0, 1], "high": [0.2, 0.9]}, {"kept": [1, 0], "high": [0.3, 0.5]}]
    expected = [
        (near, [5, 7], [2, 3, 0, 1, 4]),
        (near, [5], [2, 0, 1, 3, 4]),
        (strong, [0], [1, 0]),
    ]
    given = [{"sets": sets, "ids": ids} for sets, ids, _ in expected]
    program = "return given.map(({ sets, ids }) => rankedBy(sets, ids));"
    assert in_node(program, given, "entries.js") == [order for _, _, order in expected]


def test_a_hundred_images_of_rats_s_with_a_dictionary_stay_below_15_mb():
    grid, count = (32, 32), 96
    options = type(RATS)(width=8, depth=3, heads=6, registers_per_head=16)
    seen = features(registers=count)
    assigned = assigned_of(count, 4000, grid)
    (maps,) = map_sets(seen, options, grid=GRID)
    rough = np.random.default_rng(1).normal(size=(count, *grid))
    smooth = gaussian_filter(rough, (0, 0.7, 0.7)).reshape(count, -1).astype(np.float32)
    about = {"grid": grid, "pca": np.zeros((1024, 3), np.uint8)}
    image = np.zeros((512, 512, 3), np.uint8)
    sets = [maps._replace(maps=smooth)]
    one = page_image("x", image, sets, assigned=assigned, **about)
    plain = page_image("x", image, sets, **about)
    assert len(set(assigned.entries)) > 90
    for data in (one, plain):
        photograph = 44_000 - len(data["jpeg"])  # base64 of the largest JPEG
        assert 100 * (len(json.dumps(data)) + photograph) < 15e6


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_backbone_can_have_a_dictionary(tmp_path, kind, norm):
    Image.effect_noise((48, 48), 90).convert("RGB").save(tmp_path / "0.png")
    model = backbone(KINDS[kind])
    facts = {"kind": kind_of(model.options), "norm": norm, "regions": 3}
    dictionary = dictionary_of(5, model.options.width, named=False)._replace(**facts)
    images = [("0.png", tmp_path / "0.png")]
    draw(model, images, tmp_path, top_k=2, resolution=48, dictionary=dictionary)
    ((image,),) = (data["images"] for data in pages_of(tmp_path))
    detectors = model.options.registers or 3
    assert 1 <= sum(image["entries"]["counts"]) <= detectors
    assert {file.stem for file in (tmp_path / "entries").iterdir()} == set(
        map(str, image["entries"]["kept"])
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of five drawn images, with a dictionary."""
    folder = tmp_path_factory.mktemp("drawn")
    images = []
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i} &.png")
        images.append((f"{i} &.png", folder / f"{i} &.png"))
    model = backbone({"architecture": "rats", "registers_per_head": 2})
    out = folder / "out"
    out.mkdir()
    draw(
        model,
        images,
        out,
        top_k=4,
        resolution=48,
        dictionary=dictionary_of(12, model.options.width),
    )
    return out


def test_every_entry_that_is_found_has_a_page_with_links_that_lead_to_files(drawn):
    (data,) = pages_of(drawn)
    found = {str(entry) for image in data["images"] for entry in image["entries"]["kept"]}
    assert {file.stem for file in (drawn / "entries").iterdir()} == found
    assert set(data["dictionary"]["entries"]) == found and data["dictionary"]["names"]
    for file in (drawn / "entries.html", *(drawn / "entries").iterdir()):
        html = file.read_text()
        assert "<script" not in html and "<!-- " not in html
        for link in re.findall(r'href="([^"#]*)', html):
            assert (file.parent / link).is_file(), f"{file}: {link}"
    assert sorted(file.name for file in (drawn / "named").iterdir()) == [
        f"{i} &.png".replace(" &", "__") for i in range(5)
    ]


def test_a_page_of_an_entry_has_its_nearest_images_best_first(tmp_path, monkeypatch):
    monkeypatch.setattr(entry_pages, "_MOST_IMAGES", 3)
    pages = EntryPages(tmp_path, dictionary_of(6))
    for i, distance in enumerate([5, 2, 8, 2, 1, 9]):
        assigned = Assigned(np.array([4]), np.float32([distance]), np.ones((1, 35), np.float32))
        image = np.zeros((10, 14, 3), np.uint8)
        pages.add(Seen(image, (10, 14), GRID, None, [], assigned), f"{i}.png", "index.html")
    pages.close()
    html = (tmp_path / "entries" / "4.html").read_text()
    assert re.findall(r"\d\. (\d)\.png", html) == ["4", "1", "3"]
    assert "In 6 of 6 images, the 3 nearest of them" in html
    assert [file.name for file in (tmp_path / "entries").iterdir()] == ["4.html"]


@pytest.mark.processes
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page")
def test_what_the_address_pins_is_shown_in_all_images(drawn, tmp_path):
    (data,) = pages_of(drawn)
    kept = [image["entries"]["kept"] for image in data["images"]]
    entry = kept[2][0]
    having = sum(entry in its for its in kept)
    address = f"file://{drawn}/index.html#pin=entries:{entry}&order=pinned"
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
    ]
    command += ["--virtual-time-budget=5000", "--dump-dom", address]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert f"in {having} of 5 images</output>" in dom
    assert dom.count('<figure class="without"') == 5 - having
    assert dom.count('aria-pressed="true"') <= having
    shown = re.findall(r'<span dir="auto">(\d) &amp;.png</span>', dom)
    distances = [
        image["entries"]["distances"][its.index(entry)] if entry in its else np.inf
        for image, its in zip(data["images"], kept, strict=True)
    ]
    assert shown == [str(i) for i in np.argsort(distances, kind="stable")]


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("dictionary.safetensors", b"no", "is damaged: make it again"),
        ("dictionary.json", b"{}", "is damaged: make it again"),
        ("dictionary.json", None, "has no dictionary.safetensors and dictionary.json"),
    ],
)
def test_a_damaged_dictionary_is_refused(tmp_path, file, content, message):
    save(tmp_path, dictionary_of(3))
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_a_dictionary_without_entries_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="its entries are of registers, and this model has regions"):
        dictionary_of(3).check_fits(VIT)
    save(tmp_path, dictionary_of(0))
    with pytest.raises(UserError, match="is damaged"):
        load(tmp_path)


@pytest.mark.processes
def test_a_dictionary_of_another_width_is_refused_in_one_line(run_folder, tmp_path):
    Image.new("RGB", (48, 48)).save(tmp_path / "0.png")
    save(tmp_path, dictionary_of(5, 7))
    flags = [f"--checkpoint={run_folder}", f"--images={tmp_path}/0.png", f"--dictionary={tmp_path}"]
    failed = visualize(*flags, f"--output={tmp_path / 'out'}")
    assert failed.returncode == 2 and not (tmp_path / "out").exists()
    assert failed.stderr.startswith("error: --dictionary: its entries have 7 values")
    assert failed.stderr.count("\n") == 1
