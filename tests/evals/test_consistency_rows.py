"""Rows of --task=consistency for a dictionary and for label maps of other programs: scikit-learn's
agreement of ids that are computed here in another way."""

import json
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.evals.consistency_evaluation import _check_parts, evaluate_consistency
from rats_jax.evals.dictionary_ids import ENTRIES, NAMES, dictionary_looking
from rats_jax.parts.datasets import open_dataset
from rats_jax.parts.dictionary.detectors import detect, layers_needed
from rats_jax.parts.dictionary.saved import Dictionary, save
from rats_jax.parts.saved_regions import open_saved_regions
from rats_jax.procedural_parts import BACKGROUND, ProceduralParts
from tests.runs.untrained import make_run

SIDE = 32


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    source = ProceduralParts(size=SIDE, length=24, seed=5)
    for i in range(24):
        drawn = source.sample(i)
        for name, pixels in (("images", drawn.image), ("masks", drawn.parts)):
            file = folder / name / f"{i % 3}" / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(pixels, np.uint8)).save(file)
    return folder


@pytest.fixture(scope="module")
def samples(drawings):
    dataset = open_dataset(f"folder:{drawings}")
    return [dataset.sample(i) for i in range(len(dataset))]


@pytest.fixture(scope="module")
def maps(samples, tmp_path_factory):
    """Label maps that know part of the masks, with ids that few images have."""
    folder, rng = tmp_path_factory.mktemp("maps"), np.random.default_rng(0)
    for sample in samples:
        known = rng.random(sample.mask.shape) < 0.6
        ids = np.where(known, sample.mask + 1000, rng.integers(500, 504, sample.mask.shape))
        (folder / sample.name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids.astype(np.uint16)).save((folder / sample.name).with_suffix(".png"))
    return folder


def made_dictionary(model, samples, *, unit: bool, norm: str = "post") -> Dictionary:
    """Some registers of the first image as entries, and names at random."""
    rng = np.random.default_rng(3)
    registers, _ = tokens(model, samples[0].image, norm)
    entries = (registers[:5] + 0.1 * rng.normal(size=registers[:5].shape)).astype(np.float32)
    labels = np.array([4, -1, 4, 7, 2], np.int32)
    return Dictionary(entries, labels, np.ones(5), np.ones(5, int), norm=norm, unit=unit)


def tokens(model, image, norm) -> tuple[np.ndarray, np.ndarray]:
    """Registers and patches of an image."""
    last = model.options.depth - 1
    features = model.looking(layers_of=(last,))(image[None])
    features = features if norm == "post" else features.layers[last].raw
    return np.asarray(features.registers[0]), np.asarray(features.patches[0])


def by_hand(model, image, dictionary) -> np.ndarray:
    """The entry of each patch, [h, w]."""
    registers, patches = tokens(model, image, dictionary.norm)
    lengths = [np.linalg.norm(x, axis=-1, keepdims=True) for x in (registers, patches)]
    most_alike = ((patches / lengths[1]) @ (registers / lengths[0]).T).argmax(1)
    vectors = registers / lengths[0] if dictionary.unit else registers
    apart = ((vectors[:, None] - dictionary.entries) ** 2).sum(-1)
    side = SIDE // model.options.patch
    return apart.argmin(1)[most_alike].reshape(side, side)


def agreement(samples, ids, background=None) -> tuple[float, float]:
    """NMI and ARI over the pixels of all samples, by scikit-learn."""
    parts = np.concatenate([sample.mask.ravel() for sample in samples])
    ids = np.concatenate([of.ravel() for of in ids])
    kept = parts != background
    pair = parts[kept], ids[kept]
    return normalized_mutual_info_score(*pair), adjusted_rand_score(*pair)


def evaluated(models, drawings, **options):
    common = {"entries": 4, "resolution": SIDE, "background": BACKGROUND, "skip_broken": False}
    return evaluate_consistency(models, open_dataset(f"folder:{drawings}"), **common, **options)


@pytest.mark.parametrize(("unit", "norm"), [(False, "post"), (True, "pre")])
def test_rows_of_a_dictionary_are_scikit_learns(run_folder, drawings, samples, unit, norm):
    model = open_backbone(run_folder)
    dictionary = made_dictionary(model, samples, unit=unit, norm=norm)
    found = evaluated({"model": model}, drawings, dictionary=dictionary)
    patch = model.options.patch
    entries = [
        by_hand(model, sample.image, dictionary).repeat(patch, 0).repeat(patch, 1)
        for sample in samples[1::2]
    ]
    names = [dictionary.labels[ids] for ids in entries]
    for row, ids in (("model: dictionary entries", entries), ("model: dictionary names", names)):
        for background in (None, BACKGROUND):
            scores = found.rows[row].all if background is None else found.rows[row].parts
            expected = agreement(samples[1::2], ids, background)
            np.testing.assert_allclose(scores.mean[:2], expected, atol=1e-10)
        assert found.ids[row] == len(np.unique(ids)) > 1
        for null in ("model: image entries", "colour entries", "grid cells"):
            difference = found.differences[f"{row} - {null}"].all.mean.nmi
            assert difference == pytest.approx(
                found.rows[row].all.mean.nmi - found.rows[null].all.mean.nmi
            )


