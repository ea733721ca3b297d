"""python -m rats_jax.visualize: what it writes, of any backbone, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.evals.regions import resize_labels
from rats_jax.pictures.gallery import draw
from rats_jax.pictures.images import find_images
from rats_jax.pictures.maps import map_sets
from tests.pictures.looks import backbone

KINDS = {
    "rats": {"architecture": "rats", "registers_per_head": 2},
    "vit": {"architecture": "vit"},
    "vit with registers": {"architecture": "vit", "plain_registers": 4},
    "perceiver": {"architecture": "perceiver", "latents": 5, "queries": 6},
}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i, size in enumerate([(60, 40), (50, 50)]):
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_any_backbone_can_be_looked_at(images, tmp_path, kind):
    draw(backbone(KINDS[kind]), find_images(str(images)), tmp_path, top_k=None, resolution=48)
    for what in ("regions", "labels", "maps", "attention"):
        assert sorted(file.name for file in (tmp_path / what).iterdir()) == ["0.png", "1.png"]
    labels = Image.open(tmp_path / "labels" / "0.png")
    assert labels.size == (40, 60)  # the image's own
    assert (tmp_path / "index.html").read_text().endswith("</html>\n")


def test_the_labels_are_the_regions_at_the_image_s_own_size(images, tmp_path, monkeypatch):
    seen = []

    def keep(*args, **kwargs):
        seen.append(map_sets(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr("rats_jax.pictures.gallery.map_sets", keep)
    draw(backbone(KINDS["rats"]), find_images(str(images)), tmp_path, top_k=4, resolution=96)
    for i, (maps,) in enumerate(seen):
        labels = np.asarray(Image.open(tmp_path / "labels" / f"{i}.png"))
        np.testing.assert_array_equal(labels, resize_labels(maps.regions(4), labels.shape))
        assert labels.max() > 0


@pytest.mark.parametrize(
    "kind, message",
    [
        ("rats", "--top_k=9: the model has 6 registers; choose 1 to 6"),
        ("vit", "--top_k=9: the model has 3 heads; choose 1 to 3"),
    ],
)
def test_more_regions_than_the_model_has_are_refused(images, tmp_path, kind, message):
    with pytest.raises(UserError, match=message):
        draw(backbone(KINDS[kind]), find_images(str(images)), tmp_path, top_k=9, resolution=48)


def test_the_command_ends_with_where_the_results_are(run_folder, images, tmp_path):
    command = [sys.executable, "-m", "rats_jax.visualize", f"--checkpoint={run_folder}"]
    command += [f"--images={images}", "--resolution=32"]
    output = tmp_path / "out"
    done = subprocess.run(
        [*command, f"--output={output}"], capture_output=True, text=True, check=True
    )
    assert "image 2 of 2: 1.png, 4 x 4 patches" in done.stdout
    assert f"results: {output} (attention, index.html, labels, maps, regions)" in done.stdout
    (images / "0.png").write_text("no image")
    failed = subprocess.run(
        [*command, f"--output={tmp_path / 'other'}"], capture_output=True, text=True
    )
    assert failed.returncode == 2 and not (tmp_path / "other").exists()
    assert failed.stderr.startswith(f"error: {images / '0.png'} cannot be shown (not an image")
    assert failed.stderr.count("\n") == 1
