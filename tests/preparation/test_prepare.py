"""What ImageNet, or any folder, becomes as shards, and mistakes that are told."""

import fcntl
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rats_jax.data.decode import decode
from rats_jax.data.records import Records, open_writer
from rats_jax.data.sources import ImageFolder
from rats_jax.errors import UserError
from rats_jax.preparation import devkit, shards
from rats_jax.preparation.inputs import find_splits
from rats_jax.preparation.run import LOCK, prepare
from tests.preparation import fake_ilsvrc
from tests.preparation.conftest import SHARD_MB, content, shard_files

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "val")


def small(folder: Path, count: int = 6) -> Path:
    """A folder of two classes of PNG files of some 400 bytes."""
    for k in range(count):
        pixels = np.random.default_rng(k).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        path = folder / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fake_ilsvrc.encode(Image.fromarray(pixels), "PNG"))
    return folder


def run(source: Path, output: Path, **changes):
    flags = {"workers": 1, "shard_mb": 0.001, "shorter_side": 0} | changes
    return prepare(source, output, **flags)


@pytest.mark.parametrize("split", SPLITS)
def test_every_file_is_a_record_or_listed_or_counted(fake, uninterrupted, split):
    folder, facts = fake[0] / split, fake[1][split]
    records = Records(uninterrupted / split)
    assert list(records.files) == facts["readable"]
    for k, name in enumerate(facts["readable"]):
        image, label = records[k]
        assert image == (folder / name).read_bytes()
        assert records.classes[label] == facts["wnids"][name]
        decode(image)
    manifest = json.loads((uninterrupted / split / "manifest.json").read_text())
    assert [bad["name"] for bad in manifest["unreadable"]] == facts["unreadable"]
    assert all(bad["reason"] for bad in manifest["unreadable"])
    listed = (uninterrupted / split / "unreadable.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == facts["unreadable"]
    assert (manifest["images"], manifest["skipped"]) == (len(records), len(facts["skipped"]))


def test_the_official_tars_give_the_shards_of_the_folders(fake, uninterrupted, tmp_path):
    fake_ilsvrc.pack(fake[0], tmp_path / "tars")
    # One after the other: each is a split of its own.
    for tar in ("ILSVRC2012_img_val.tar", "ILSVRC2012_img_train.tar"):
        run(tmp_path / "tars" / tar, tmp_path / "out", workers=2, shard_mb=SHARD_MB)
    paths = shard_files(uninterrupted)
    assert len(paths) > 40
    for path in paths:
        assert (
            tmp_path / "out" / path.relative_to(uninterrupted)
        ).read_bytes() == path.read_bytes()
    for split in SPLITS:
        ours, theirs = (
            json.loads((out / split / "manifest.json").read_text())
            for out in (tmp_path / "out", uninterrupted)
        )
        assert ours | {"input": ""} == theirs | {"input": ""}


def test_both_tars_in_a_folder_are_two_splits(fake, tmp_path):
    fake_ilsvrc.pack(fake[0], tmp_path / "tars")

    def counts(split):
        return {reason: count for reason, (count, _) in split.passed_over.found.items()}

    from_tars, from_folders = find_splits(tmp_path / "tars"), find_splits(fake[0])
    for a, b in zip(from_tars, from_folders, strict=True):
        assert (a.name, a.classes, counts(a)) == (b.name, b.classes, counts(b))
        assert [file[:2] for file in a.files] == [file[:2] for file in b.files]


def test_validation_images_without_development_kit_have_no_label(fake, tmp_path):
    fake_ilsvrc.pack(fake[0], tmp_path / "tars")
    (tmp_path / "tars" / devkit.NAME).unlink()
    (split,) = find_splits(tmp_path / "tars" / "ILSVRC2012_img_val.tar")
    assert split.name == "val" and {file.label for file in split.files} == {-1}
    passed_over, note = split.notes
    assert "skipped" in passed_over and devkit.NAME in note


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_any_folder_or_tar_of_images_is_labelled_by_folder(tmp_path, kind):
    folder = small(tmp_path / "images")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "a" / "notes.txt").write_bytes(b"")
    if kind == "tar":
        with tarfile.open(tmp_path / "images.tar", "w") as tar:
            tar.add(folder, arcname=".")
    expected = ImageFolder(folder)
    assert run(folder if kind == "folder" else tmp_path / "images.tar", tmp_path / "out") == [
        tmp_path / "out" / "train"
    ]
    records = Records(tmp_path / "out" / "train")
    assert list(records.files) == expected.files and records.classes == expected.classes
    assert [records[k] for k in range(len(records))] == [expected[k] for k in range(len(expected))]
    manifest = json.loads((tmp_path / "out" / "train" / "manifest.json").read_text())
    assert manifest["skipped"] == 2
    assert len(manifest["shards"]) == 3  # two files of 400 bytes each