def test_label_maps_keep_their_ids_in_all_images(drawings, samples, maps):
    saved = open_saved_regions([f"other={maps}"], [s.name for s in samples], skip_broken=False)
    found = evaluated({}, drawings, saved=saved)
    ids = [
        np.asarray(Image.open((maps / sample.name).with_suffix(".png"))) for sample in samples[1::2]
    ]
    row = found.rows["other"]
    np.testing.assert_allclose(row.all.mean[:2], agreement(samples[1::2], ids), atol=1e-10)
    expected = agreement(samples[1::2], ids, BACKGROUND)
    np.testing.assert_allclose(row.parts.mean[:2], expected, atol=1e-10)
    assert found.rows.keys() == {"other", "colour entries", "grid cells"}
    assert found.ids["other"] == len(np.unique(ids)) and found.ids["grid cells"] == 4
    assert found.differences["other - grid cells"].parts.low.nmi > 0.2


def test_weights_that_are_not_finite_are_one_line(run_folder, drawings):
    model = open_backbone(run_folder)
    broken = model._replace(params=jax.tree.map(lambda x: x * jnp.nan, model.params))
    with pytest.raises(UserError, match="the features of model are not finite: the weights are"):
        evaluated({"model": broken}, drawings)


@pytest.mark.parametrize(
    ("parts", "background", "message"),
    [
        ([3], None, "are scored have only part 3: consistency needs two parts or more"),
        ([3], 0, "are scored have only part 3 besides the background 0: consistency needs two"),
        ([], 0, "are scored have no part besides the background 0"),
        ([3, 4], 9, "--background=9 is not an id of these masks, which have 0, 3, 4"),
    ],
)
def test_fewer_than_two_parts_are_refused(parts, background, message):
    found = {0, *parts} if background is not None else {*parts}
    with pytest.raises(UserError, match=message):
        _check_parts(found, background, of="data")
    _check_parts({3, 4}, None, of="data")
    _check_parts({0, 3, 4}, 0, of="data")


@pytest.mark.parametrize("registers", [0, 3])
def test_a_vit_takes_what_looks_most_at_the_patch(tmp_path, samples, registers):
    """Of its plain registers, or of the clusters of patches if it has none."""
    fields = {"model__architecture": "vit", "model__plain_registers": registers}
    model = open_backbone(make_run(tmp_path, **fields))
    options, rng = model.options, np.random.default_rng(0)
    side = SIDE // options.patch
    entries = rng.normal(size=(6, options.width)).astype(np.float32)
    dictionary = Dictionary(entries, np.arange(6), np.ones(6), np.ones(6), regions=3)
    image = samples[0].image[None]
    needed = layers_needed(options, norm="post")
    features = model.looking(**needed)(image)
    found = detect(features, options, grid=(side, side), regions=3)
    vectors, maps = (np.asarray(x[0]) for x in found)
    entry = ((vectors[:, None] - entries) ** 2).sum(-1).argmin(1)
    ids = dictionary_looking(model, dictionary, side=SIDE)(image)
    found = ids[f"model: {ENTRIES}"]
    np.testing.assert_array_equal(found[0].ravel(), entry[maps.argmax(0)])
    np.testing.assert_array_equal(ids[f"model: {NAMES}"], dictionary.labels[found])


def command(drawings, output, *more) -> subprocess.CompletedProcess:
    given = [f"--dataset=folder:{drawings}", f"--output={output}", "--task=consistency"]
    return subprocess.run(
        [sys.executable, "-m", "rats_jax.evaluate", *given, "--resolution=32", *more],
        capture_output=True,
        text=True,
    )


@pytest.mark.processes
def test_the_command_takes_both(run_folder, drawings, samples, maps, tmp_path):
    model = open_backbone(run_folder)
    (tmp_path / "dictionary").mkdir()
    save(tmp_path / "dictionary", made_dictionary(model, samples, unit=False))
    more = [f"--checkpoint={run_folder}", "--entries=4", f"--background={BACKGROUND}"]
    more += [f"--dictionary={tmp_path}/dictionary", f"--regions=other={maps}"]
    done = command(drawings, tmp_path / "out", *more)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = {"other", "model: dictionary entries", "model: dictionary names", "grid cells"}
    assert rows <= results["scores"].keys() == results["ids"].keys()
    assert "| ids | number of ids | NMI, parts |" in done.stdout
    assert "| other - colour entries |" in done.stdout


@pytest.mark.processes
@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        (True, ["--dictionary={tmp}/no"], "no has no dictionary.safetensors and dictionary.json"),
        (True, ["--dictionary={tmp}/other"], "--dictionary: its entries have 5 values, and the"),
        (False, ["--regions={maps}", "--dictionary=x"], "--dictionary needs a model: give one"),
        (False, ["--regions={maps}", "--untrained"], "--untrained needs a model: give one"),
        (False, ["--regions={maps}", "--resolution=40"], "not a multiple of the patch size .16."),
        (False, ["--regions=grid cells={maps}"], "grid cells is reserved for other rows"),
        (False, [], "--checkpoint is missing"),
    ],
)
def test_a_mistake_is_one_line(run_folder, drawings, maps, tmp_path, model, more, message):
    (tmp_path / "other").mkdir()
    entries = np.ones((2, 5), np.float32)
    save(tmp_path / "other", Dictionary(entries, np.zeros(2, int), np.ones(2), np.ones(2)))
    more = [text.format(tmp=tmp_path, maps=maps) for text in more]
    more += [f"--checkpoint={run_folder}"] if model else []
    done = command(drawings, tmp_path / "out", *more)
    assert done.returncode == 2 and re.search(message, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()
