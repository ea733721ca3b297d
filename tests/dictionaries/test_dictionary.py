"""python -m rats_jax.dictionary: what it writes for any backbone, and what it refuses."""

import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from rats_jax.dictionaries import run, store
from rats_jax.dictionaries.images import check_splits, open_images
from rats_jax.dictionaries.sources import Detecting, Settings
from rats_jax.errors import UserError
from rats_jax.parts.dictionary.assignments import read, scores_of
from rats_jax.parts.dictionary.saved import load
from tests.gallery.looks import backbone
from tests.parts.datasets.test_keypoints import written

KINDS = {
    "rats": {"architecture": "rats", "registers_per_head": 2},
    "vit": {"architecture": "vit"},
    "vit with registers": {"architecture": "vit", "plain_registers": 4},
    "perceiver": {"architecture": "perceiver", "latents": 5, "queries": 6},
}
SIDE, ENTRIES = 64, 5
ABOUT = {"resolution": SIDE, "norm": "post", "regions_per_image": 4, "limit": None}


@pytest.fixture(scope="module")
def rats():
    return backbone(KINDS["rats"])


def splits(train="procedural_parts:20@1", scored="procedural_parts:18@2"):
    return open_images("--train", train, None), open_images("--dataset", scored, None)


def made(model, target, *, images=None, norm="post", twin=None, **options):
    side = SIDE // model.options.patch
    settings = Settings(SIDE, (side, side), norm, 4)
    models = {"model": model} | ({"untrained": twin} if twin else {})
    return run.make(
        models,
        *(images or splits()),
        target,
        settings=settings,
        about=ABOUT,
        **{"entries": ENTRIES} | options,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_backbone_has_all_rows_and_files_that_give_its_scores(kind, tmp_path):
    model = backbone(KINDS[kind])
    found = made(model, tmp_path / "out", norm="pre" if kind == "rats" else "post")
    what = "regions" if kind == "vit" else "registers"
    own = f"model: {what}"
    assert [*found.rows] == [own, "model: patches", "colours", "model: global vector", "random"]
    results = json.loads((tmp_path / "out/results.json").read_text())
    assignments = read(tmp_path / "out/assignments.npz")
    recomputed = scores_of(assignments)
    assert results["rows"][own]["scores"]["mean"] == pytest.approx(recomputed.mean._asdict())
    assert results["rows"][own]["scores"]["low"] == pytest.approx(recomputed.low._asdict())
    others = {file.stem for file in (tmp_path / "out/assignments").iterdir()}
    assert others == {"model_patches", "colours", "random"}
    pictures = {file.name for file in (tmp_path / "out").glob("*.png")}
    assert pictures == {"names.png", "purity.png", "gallery.png", "transfer.png"}
    dictionary = load(tmp_path / "out")
    assert dictionary.kind == what and dictionary.entries.shape == (ENTRIES, model.options.width)
    training = assignments.entry[assignments.split == 0]
    np.testing.assert_array_equal(
        dictionary.counts, np.bincount(training[training >= 0], minlength=ENTRIES)
    )
    assert any(dictionary.name(entry) for entry in range(ENTRIES))
    assert {row["scores"]["mean"]["map"] is None for row in results["rows"].values()} == {False}


def test_the_untrained_twin_has_rows_and_differences(rats, tmp_path):
    made(rats, tmp_path / "out", twin=rats)
    results = json.loads((tmp_path / "out/results.json").read_text())
    same = results["differences"]["model: registers - untrained: registers"]
    assert same["mean"]["purity"] == same["low"]["purity"] == 0
    assert (
        results["rows"]["untrained: patches"]["scores"]
        == (results["rows"]["model: patches"]["scores"])
    )


def test_a_killed_extraction_resumes_with_the_same_results(rats, tmp_path, monkeypatch):
    whole = made(rats, tmp_path / "whole")
    monkeypatch.setattr(store, "_SHARD_BYTES", 6000)  # some sources have more shards than others
    detect, calls = Detecting.detect, []

    def killed(self, *args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return detect(self, *args)

    monkeypatch.setattr(Detecting, "detect", killed)
    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        made(rats, tmp_path / "out", cache=cache)
    assert not (tmp_path / "out").exists() and any(cache.rglob("*.bin"))
    again = made(rats, tmp_path / "out", cache=cache)
    assert len(calls) < 6  # 4 batches, and the one that was killed
    for name, row in whole.rows.items():
        np.testing.assert_array_equal(row.scores.draws, again.rows[name].scores.draws)
    with pytest.raises(UserError, match="has other vectors"):
        made(rats._replace(origin="another"), tmp_path / "third", cache=cache)


def test_vectors_that_do_not_fit_on_the_disk_are_refused_unless_they_are_there(
    rats, tmp_path, monkeypatch
):
    made(rats, tmp_path / "out", cache=tmp_path / "cache")
    usage = namedtuple("usage", "free")(1000)
    monkeypatch.setattr("rats_jax.dictionaries.extraction.shutil.disk_usage", lambda _: usage)
    made(rats, tmp_path / "again", cache=tmp_path / "cache")
    with pytest.raises(UserError, match="has 0.0 GB free: give another disk with --cache"):
        made(rats, tmp_path / "third")


def test_broken_images_are_left_out_of_both_splits(rats, tmp_path):
    images = []
    for split in ("train", "scored"):
        for i, drawing in enumerate(map(splits()[0].dataset.sample, range(17))):
            for name, pixels in (("images", drawing.image), ("masks", drawing.mask)):
                file = tmp_path / split / name / f"{i:02}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(file)
        (tmp_path / split / "images/03.png").write_bytes(b"no image")
        images.append(open_images(f"--{split}", f"folder:{tmp_path / split}", 40))
    with pytest.raises(UserError, match=r"03.png .*\(or skip it with --skip_broken\)"):
        made(rats, tmp_path / "out", images=images)
    found = made(rats, tmp_path / "out", images=images, skip_broken=True)
    assert len(found.skipped) == 2
    left = [f"{i:02}.png" for i in range(17) if i != 3]
    assert [Path(name).name for name in found.scored.names] == left
    assert found.rows["model: registers"].assignments.splits.tolist() == [0] * 16 + [1] * 16


@pytest.fixture
def folder(tmp_path):
    """Two classes of images without masks."""
    for i in range(12):  # and one without a class
        pixels = np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        file = tmp_path / f"images/{'ab'[i % 2] if i else ''}/{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return tmp_path / "images"


def test_without_masks_entries_have_no_names_and_no_purity(rats, tmp_path, folder):
    images = splits(f"image_folder:{folder}", "procedural_parts:10@2")
    found = made(rats, tmp_path / "out", images=images)
    assert found.rows["model: registers"].facts["vectors"] == 12 * 6  # all of them
    assert (found.dictionary.labels == -1).all() and np.isnan(found.dictionary.purity).all()
    table = (tmp_path / "out/table.md").read_text()
    assert "valPw" in table and "named" not in table  # the scored split has masks
    images = splits("procedural_parts:10@2", f"image_folder:{folder}")
    made(rats, tmp_path / "other", images=images)
    table = (tmp_path / "other/table.md").read_text()
    assert "valPw" not in table and "labels" not in table and "mAP" in table
    groups = read(tmp_path / "other/assignments.npz").groups.tolist()
    assert sorted(groups[10:]) == [""] + ["a"] * 5 + ["b"] * 6


def test_learned_entries_are_another_row_and_are_saved(rats, tmp_path):
    entries = np.random.default_rng(0).normal(size=(7, rats.options.width)).astype(np.float32)
    found = made(rats, tmp_path / "out", entries=7, learned=(entries, {"step": 3}))
    assert found.main == "learned entries" and "model: registers" in found.rows
    dictionary = load(tmp_path / "out")
    assert dictionary.unit and dictionary.about["fit"] == {"step": 3}
    np.testing.assert_array_equal(dictionary.entries, entries)
    vectors = found.scored.stores["model: registers"].vectors
    assert found.rows[found.main].assignments.entries == 7 and vectors
    numbers = {row.assignments.entries for row in found.rows.values() if row.assignments}
    assert numbers == {7}  # other numbers cannot be compared


def test_beside_learned_entries_a_row_that_cannot_be_made_is_left_out(rats, tmp_path, capsys):
    entries = np.random.default_rng(0).normal(size=(121, rats.options.width)).astype(np.float32)
    found = made(rats, tmp_path / "out", entries=121, learned=(entries, {}))
    assert next(iter(found.rows)) == found.main == "learned entries"
    assert "model: registers" not in found.rows and "colours" not in found.rows
    assert "warning: the row model: registers is left out: --entries=121" in capsys.readouterr().out
    differences = json.loads((tmp_path / "out/results.json").read_text())["differences"]
    assert [*differences] == [f"learned entries - {x}" for x in ("model: global vector", "random")]


def test_vectors_that_are_not_finite_name_the_image(rats, tmp_path):
    params = jax.tree.map(lambda x: x * np.nan, rats.params)
    with pytest.raises(UserError, match="model: registers are not finite for drawing 0"):
        made(rats._replace(params=params), tmp_path / "out")
    assert [*tmp_path.iterdir()] == []


def test_too_few_vectors_are_refused_before_and_after_the_work(rats, tmp_path):
    with pytest.raises(UserError, match=r"--entries=121 is more than the 120 vectors of --train"):
        made(rats, tmp_path / "out", entries=121)
    with pytest.raises(UserError, match=r"--entries=120 is more than the \d+ registers of proc"):
        made(rats, tmp_path / "out", entries=120)


def test_splits_share_no_image_and_have_parts_of_one_kind(tmp_path):
    with pytest.raises(UserError, match="share 5 images.*another seed"):
        check_splits(*splits("procedural_parts:5@1", "procedural_parts:9@1"))
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        Image.new("L", (32, 32), 40).save(tmp_path / f"{name}/a.png")
    spec = f"folder:{tmp_path}"
    with pytest.raises(UserError, match="share 1 images"):
        check_splits(*splits(spec, spec))
    with pytest.raises(UserError, match="share 1 images"):  # also if only one has masks
        check_splits(*splits(f"image_folder:{tmp_path / 'images'}", spec))
    check_splits(*splits(f"image_folder:{tmp_path / 'masks'}", spec))
    with pytest.raises(UserError, match="procedural_parts and --dataset of folder, whose ids"):
        check_splits(*splits(scored=spec))
    with pytest.raises(UserError, match="none of 1 masks, evenly spaced, has a part"):
        open_images("--train", spec, 40).check_parts()


def command(*arguments: str) -> subprocess.CompletedProcess:
    given = ["--checkpoint=demo", *arguments]
    return subprocess.run(
        [sys.executable, "-m", "rats_jax.dictionary", *given], capture_output=True, text=True
    )


DRAWINGS = ["--train=procedural_parts:20@1", "--dataset=procedural_parts:20@2"]


@pytest.mark.processes
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--entries=0"], "flag --entries=0: "),
        (DRAWINGS[:1], "--dataset is missing: give other images to score, as KIND:PATH"),
        (["--train=sam:x", DRAWINGS[1]], "--train=sam:x has ids of sam, which mean a different"),
        (["--train=zz:x", DRAWINGS[1]], "--train=zz:x is not KIND:PATH; give masks as folder, "),
        (["--train=folder:", DRAWINGS[1]], "--train: part masks 'folder:': write folder:PATH"),
        ([*DRAWINGS, "--learned"], "--checkpoint=demo has no learned dictionary: give a run with"),
        (
            [*DRAWINGS, "--entries=4", "--cache=/dev/null"],
            "--cache=/dev/null cannot be made (File exists): ",
        ),
        ([DRAWINGS[0], "--dataset=procedural_parts:3@1"], "--train=procedural_parts:20@1 and"),
        ([*DRAWINGS, "--untrained"], "--untrained needs a run"),
        ([*DRAWINGS, "--entries=321"], "--entries=321 is more than the 320 vectors of --train"),
        ([*DRAWINGS, "--learned", "--norm=pre"], "--learned entries are of registers after"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path):
    failed = command(*arguments, f"--output={tmp_path / 'out'}")
    assert failed.returncode == 2 and failed.stderr.startswith(f"error: {message}"), failed.stderr
    assert failed.stderr.count("\n") == 1 and [*tmp_path.iterdir()] == []


@pytest.mark.processes
def test_keypoints_need_no_background(tmp_path):
    root = written(tmp_path / "CUB")
    given = [f"--train=cub:{root}/train", f"--dataset=cub:{root}/test", "--entries=99"]
    failed = command(*given, f"--output={tmp_path / 'out'}")
    assert failed.stderr.startswith("error: --entries=99 is more than the 16 vectors"), failed
    assert f"--dataset=cub:{root}/test: 2 images" in failed.stdout
    assert "--background" not in failed.stdout


@pytest.mark.processes
def test_the_command_says_what_it_does(tmp_path):
    done = command(*DRAWINGS, "--entries=4", f"--output={tmp_path / 'out'}", "--resolution=64")
    assert done.returncode == 0, done.stderr
    for line in ("entries are made of the 16 registers", "valPw: the mean share", "| random | 4 |"):
        assert line in done.stdout
