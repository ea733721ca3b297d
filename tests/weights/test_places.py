"""Folders of weights at whatever level they are named, and what weights are called."""

import json

import pytest
from safetensors.numpy import save_file

from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.weights.places import display_name, weights_file
from tests.weights import official

STATE = {name: x.numpy() for name, x in official.vit().state_dict().items()}


def save(path, name="model.safetensors"):
    path.mkdir(parents=True, exist_ok=True)
    save_file(STATE, path / name)
    return path / name


def repository(root, *snapshots, name="models--facebook--dinov2-tiny", file="model.safetensors"):
    """As huggingface_hub keeps a model: files are links to blobs, whose names are hashes."""
    folder = root / name
    blob = save(folder / "blobs", "9f3c0d7e" * 5)
    for snapshot in snapshots:
        (folder / "snapshots" / snapshot).mkdir(parents=True)
        (folder / "snapshots" / snapshot / file).symlink_to(f"../../blobs/{blob.name}")
    return folder


# What weights are called.


@pytest.mark.parametrize(
    ("repo", "name"),
    [
        ("models--facebook--dinov2-tiny", "facebook/dinov2-tiny"),
        ("models--timm--vit_small.dino", "timm/vit_small.dino"),
        ("models--gpt2", "gpt2"),
    ],
)
def test_a_file_in_the_cache_of_a_hub_is_called_by_its_model(tmp_path, repo, name):
    folder = repository(tmp_path, "0123abcd", name=repo)
    snapshot = folder / "snapshots" / "0123abcd"
    (tmp_path / "link.safetensors").symlink_to(snapshot / "model.safetensors")
    (folder / "refs").mkdir()
    for path in (
        snapshot / "model.safetensors",
        snapshot,
        folder,
        folder / "snapshots",
        folder / "blobs",
        folder / "refs",
        next((folder / "blobs").iterdir()),
    ):
        assert open_backbone(path).origin.startswith(f"{name}: weights")
    (snapshot / "other.pth").symlink_to(f"../../blobs/{'9f3c0d7e' * 5}")
    assert open_backbone(snapshot / "other.pth").origin.startswith(f"{name}/other.pth: weights")


def test_a_link_is_called_as_it_was_given(tmp_path):
    """The caches of DVC, git-annex and others name files by their hashes too."""
    cached = save(tmp_path / "files" / "md5" / "ab", "cdef0123456789abcdef0123456789")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "vit.safetensors").symlink_to(cached)
    assert display_name(tmp_path / "ours" / "vit.safetensors") == "vit.safetensors"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("vit/model.safetensors", "vit/model.safetensors"),
        ("vit/pytorch_model.bin", "vit/pytorch_model.bin"),
        ("tuned/checkpoint-500/model.safetensors", "tuned/checkpoint-500/model.safetensors"),
        ("dino/small/1/model.safetensors", "small/1/model.safetensors"),
        ("hub/checkpoints/dino_vits16.pth", "dino_vits16.pth"),
        ("a\nb.pth", r"a\nb.pth"),
        ("a\udce9.pth", r"a\udce9.pth"),
    ],
)
def test_a_file_is_called_by_what_tells_it_from_others(tmp_path, path, name):
    assert display_name(tmp_path / path) == name


def test_relative_paths_have_the_same_names(tmp_path, monkeypatch):
    save(tmp_path / "vit")
    for folder, path in ((tmp_path, "vit"), (tmp_path / "vit", "."), (tmp_path / "vit", "../vit/")):
        monkeypatch.chdir(folder)
        assert open_backbone(path).origin.startswith("vit/model.safetensors: weights")


# Which file a folder means.


def test_of_several_snapshots_the_one_that_is_main_is_read(tmp_path):
    folder = repository(tmp_path, "aaaa", "bbbb")
    with pytest.raises(UserError, match=r"which of its snapshots is meant: it has .*aaaa, .*bbbb"):
        weights_file(folder)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("bbbb\n")
    assert weights_file(folder) == folder / "snapshots" / "bbbb" / "model.safetensors"
    (folder / "refs" / "main").write_text("../../..")
    with pytest.raises(UserError, match="which of its snapshots is meant"):
        weights_file(folder)


def test_a_repository_without_a_snapshot_is_told(tmp_path):
    folder = repository(tmp_path)
    (folder / "snapshots").mkdir()
    with pytest.raises(UserError, match="it has none: download the model again"):
        open_backbone(folder)


def test_a_snapshot_whose_blob_is_gone_is_told(tmp_path):
    folder = repository(tmp_path, "aaaa")
    next((folder / "blobs").iterdir()).unlink()
    with pytest.raises(UserError, match=r"safetensors is a link to a file that is not there"):
        open_backbone(folder)


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
def test_a_part_of_the_weights_says_which_index_is_meant(tmp_path, ending):
    part = tmp_path / f"model-00001-of-00002{ending}"
    part.write_bytes(b"half")
    index = tmp_path / f"model{ending}.index.json"
    with pytest.raises(UserError, match=f"one of 2 parts of the weights: get {index.name} too"):
        open_backbone(part)
    index.write_text("{}")
    with pytest.raises(UserError, match=f"one of 2 parts of the weights: name {index}$"):
        open_backbone(part)
    whole = part.rename(tmp_path / f"model-00001-of-00001{ending}")
    assert weights_file(whole) == whole


@pytest.mark.parametrize("inside", ["export", "dinov2-small", "checkpoint-500"])
def test_the_folder_above_weights_says_which_one_is_meant(tmp_path, inside):
    save(tmp_path / "all" / inside)
    (tmp_path / "all" / "empty").mkdir()
    with pytest.raises(UserError, match=f"name the folder in it that does: .*all/{inside}$"):
        open_backbone(tmp_path / "all")


def test_the_cache_of_a_hub_says_which_repositories_it_has(tmp_path):
    repository(tmp_path, "aaaa")
    repository(tmp_path, "aaaa", name="models--a--b")
    with pytest.raises(UserError, match=r"does: .*models--a--b, .*models--facebook--dinov2-tiny$"):
        open_backbone(tmp_path)


@pytest.mark.parametrize("name", ["vit.pth", "last.ckpt", "vit-b-300ep.pth.tar", "x.safetensors"])
def test_a_folder_of_other_files_says_which_one_to_name(tmp_path, name):
    save(tmp_path, name)
    with pytest.raises(UserError, match=f"name the file itself, such as .*/{name}$"):
        open_backbone(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "README.md"])
def test_files_beside_weights_say_that_their_folder_is_meant(tmp_path, name):
    save(tmp_path)
    (tmp_path / name).write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(UserError, match=f"holds no weights: name its folder, {tmp_path}$"):
        open_backbone(tmp_path / name)


def test_a_config_of_another_kind_makes_no_run_of_weights(tmp_path):
    save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model": "vit_small", "optimizer": "adamw"}))
    assert "weights, in the layout" in open_backbone(tmp_path).origin


def test_a_sharded_checkpoint_says_how_to_make_one_file_of_it(tmp_path):
    (tmp_path / ".metadata").touch()
    (tmp_path / "__0_0.distcp").touch()
    for path in (tmp_path, tmp_path / "__0_0.distcp"):
        with pytest.raises(UserError, match=f"format_utils dcp_to_torch {tmp_path} FILE"):
            open_backbone(path)
