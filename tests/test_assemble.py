"""Every kind of source, named by a config, feeds the same images."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from rats_jax.assemble import make_samples, make_source
from rats_jax.classification.labelled import open_labelled
from rats_jax.data.pipeline import open_batches
from rats_jax.errors import UserError
from rats_jax.preparation.run import prepare
from tests.data import test_tfds_source as tfds_files
from tests.runs.tiny import tiny_config

COUNT = len(tfds_files.IMAGES)


@pytest.fixture
def jpegs(tmp_path, monkeypatch) -> list[bytes]:
    """Image files in tmp_path/images, in a tar, in shards and as a TFDS data set."""
    rng = np.random.default_rng(0)
    files = []
    for i in range(COUNT):
        out = io.BytesIO()
        pixels = np.full((20, 30, 3), 30 * i, np.uint8) + rng.integers(0, 9, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(out, "JPEG")
        files.append(out.getvalue())
        path = tmp_path / "images" / "ab"[i > 3] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(out.getvalue())
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for path in sorted((tmp_path / "images").rglob("*.jpg")):
            tar.add(path, arcname=path.relative_to(tmp_path / "images"))
    prepare(tmp_path / "images", tmp_path / "shards", workers=1, shard_mb=1, shorter_side=0)
    monkeypatch.setattr(tfds_files, "IMAGES", files)
    tfds_files.make(tmp_path)
    return files


SOURCES = {
    "image_folder": {"path": "images"},
    "records": {"path": "shards/train"},
    "tar": {"path": "images.tar"},
    "tfds": {"path": "", "name": "pets:2.0.1", "split": "train"},
}


@pytest.mark.processes
@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_named_by_a_config_gives_the_files_and_batches_of_them(jpegs, tmp_path, kind):
    fields = SOURCES[kind] | {"path": str(tmp_path / SOURCES[kind]["path"])}
    config = tiny_config(data__source=kind, data__length=COUNT)
    config.data.update(fields)
    source = make_source(config)
    assert [source[i][0] for i in range(len(source))] == jpegs
    if kind != "tfds":  # whose labels are its own
        assert [source[i][1] for i in range(len(source))] == [int(i > 3) for i in range(COUNT)]
    with open_batches(
        source,
        samples=make_samples(config),
        seed=0,
        batch_size=COUNT,
        start_step=0,
        workers=1,
        threads=2,
    ) as batches:
        batch = next(batches)
        assert sorted(batch["index"]) == list(range(COUNT)) and not batch["unreadable"]
        levels = batch["global"].mean((1, 2, 3, 4))
        np.testing.assert_allclose(levels, 30 * batch["index"] + 4, atol=3)


@pytest.mark.processes
@pytest.mark.parametrize("kind", SOURCES)
def test_what_was_found_and_passed_over_is_said_when_a_run_starts(jpegs, tmp_path, kind, capsys):
    (tmp_path / "images" / "x.heic").write_bytes(b"")
    with tarfile.open(tmp_path / "images.tar", "a") as tar:
        tar.add(tmp_path / "images" / "x.heic", arcname="x.heic")
    (tmp_path / "shards" / "train" / "x.array_record").write_bytes(b"")
    config = tiny_config(data__source=kind, data__length=0)
    config.data.update(SOURCES[kind] | {"path": str(tmp_path / SOURCES[kind]["path"])})
    capsys.readouterr()
    make_source(config)
    found, *notes = capsys.readouterr().out.splitlines()
    classes = "cat, dog" if kind == "tfds" else "a, b"
    assert found == f"found {COUNT} images of 2 classes ({classes}) in {config.data.path}"
    assert len(notes) == (kind != "tfds") and all("(first x." in note for note in notes)


def test_the_field_is_named_where_a_source_cannot_be_opened(tmp_path):
    for kind in ("image_folder", "records", "tar"):
        with pytest.raises(UserError, match="^config.data.path: .*nowhere"):
            make_source(tiny_config(data__source=kind, data__path=str(tmp_path / "nowhere")))
    tfds = {"data__name": "pets", "data__path": str(tmp_path)}
    with pytest.raises(UserError, match="^config.data: .* does not contain the data set pets"):
        make_source(tiny_config(data__source="tfds", **tfds))


@pytest.mark.processes
def test_a_tar_given_as_a_folder_is_told_how_to_be_read_by_the_flags_at_hand(jpegs, tmp_path):
    tar = tmp_path / "images.tar"
    with pytest.raises(UserError) as training:
        make_source(tiny_config(data__source="image_folder", data__path=str(tar)))
    what = f"{tar} is not a folder; give a folder of images"
    remedy = "or read the tar with config.data.source=tar"
    assert str(training.value) == f"config.data.path: {what}, {remedy}"
    with pytest.raises(UserError) as evaluation:
        open_labelled(f"image_folder:{tar}")
    assert str(evaluation.value) == f"image_folder:{tar}: {what}, or write tar:{tar}"
    assert len(open_labelled(f"tar:{tar}").source) == COUNT


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"data__path": "photos"}, "path is photos, .*source=procedural_parts does not use"),
        ({"data__name": "pets", "data__source": "tar", "data__path": "x"}, "name is pets"),
        ({"data__split": "val", "data__source": "records", "data__path": "x"}, "split is val"),
    ],
)
def test_fields_that_the_source_does_not_read_are_refused(fields, named):
    with pytest.raises(UserError, match=f"config.data.{named}"):
        make_source(tiny_config(**fields))
