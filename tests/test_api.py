"""The package from Python, as its docstring shows it."""

import pydoc
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import rats_jax
from rats_jax.backbones import Backbone
from rats_jax.errors import UserError
from rats_jax.parts.dictionary.saved import Dictionary, save
from rats_jax.parts.region_metrics import score
from rats_jax.procedural_parts import ProceduralParts


@pytest.fixture(scope="module")
def backbone(run_folder) -> Backbone:
    return rats_jax.open_backbone(run_folder)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    drawings = ProceduralParts(size=64, length=3, seed=5)
    return [drawings[i][0] for i in range(3)]


def test_features_are_those_of_the_backbone(backbone, images):
    found = rats_jax.compute_features(backbone, images, resolution=64)
    expected = backbone.looking()(np.stack(images))
    count = backbone.options.registers
    assert found.registers.shape == (3, count, backbone.options.width)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert isinstance(one, np.ndarray)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_an_image_may_be_a_file_a_pillow_image_or_an_array_of_any_size(backbone, images, tmp_path):
    pixels = np.asarray(Image.fromarray(images[0]).resize((90, 50)))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    kinds = [pixels, Image.fromarray(pixels), tmp_path / "a.png", str(tmp_path / "a.png")]
    found = rats_jax.compute_features(backbone, kinds, resolution=64).global_vector
    assert np.ptp(found, axis=0).max() < 1e-5


def test_more_images_than_a_batch_keep_their_order(backbone, images):
    many = [images[i % 3] for i in range(20)]
    found = rats_jax.compute_features(backbone, many, resolution=64).global_vector
    alone = rats_jax.compute_features(backbone, images, resolution=64).global_vector
    np.testing.assert_allclose(found, alone[np.arange(20) % 3], rtol=1e-4, atol=1e-5)


def test_regions_are_of_the_size_of_the_image(backbone, images):
    image = np.asarray(Image.fromarray(images[0]).resize((90, 50)))
    regions = rats_jax.find_regions(backbone, image, k=4, resolution=64)
    assert set(regions) == {"registers", "centered registers", "k-means"}
    for labels in regions.values():
        assert labels.shape == (50, 90) and labels.min() >= 0 and labels.max() < 4
        assert len(np.unique(labels)) > 1


def test_scores_are_those_of_the_regions(backbone):
    results = rats_jax.score_parts(backbone, "procedural_parts:3@5", top_k=[4], resolution=64)
    by_way = {result.row.way: result.scores.mean for result in results}
    assert {"model: registers", "model: k-means", "grid", "SLIC"} <= by_way.keys()
    drawings = ProceduralParts(size=128, length=3, seed=5)
    expected = []
    for i in range(3):
        image, mask, _ = drawings.sample(i)
        labels = rats_jax.find_regions(backbone, image, k=4, resolution=64)["registers"]
        expected.append(score(labels, mask).ari)
    assert by_way["model: registers"].ari == pytest.approx(np.mean(expected), abs=1e-6)


def test_a_recipe_is_loaded_by_name_or_path(tmp_path):
    config = rats_jax.load_recipe("demo")
    assert config.optimizer.batch_size > 0
    path = tmp_path / "mine.py"
    path.write_text(
        "from rats_jax.config import default_config\n"
        "def get_config():\n    config = default_config()\n    config.seed = 7\n    return config\n"
    )
    assert rats_jax.load_recipe(path).seed == 7
    with pytest.raises(UserError, match="nothing does not exist .*demo"):
        rats_jax.load_recipe("nothing")
    path.write_text("def get_config(:")
    with pytest.raises(UserError, match="mine.py cannot be loaded: it is not Python .line 1"):
        rats_jax.load_recipe(path)


def test_one_image_and_one_number_of_regions_need_no_list(backbone, images):
    expected = rats_jax.compute_features(backbone, images[:1]).patches
    for one in (images[0], Image.fromarray(images[0]), np.stack(images[:1]), iter(images[:1])):
        np.testing.assert_array_equal(rats_jax.compute_features(backbone, one).patches, expected)
    one, many = (rats_jax.score_parts(backbone, "procedural_parts:2", top_k=k) for k in (4, [4]))
    assert one == many


def test_images_are_seen_as_in_training_by_default(backbone, images):
    patches = backbone.options.patches(backbone.options.trained_size)
    assert rats_jax.compute_features(backbone, images).patches.shape[1] == patches


def test_parts_are_named_by_a_dictionary(backbone, images, tmp_path):
    registers = rats_jax.compute_features(backbone, images[0], resolution=64).registers[0]
    labels = (np.arange(len(registers)) == 2).astype(np.int32)
    purity, counts = np.ones(len(labels), np.float32), np.ones(len(labels), np.int64)
    save(tmp_path, Dictionary(registers, labels, purity, counts, {0: "leg", 1: "head"}))
    image = Image.fromarray(images[0]).resize((90, 50))
    found = rats_jax.name_parts(backbone, images[0], tmp_path, resolution=64)
    assert list(found) == ["leg", "head"]  # one register is the head
    assert all(
        heat.shape == (64, 64) and 0 <= heat.min() <= heat.max() <= 1 for heat in found.values()
    )
    assert rats_jax.name_parts(backbone, image, tmp_path)["leg"].shape == (50, 90)
    with pytest.raises(UserError, match="nowhere has no dictionary.safetensors"):
        rats_jax.name_parts(backbone, image, tmp_path / "nowhere")


def test_mistakes_are_one_line(backbone, images, tmp_path):
    for call, message in (
        (lambda: rats_jax.compute_features(backbone, images, resolution=63), "multiple of the"),
        (lambda: rats_jax.compute_features(backbone, []), "no images: give at least one"),
        (lambda: rats_jax.compute_features(backbone, [images[0] / 2]), "give uint8"),
        (lambda: rats_jax.compute_features(backbone, [tmp_path / "no.png"]), "cannot be read"),
        (lambda: rats_jax.find_regions(backbone, images[0], k=0), "k=0: choose 1 to"),
        (lambda: rats_jax.score_parts(backbone, "procedural_parts:3", top_k=[]), "choose numbers"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_help_lists_what_there_is():
    text = pydoc.plain(pydoc.render_doc(rats_jax))
    assert all(f"{name}(" in text for name in rats_jax.__all__)
    assert set(rats_jax.__all__) <= set(dir(rats_jax))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rats_jax.nothing  # noqa: B018


@pytest.mark.processes
def test_the_package_alone_loads_no_jax():
    code = "import sys, rats_jax; print('jax' in sys.modules, rats_jax.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", rats_jax.__version__], done.stderr


def test_fine_tuning_takes_its_own_recipes_only():
    with pytest.raises(UserError, match="^this config is a config of rats train, not of rats fin"):
        rats_jax.run_finetuning(rats_jax.load_recipe("demo"), "unused")