def test_an_output_of_another_input_or_other_flags_is_refused(tmp_path):
    folder = small(tmp_path / "images")
    run(folder, tmp_path / "out")
    before = content(tmp_path / "out")
    for changes in ({"shard_mb": 1}, {"shorter_side": 8}):
        (name,) = changes
        with pytest.raises(
            UserError, match=f"out/train was started with --{name}=.*another --output"
        ):
            run(folder, tmp_path / "out", **changes)
    (folder / "c").mkdir()
    shutil.copy(folder / "a" / "0.png", folder / "c")
    with pytest.raises(UserError, match="started with other files in --input.*another --output"):
        run(folder, tmp_path / "out")
    assert content(tmp_path / "out") == before


def test_folders_that_are_not_prepares_are_left_alone(tmp_path):
    folder = small(tmp_path / "images")
    with pytest.raises(UserError, match="images/out is in .*images, which is an input"):
        run(folder, folder / "out")
    other = small(tmp_path / "out" / "train")
    before = content(other)
    with pytest.raises(UserError, match="out/train contains files that prepare did not write"):
        run(folder, tmp_path / "out")
    assert content(other) == before


def test_what_others_left_in_the_output_stays(tmp_path):
    folder = small(tmp_path / "images")
    thesis = tmp_path / "out" / "mine" / "thesis.1.unfinished"
    thesis.parent.mkdir(parents=True)
    thesis.touch()
    run(folder, tmp_path / "out")
    stale = tmp_path / "out" / "train" / f"x.array_record.123{shards.UNFINISHED}"
    stale.touch()
    run(folder, tmp_path / "out")
    assert thesis.exists() and not stale.exists()


def test_a_folder_with_train_alone_is_that_split(tmp_path):
    small(tmp_path / "images" / "train")
    (split,) = find_splits(tmp_path / "images")
    assert (split.name, split.classes) == ("train", ["a", "b"])
    small(tmp_path / "images" / "plane")  # so "train" is a class
    (split,) = find_splits(tmp_path / "images")
    assert split.classes == ["plane", "train"]


def test_two_at_once_on_one_output_are_refused(tmp_path):
    folder = small(tmp_path / "images")
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with pytest.raises(
            UserError, match="another prepare command is writing to .*out; wait for it"
        ):
            run(folder, tmp_path / "out")


