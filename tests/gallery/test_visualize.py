"""python -m rats_jax.visualize: what it writes, of any backbone, and what it refuses."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.gallery import html, image_files, looking
from rats_jax.gallery.finding import find_images
from rats_jax.gallery.gallery import draw
from rats_jax.gallery.maps import map_sets
from rats_jax.parts.region_counts import number_of_maps
from rats_jax.parts.regions import resize_labels
from rats_jax.pictures.sheets import HEAT
from tests.gallery.looks import backbone

KINDS = {
    "rats": {"architecture": "rats", "registers_per_head": 2},
    "vit": {"architecture": "vit"},
    "vit with registers": {"architecture": "vit", "plain_registers": 4},
    "perceiver": {"architecture": "perceiver", "latents": 5, "queries": 6},
}
KINDS_OF_PICTURES = ("regions", "labels", "maps", "attention")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i, size in enumerate([(60, 40), (50, 50)]):
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def rats():
    return backbone(KINDS["rats"])


@pytest.fixture
def five(tmp_path):
    """Images 0.png to 4.png of one shape."""
    folder = tmp_path / "five"
    folder.mkdir()
    for i in range(5):
        Image.new("RGB", (48, 48), (50 * i, 90, 0)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def drawn_of(model, folder, out, **options):
    options = {"top_k": number_of_maps(None, model.options, named=""), "resolution": 48} | options
    return draw(model, find_images([str(folder)]), out, **options)


def pages_of(out) -> list[dict]:
    """The data of each page, in order."""
    files = sorted(out.glob("index*.html"), key=lambda file: (len(file.name), file.name))
    texts = [file.read_text("utf-8") for file in files]
    return [json.loads(t.split('id="data">')[1].split("</script>")[0]) for t in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_any_backbone_can_be_looked_at(images, out, kind):
    drawn_of(backbone(KINDS[kind]), images, out)
    for what in KINDS_OF_PICTURES:
        assert sorted(file.name for file in (out / what).iterdir()) == ["0.png", "1.png"]
    labels = Image.open(out / "labels" / "0.png")
    assert labels.size == (40, 60)  # the image's own
    assert (out / "index.html").read_text().endswith("</html>\n")


def test_the_labels_are_the_regions_at_the_image_s_own_size(rats, images, out, monkeypatch):
    seen = []

    def keep(*args, **kwargs):
        seen.append(map_sets(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr("rats_jax.gallery.looking.map_sets", keep)
    drawn_of(rats, images, out, top_k=4, resolution=96)
    for i, (maps,) in enumerate(seen):
        labels = np.asarray(Image.open(out / "labels" / f"{i}.png"))
        np.testing.assert_array_equal(labels, resize_labels(maps.regions(4), labels.shape))
        assert labels.max() > 0


@pytest.mark.parametrize(
    "kind, what", [("vit", "attention"), ("vit", "maps"), ("rats", "attention")]
)
def test_attention_that_is_uniform_looks_uniform(images, out, kind, what):
    model = backbone(KINDS[kind])

    def drawn_with(factor: float) -> np.ndarray:
        """The sheet, where queries and keys are so many times as large."""

        def scaled(path, x):
            name = "/".join(str(key.key) for key in path)
            return x * factor if "q" in name and "attn" in name else x

        params = jax.tree_util.tree_map_with_path(scaled, model.params)
        drawn_of(model._replace(params=params), images, out)
        return np.asarray(Image.open(out / what / "0.png"))

    def share_of_middle(sheet: np.ndarray) -> float:
        return (np.abs(sheet.astype(int) - HEAT[len(HEAT) // 2]).max(-1) <= 6).mean()

    uniform, even, sharp = (share_of_middle(drawn_with(factor)) for factor in (0, 0.1, 30))
    assert uniform > 3 * sharp and even > 0.95 * uniform


def check_complete(out, expected: list[str]) -> None:
    """All pictures of these images, and a page with them."""
    for what in KINDS_OF_PICTURES:
        assert sorted(file.name for file in (out / what).iterdir()) == expected
    assert [image["name"] for image in pages_of(out)[0]["images"]] == expected


def stop_at(monkeypatch, error: BaseException, *, image: str):
    """Something goes wrong while an image is drawn, when the second of its files is written."""
    original = image_files.save_png

    def stopping(picture, path):
        if path.name == image and path.parent.name == "maps":
            raise error
        return original(picture, path)

    monkeypatch.setattr(image_files, "save_png", stopping)


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(143),
        RuntimeError("RESOURCE_EXHAUSTED"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_what_was_drawn_before_the_end_is_kept(rats, five, out, monkeypatch, error):
    stop_at(monkeypatch, error, image="3.png")
    found = drawn_of(rats, five, out)
    assert found.images == 3
    if isinstance(error, OSError):
        assert isinstance(found.ended, UserError) and "No space left" in str(found.ended)
    else:
        assert found.ended is error
    check_complete(out, ["0.png", "1.png", "2.png"])  # and nothing of 3.png
    assert "3 of 5 images are drawn; drawing ended early" in pages_of(out)[0]["note"]


def test_pictures_are_kept_where_the_disk_is_too_full_for_a_page(
    rats, five, out, monkeypatch, capsys
):
    original = Path.write_text

    def full(self, text, *args, **options):
        original(self, text[:100], *args, **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    stop_at(monkeypatch, OSError(errno.ENOSPC, "No space left on device"), image="3.png")
    monkeypatch.setattr(Path, "write_text", full)
    found = drawn_of(rats, five, out)
    assert found.images == 3 and "No space left" in str(found.ended)
    assert sorted(path.name for path in out.iterdir()) == sorted(KINDS_OF_PICTURES)
    said = capsys.readouterr().out
    assert "a page could not be written (No space left on device): the PNG files are compl" in said


def test_an_end_before_the_first_image_keeps_nothing(rats, five, out, monkeypatch):
    stop_at(monkeypatch, KeyboardInterrupt(), image="0.png")
    with pytest.raises(KeyboardInterrupt):
        drawn_of(rats, five, out)


def test_a_second_ctrl_c_while_pages_are_written_loses_nothing(rats, five, out, monkeypatch):
    original = html.page

    def interrupted(**about):
        os.kill(os.getpid(), 2)
        return original(**about)

    stop_at(monkeypatch, KeyboardInterrupt(), image="3.png")
    monkeypatch.setattr(html, "page", interrupted)
    assert drawn_of(rats, five, out).images == 3
    check_complete(out, ["0.png", "1.png", "2.png"])


def test_a_broken_image_is_left_out_if_asked_for(rats, five, out, capsys):
    for broken, content in (("1.png", b""), ("3.png", b"no image")):
        (five / broken).write_bytes(content)
    found = drawn_of(rats, five, out, skip_broken=True)
    check_complete(out, ["0.png", "2.png", "4.png"])
    assert found.images == 3 and found.ended is None
    assert (out / "left_out.txt").read_text().splitlines() == found.left_out
    assert [line.partition(" cannot")[0] for line in found.left_out] == [
        str(five / "1.png"),
        str(five / "3.png"),
    ]
    assert capsys.readouterr().out.count("warning: skipped") == 2
    assert pages_of(out)[0]["note"] == "3 of 5 images are drawn; 2 cannot be read"


def test_a_broken_image_is_named_before_anything_is_drawn(rats, five, out):
    (five / "3.png").write_bytes(b"")
    with pytest.raises(UserError, match="3.png cannot be shown .*--skip_broken"):
        drawn_of(rats, five, out)
    assert not list(out.iterdir())


def test_a_broken_image_among_many_loses_nothing_that_was_drawn(rats, five, out, monkeypatch):
    monkeypatch.setattr(looking, "FITTED", 2)  # the first and the last are looked at beforehand
    (five / "3.png").write_bytes(b"")
    found = drawn_of(rats, five, out)
    assert "3.png cannot be shown" in str(found.ended)
    check_complete(out, ["0.png", "1.png", "2.png"])


@pytest.mark.parametrize(
    "skip_broken, message", [(True, "none of 5 images can be read"), (False, "")]
)
def test_images_that_are_all_broken_are_refused(rats, five, out, skip_broken, message):
    for file in five.iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match=f"{message}.*0.png cannot be shown"):
        drawn_of(rats, five, out, skip_broken=skip_broken)


def test_any_readable_image_is_enough_for_the_principal_components(rats, five, out, monkeypatch):
    monkeypatch.setattr(looking, "FITTED", 2)
    for broken in ("0.png", "1.png", "4.png"):
        (five / broken).write_bytes(b"")
    drawn_of(rats, five, out, skip_broken=True)
    check_complete(out, ["2.png", "3.png"])


def test_many_images_are_on_several_pages(rats, five, out, monkeypatch):
    monkeypatch.setattr(html, "MOST", 2 * len(json.dumps(one_image(rats, five, out))) + 100)
    drawn_of(rats, five, out)
    pages = pages_of(out)
    assert [[image["name"] for image in one["images"]] for one in pages] == [
        ["0.png", "1.png"],
        ["2.png", "3.png"],
        ["4.png"],
    ]
    assert [tuple(one["neighbours"].values()) for one in pages] == [
        (None, "index_2.html"),
        ("index.html", "index_3.html"),
        ("index_2.html", None),
    ]


def one_image(model, folder, out) -> dict:
    drawn_of(model, f"{folder}/0.png", out)
    return pages_of(out)[0]["images"][0]


def test_images_are_not_kept_in_memory(rats, five, out, monkeypatch):
    """Of those that are looked at beforehand two are, and of the others one at a time."""
    monkeypatch.setattr(looking, "FITTED", 2)
    alive, most = [0], [0]

    class Counted(looking.Seen):
        def __new__(cls, *args):
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            return super().__new__(cls, *args)

        def __del__(self):
            alive[0] -= 1

    monkeypatch.setattr(looking, "Seen", Counted)
    drawn_of(rats, five, out)
    assert most[0] <= 3


def test_too_little_memory_is_one_line_with_the_flag_to_change(rats, five, out, monkeypatch):
    def failing(self, *args):
        def look(images):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")

        return look

    monkeypatch.setattr(type(rats), "looking", failing)
    with pytest.raises(UserError, match="0.png needs more memory at --resolution=48.* smaller"):
        drawn_of(rats, five, out)


AWKWARD = [
    "caf\udce9.png",
    "new\nline.png",
    "<b>'\"&%#.png",
    "x" * 251 + ".png",
    "中" * 83 + ".png",
]


def test_images_of_any_name_are_drawn(rats, out, tmp_path):
    folder = tmp_path / "awkward"
    folder.mkdir()
    for name in [*AWKWARD, "Case.png", "case.png", "שלום.png"]:
        Image.new("RGB", (48, 48)).save(folder / name)
    drawn_of(rats, folder, out)
    assert len(list((out / "regions").iterdir())) == 8
    names = [image["name"] for image in pages_of(out)[0]["images"]]
    assert {"caf\\udce9.png", "new\\nline.png", "<b>'\"&%#.png", "שלום.png"} <= set(names)


def visualize(*flags: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "rats_jax.visualize", *flags]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env=os.environ | environment,
    )


@pytest.mark.processes
def test_the_command_ends_with_where_the_results_are(run_folder, images, tmp_path):
    flags = [f"--checkpoint={run_folder}", "--images=~/in/*.png,~/in", "--skip-broken"]
    (images / "2.png").write_text("no image")
    flags += ["--resolution=1000", "--limit=3"]
    done = visualize(*flags, "--output=~/o\udce9t", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o\udce9t" / "index.html").exists()
    assert "warning: --resolution=1000 is" in done.stdout
    assert "pixels that the model was trained at" in done.stdout
    assert "image 2 of 3: 1.png, " in done.stdout
    shown = "(attention, index.html, labels, left_out.txt, maps, regions)"
    assert f"results: {tmp_path}/o\\udce9t {shown}" in done.stdout

    failed = visualize(*flags[:2], f"--output={tmp_path / 'other'}", HOME=str(tmp_path))
    assert failed.returncode == 2 and not (tmp_path / "other").exists()
    assert failed.stderr.startswith(f"error: {images / '2.png'} cannot be shown (not an image")
    assert failed.stderr.count("\n") == 1
