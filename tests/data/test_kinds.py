"""Kinds of data sets: those of another task are said to be so, and misspelt ones guessed."""

import pytest

from rats_jax.classification.labelled import open_labelled
from rats_jax.data import kinds, source_kinds
from rats_jax.errors import UserError
from rats_jax.parts import datasets
from rats_jax.parts.datasets import open_dataset
from rats_jax.parts.saved_regions import open_saved_regions


def test_every_kind_can_be_opened():
    assert kinds.PART_MASKS.keys() == datasets.KINDS.keys()
    for kind in kinds.LABELLED:
        with pytest.raises(UserError, match=rf"{kind}|NAME/SPLIT"):
            open_labelled(f"{kind}:/nowhere")


@pytest.mark.parametrize("kind", sorted(kinds.LABELLED.keys() - kinds.PART_MASKS))
def test_labelled_images_are_no_part_masks(kind):
    line = f"'{kind}:x' has labelled images, which --task=knn, linear and norms use; part"
    with pytest.raises(
        UserError, match=f"{line} masks are needed here: KIND is one of folder, ade20k"
    ):
        open_dataset(f"{kind}:x")


@pytest.mark.parametrize("kind", sorted(kinds.PART_MASKS.keys() - kinds.LABELLED))
def test_part_masks_are_no_labelled_images(kind):
    line = f"'{kind}:x' has part masks, which --task=parts uses; labelled images are needed here"
    with pytest.raises(UserError, match=f"{line}: KIND is one of image_folder, records"):
        open_labelled(f"{kind}:x")


@pytest.mark.parametrize(
    "open_spec, spec, meant",
    [
        (open_dataset, "coco_instances:/a", "coco-instances:/a"),
        (open_dataset, "Folder:x", "folder:x"),
        (open_dataset, "coco:x", "coco-panoptic:x or coco-instances:x"),
        (open_dataset, "imagenets:x", "imagenet-s:x"),
        (open_labelled, "imagefolder:/a:b", "image_folder:/a:b"),
        (open_labelled, "TAR:x", "tar:x"),
        (open_labelled, "tf ds:x", "tfds:x"),
    ],
)
def test_the_nearest_kind_is_named(open_spec, spec, meant):
    with pytest.raises(UserError, match=rf"not KIND:PATH \(did you mean {meant}\?\); KIND is one"):
        open_spec(spec)


def test_a_folder_without_a_kind_is_shown_with_one(tmp_path):
    with pytest.raises(UserError, match=rf"could be image_folder:{tmp_path}\); KIND is one of"):
        open_labelled(str(tmp_path))


def test_the_home_folder_is_the_same_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(source_kinds, "TFDS", lambda name, split, folder: folder)
    with pytest.raises(UserError, match=f"{tmp_path}/x does not exist"):
        open_dataset("folder:~/x")
    with pytest.raises(UserError, match=f" {tmp_path}/x does not exist"):
        open_labelled("image_folder:~/x")
    with pytest.raises(UserError, match=f" {tmp_path}/x .*no tar"):
        open_labelled("tar:~/x")
    assert source_kinds.SOURCES["tfds"].open_place("a/b@~/x") == tmp_path / "x"


@pytest.mark.parametrize("spec", ["records:/a/\udce9", "tfds:a/b@/\udce9"])
def test_paths_that_a_library_cannot_open_are_refused(spec):
    with pytest.raises(UserError, match=r"the folder .*udce9 is not valid UTF-8"):
        open_labelled(spec)


def test_paths_that_no_file_can_have_are_one_line():
    name = "x" * 300
    with pytest.raises(UserError, match="x cannot be read .File name too long"):
        open_dataset(f"folder:{name}")
    for kind in ("image_folder", "records", "tar"):
        with pytest.raises(UserError, match=f"{name}"):
            open_labelled(f"{kind}:{name}")
    with pytest.raises(UserError, match="x cannot be read .File name too long"):
        open_saved_regions([name], ["a.jpg"], skip_broken=False)
