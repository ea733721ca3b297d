"""Names are bytes: no file name, and no path, costs an image, a run or a preparation."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from rats_jax.data.crops import MultiCrop
from rats_jax.data.pipeline import open_batches
from rats_jax.data.records import Records
from rats_jax.data.samples import FastCrops
from rats_jax.data.sources import ImageFolder
from rats_jax.data.tars import Tars
from rats_jax.data.tfds_source import TFDS
from rats_jax.data.worker import name_of
from rats_jax.errors import UserError
from rats_jax.preparation.run import prepare
from rats_jax.runs.guards.unreadable import Unreadable

CROPS = MultiCrop(
    global_size=16, local_size=8, local_crops=1, global_scale=(0.25, 1), local_scale=(0.05, 0.25)
)
#: Latin-1, a line end, a tab, the right-to-left mark, the longest, one like an option, quotes.
NAMES = ["caf\udce9", "line\nend", "tab\t", "\u200fx", "l" * 251, "--flag=1", "'\"$(x)`", " "]
BAD = ["bad \udcff\n", "bad 2"]  # and no images
CLASSES = ["\udce9t\udce9", "b\n"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder whose own name is not UTF-8, of classes whose names are not."""
    folder = tmp_path / "donn\udce9es"
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for k, file in enumerate(NAMES):
            Image.new("RGB", (20, 24), (15 * k, 99 * number, 0)).save(folder / name / f"{file}.png")
        (folder / name / f"{BAD[number]}.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture
def tar(tmp_path, folder) -> Path:
    path = tmp_path / "donn\udce9es.tar"
    with tarfile.open(path, "w") as file:
        file.add(folder, arcname=".")
    return path


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_every_image_is_read_by_workers_and_the_others_are_listed(kind, tmp_path, folder, tar):
    source = ImageFolder(folder) if kind == "folder" else Tars(tar)
    assert len(source) == 2 * len(NAMES) + 2 and sorted(source.classes) == sorted(CLASSES)
    unreadable = Unreadable(source, tmp_path, max_share=1.0, start=1)
    with open_batches(
        source, samples=FastCrops(CROPS), seed=0, batch_size=18, start_step=0, workers=1, threads=1
    ) as batches:
        batch = next(batches)
    unreadable.add(batch["unreadable"], replaced=batch["replaced"], drawn=18)
    assert batch["replaced"] == 2 and unreadable.count == 2
    listed = unreadable.file.read_text(encoding="utf-8")
    assert "bad \\udcff\\n.jpg\tnot an image" in listed and listed.count("\n") == 2
    assert Unreadable(source, tmp_path, max_share=1.0, start=1).count == 2


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_shards_keep_the_names_and_the_lists_can_be_read(kind, tmp_path, folder, tar, capsys):
    source = folder if kind == "folder" else tar
    for _ in range(2):  # made, and verified
        (out,) = prepare(source, tmp_path / "out", workers=1, shard_mb=1, shorter_side=0)
    records = Records(out)
    expected = [name for name in ImageFolder(folder).files if not name.endswith(".jpg")]
    assert list(records.files) == expected and sorted(records.classes) == sorted(CLASSES)
    assert [records[i] for i in range(len(records))] == [
        ((folder / name).read_bytes(), records.classes.index(name.split("/")[0]))
        for name in expected
    ]
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["input"] == str(source)
    listed = (out / "unreadable.txt").read_text(encoding="utf-8")
    assert "bad \\udcff\\n.jpg\tnot an image" in listed and listed.count("\n") == 2
    capsys.readouterr().out.encode("utf-8")  # every terminal takes what was said


@pytest.mark.processes
def test_a_path_that_a_library_cannot_open_is_refused_before_anything_is_done(tmp_path, folder):
    output = tmp_path / "aus\udcff"
    with pytest.raises(
        UserError, match=r"--output .*aus\\udcff is not valid UTF-8: rename it, or choose"
    ):
        prepare(folder, output, workers=1, shard_mb=1, shorter_side=0)
    assert not output.exists()
    output.mkdir()
    with pytest.raises(
        UserError, match=r"the path .*aus\\udcff is not valid UTF-8: rename it, or choose"
    ):
        Records(output)
    with pytest.raises(
        UserError, match=r"the data_dir .*aus\\udcff is not valid UTF-8: rename it, or choose"
    ):
        TFDS("pets", "train", output)


@pytest.mark.processes
def test_shards_in_a_path_with_a_line_end_are_refused_before_anything_is_done(tmp_path, folder):
    output = tmp_path / "pp\nnl"
    with pytest.raises(
        UserError,
        match=r"^--output \S*pp\\nnl contains a line break \(\\n\), .*: rename it, or choose",
    ):
        prepare(folder, output, workers=1, shard_mb=1, shorter_side=0)
    assert not output.exists()
    output.mkdir()
    with pytest.raises(
        UserError,
        match=r"^the path \S*pp\\nnl contains a line break \(\\n\), .*: rename it, or choose",
    ):
        Records(output)


@pytest.mark.parametrize("open_source", [ImageFolder, Records, Tars])
def test_a_path_beyond_any_limit_is_one_line(open_source, tmp_path):
    for path in (tmp_path / ("x" * 300), "/" + "y/" * 3000, "new\nline"):
        with pytest.raises(UserError, match="does not exist|matches no tar") as error:
            open_source(path)
        assert "\n" not in str(error.value)


def test_an_own_source_may_name_its_images_by_anything():
    class Own:
        files = [Path("a/b\udcff.jpg"), 7, b"x"]

    assert [name_of(Own(), i) for i in range(3)] == ["a/b\\udcff.jpg", "7", "b'x'"]


def test_names_within_a_tar_need_not_fit_a_file_system(tmp_path):
    names = ["a/" + "x" * 5000 + ".jpg", "/".join(["deep"] * 900) + "/y.jpg"]
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    source = Tars(tmp_path / "x.tar")
    assert [os.path.relpath(name, source.tars[0]) for name in source.files] == names
    assert [source[i] for i in range(2)] == [(b"abc", 0), (b"abc", 1)]