def test_larger_images_are_shrunk_on_demand_upright_and_the_others_kept(tmp_path):
    pixels = np.asarray(
        Image.fromarray(
            np.random.default_rng(0).integers(0, 256, (9, 6, 3), dtype=np.uint8)
        ).resize((90, 60), Image.Resampling.BICUBIC)
    )
    exif = Image.Exif()
    exif[fake_ilsvrc.ORIENTATION] = 6
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "large.jpg").write_bytes(
        fake_ilsvrc.encode(Image.fromarray(pixels), "JPEG", exif=exif, quality=95)
    )
    (folder / "narrow.png").write_bytes(fake_ilsvrc.encode(Image.fromarray(pixels[:30]), "PNG"))
    run(folder, tmp_path / "out", shorter_side=30)
    large, narrow = (Records(tmp_path / "out" / "train")[k][0] for k in (0, 1))
    assert narrow == (folder / "narrow.png").read_bytes()
    with Image.open(io.BytesIO(large)) as opened:
        assert opened.size == (30, 45)  # turned: 60 x 90
        assert [layer[1:3] for layer in opened.layer] == [(1, 1)] * 3  # 4:4:4
    upright = Image.fromarray(decode((folder / "large.jpg").read_bytes()))
    resized = np.asarray(upright.resize((30, 45), Image.Resampling.LANCZOS), np.float32)
    assert np.abs(decode(large) - resized).mean() < 2


def test_a_full_disk_is_told_and_leaves_no_shard(tmp_path, monkeypatch):
    folder = small(tmp_path / "images")
    (split,) = find_splits(folder)
    monkeypatch.setattr(shards, "open_writer", lambda path: open_writer("/dev/full"))
    shard = shards.Shard(tmp_path / "x.array_record", folder, split.files, 0)
    with pytest.raises(UserError, match=r"x.array_record \(No space left.*\); free some space"):
        shards.write(shard, lambda images, done: None)
    assert shards.find(shard.path) is None and not list(tmp_path.glob("x*"))


def test_an_output_that_cannot_be_written_to_is_no_matter_of_space(tmp_path):
    folder = small(tmp_path / "images")
    (tmp_path / "file").touch()
    for output in ("file", "file/out"):
        with pytest.raises(
            UserError, match=r"cannot write .*file\S* \(.*\); choose another --output"
        ):
            run(folder, tmp_path / output)
    (split,) = find_splits(folder)
    shard = shards.Shard(tmp_path / "gone" / "x.array_record", folder, split.files, 0)
    with pytest.raises(UserError, match=r"\(No such file or directory\); choose another --output"):
        shards.write(shard, lambda images, done: None)  # by array_record


def test_an_input_that_changes_under_way_stops_the_work(tmp_path):
    folder = small(tmp_path / "images")
    (split,) = find_splits(folder)
    shard = shards.Shard(tmp_path / "x.array_record", folder, split.files, 0)
    (folder / "a" / "0.png").write_bytes(b"shorter")
    with pytest.raises(UserError, match="a/0.png in .*images was removed or changed"):
        shards.write(shard, lambda images, done: None)
    (folder / "a" / "0.png").unlink()
    with pytest.raises(UserError, match="a/0.png in .*images was removed or changed"):
        shards.write(shard, lambda images, done: None)


def test_pipes_and_links_to_nothing_are_passed_over(tmp_path, capsys):
    folder = small(tmp_path / "images")
    (folder / "b" / "link.jpg").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "b" / "pipe.jpg")
    run(folder, tmp_path / "out")
    said = capsys.readouterr().out
    assert "broken links: 1 (first b/link.jpg)" in said
    assert "and other special files: 1 (first b/pipe.jpg)" in said
    assert "8 files: 6 images" in said and "0 unreadable; 2 skipped" in said
    with pytest.raises(UserError, match="pipe.jpg is not a folder"):
        run(folder / "b" / "pipe.jpg", tmp_path / "other")


def test_an_input_of_which_nothing_can_be_made_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="--input: .*nowhere does not exist"):
        run(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="--input: .*empty contains no image"):
        run(tmp_path / "empty", tmp_path / "out")
    folder = small(tmp_path / "images")
    with tarfile.open(tmp_path / "whole.tar", "w") as tar:
        tar.add(folder, arcname=".")
    whole = (tmp_path / "whole.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:3000])
    with pytest.raises(UserError, match="--input: .*cut.tar is "):
        run(tmp_path / "cut.tar", tmp_path / "out")
    (tmp_path / devkit.NAME).write_bytes(b"not a kit")
    with pytest.raises(UserError, match=f"{devkit.NAME} cannot be read"):
        devkit.read(tmp_path / devkit.NAME)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="no image of .*bad can be read"):
        run(bad, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*/manifest.json"))


def test_the_flags_are_checked(tmp_path):
    def error(*flags: str) -> str:
        command = [sys.executable, "-m", "rats_jax.prepare", *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        return done.stderr

    assert error("--output=x").startswith("error: --input is missing: ")
    assert "workers" in error("--input=x", "--output=y", "--workers=0")


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


PNG = fake_ilsvrc.encode(Image.new("RGB", (9, 9)), "PNG")


def test_joined_tars_are_prepared_whole_also_within_a_tar(tmp_path, capsys):
    for name in "ab":
        pack(tmp_path / f"{name}.tar", {f"{name}/{k}.png": PNG for k in range(3)})
    joined = b"".join((tmp_path / f"{name}.tar").read_bytes() for name in "ab")
    (tmp_path / "all.tar").write_bytes(joined)
    pack(tmp_path / "outer.tar", {"n1.tar": joined})
    expected = [f"{name}/{k}.png" for name in "ab" for k in range(3)]
    for tar, folder in (("all", ""), ("outer", "n1/")):
        (out,) = run(tmp_path / f"{tar}.tar", tmp_path / tar)
        assert list(Records(out).files) == [folder + name for name in expected]
    assert "6 files: 6 images" in capsys.readouterr().out


def test_what_an_input_holds_beside_images_is_counted_and_named(tmp_path, capsys):
    others = ["a/1.cls", "a/x.tif", "._n1.tar", "a/._1.png", "x.tar.gz", "notes.txt"]
    inner = (pack(tmp_path / "inner", {"1.png": PNG, "deep.tar": b"", "2.txt": b""})).read_bytes()
    members = {"a/1.png": PNG, "n1.tar": inner} | dict.fromkeys(others, b"0")
    (out,) = run(pack(tmp_path / "x.tar", members), tmp_path / "out")
    assert list(Records(out).files) == ["a/1.png", "n1/1.png"]
    said = capsys.readouterr().out
    assert "10 files: 2 images in 1 shard; 0 unreadable; 8 skipped" in said
    (line,) = (line for line in said.splitlines() if line.startswith("warning: skipped in"))
    for part in (
        "labels that prepare does not read (train on the tar with config.data.source=tar): 1",
        "1 (first a/x.tif)",
        "hidden files: 2 (first ._n1.tar)",
        "also reads tars within a tar): 1 (first n1/deep.tar)",
        "archives (unpack them): 1 (first x.tar.gz)",
        "other files: 2 (first n1/2.txt)",
    ):
        assert part in line


def test_an_input_that_is_another_archive_is_explained(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a/1.png", PNG)
    with pytest.raises(
        UserError, match="^--input: .*x.zip is a zip archive; unzip it, and give the folder "
    ):
        run(tmp_path / "x.zip", tmp_path / "out")
    packed = gzip.compress(pack(tmp_path / "n1.tar", {"1.png": PNG}).read_bytes())
    pack(tmp_path / "outer.tar", {"n1.tar": packed})
    with pytest.raises(UserError, match="outer.tar holds n1.tar, which is compressed; unpack"):
        run(tmp_path / "outer.tar", tmp_path / "out")
    with pytest.raises(UserError, match="contains no image; .*skipped: tars"):
        (tmp_path / "tars").mkdir()
        (tmp_path / "n1.tar").rename(tmp_path / "tars" / "n1.tar")
        run(tmp_path / "tars", tmp_path / "out")


def test_splits_by_other_names_are_named(tmp_path, capsys):
    for split in ("Train", "Validation"):
        small(tmp_path / "images" / split)
    run(tmp_path / "images", tmp_path / "out")
    assert "warning: Train/, Validation/ look like splits" in capsys.readouterr().out
