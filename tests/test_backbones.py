"""A backbone from whatever holds one: the workdir of a run, a step of it, a file, a folder."""

import json

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from rats_jax.assemble import backbone_options, make_model
from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.restore import restore_parts
from rats_jax.runs.workdir import open_workdir
from rats_jax.weights.names import to_torch
from tests.runs.checkpoints.checkpoints import assert_equal, data_files, truncate
from tests.runs.tiny import tiny_config
from tests.weights import official

IMAGES = np.random.default_rng(0).standard_normal((2, 32, 48, 3), np.float32)


def state_at(step: int) -> dict:
    """Of the tiny run, without what no backbone needs."""
    _, init = make_model(tiny_config())
    keys = jax.random.split(jax.random.key(step))
    center = jax.random.normal(keys[0], (1, 32))
    return {"student": init(keys[0]), "teacher": init(keys[1]), "center": center}


@pytest.fixture
def workdir(tmp_path):
    """Of a run in bfloat16, with checkpoints at steps 10 and 20."""
    config = tiny_config()
    config.compute_dtype = "bfloat16"
    with open_workdir(str(tmp_path / "run"), config) as folder:
        with Checkpoints(folder, keep=2) as checkpoints:
            for step in (10, 20):
                checkpoints.save(step, state_at(step), about={}, metrics={})
        return folder


def test_a_workdir_gives_the_newest_teacher_in_float32(workdir):
    found = open_backbone(str(workdir))
    assert (found.workdir, found.step, found.config.seed) == (workdir, 20, 0)
    assert found.origin == "the teacher of the run in run at step 20"
    assert found.options == backbone_options(tiny_config())
    assert_equal(found.params, state_at(20)["teacher"]["backbone"])
    network, _ = make_model(tiny_config())
    features = found.features(IMAGES, attention_of=[1])
    expected = network.features(state_at(20)["teacher"], IMAGES, attention_of=[1])
    jax.tree.map(np.testing.assert_array_equal, features, expected)
    assert features.patches.dtype == np.float32


def test_the_student_can_be_had(workdir):
    found = open_backbone(str(workdir), weights="student")
    assert_equal(found.params, state_at(20)["student"]["backbone"])


def test_one_step_can_be_named(workdir):
    found = open_backbone(f"{workdir}/checkpoints/10")
    assert found.step == 10 and found.workdir == workdir
    assert_equal(found.params, state_at(10)["teacher"]["backbone"])


def test_parts_of_a_run_come_back(workdir):
    parts = restore_parts(workdir, ("student", "teacher", "center"), step=10)
    assert_equal(parts.state, state_at(10))


def test_a_step_that_is_not_there_is_told(workdir):
    with pytest.raises(UserError, match="no checkpoint 15: it has 10, 20"):
        open_backbone(f"{workdir}/checkpoints/15")


def test_a_damaged_step_is_told_if_it_is_named_and_else_passed_over(workdir):
    for file in data_files(workdir / "checkpoints" / "20"):
        truncate(file)
    with pytest.raises(UserError, match=r"checkpoints/20 is damaged"):
        open_backbone(f"{workdir}/checkpoints/20")
    assert open_backbone(str(workdir)).step == 10


def test_a_run_without_a_checkpoint_is_told(tmp_path):
    with open_workdir(str(tmp_path), tiny_config()):
        with pytest.raises(UserError, match="contains no checkpoint yet"):
            open_backbone(str(tmp_path))
        with pytest.raises(UserError, match="no checkpoint 5: it has none"):
            open_backbone(f"{tmp_path}/checkpoints/5")


def test_a_config_that_no_run_wrote_is_told(workdir):
    (workdir / "config.json").write_text('{"model": {}, "optimizer": {}}')
    with pytest.raises(UserError, match="is not as a run writes it"):
        open_backbone(str(workdir))


def test_paths_that_hold_no_backbone_are_told(tmp_path):
    with pytest.raises(UserError, match="nothing does not exist"):
        open_backbone(f"{tmp_path}/nothing")
    with pytest.raises(UserError, match="holds no model.safetensors"):
        open_backbone(str(tmp_path))
    with pytest.raises(UserError, match="checkpoints/5 does not exist"):
        open_backbone(f"{tmp_path}/checkpoints/5")
    with pytest.raises(UserError, match="does not exist: download the weights, and name the file"):
        open_backbone("https://example.org/dino.pth")
    with pytest.raises(UserError, match=r"does not exist.* \(hf download facebook/dinov2-small\)"):
        open_backbone("facebook/dinov2-small")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="loop does not exist"):
        open_backbone(f"{tmp_path}/loop")
    with pytest.raises(UserError, match="cannot be read"):
        open_backbone(f"{tmp_path}/{'n' * 300}")


def assert_computes(found, model: torch.nn.Module):
    with torch.inference_mode():
        expected = model(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    features = found.features(IMAGES)
    for name in ("registers", "patches", "global_vector"):
        ours, theirs = getattr(features, name), getattr(expected, name).numpy()
        np.testing.assert_allclose(ours, theirs, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("zipped", [True, False])
def test_an_official_checkpoint_computes_as_in_pytorch(tmp_path, zipped):
    student, teacher = official.vit(0), official.vit(1)
    path = tmp_path / "checkpoint.pth"
    content = official.checkpoint(student, teacher)
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = open_backbone(str(path))
    assert_computes(found, teacher)
    assert found.origin.startswith("checkpoint.pth: teacher after 100 epochs, in")
    assert found.origin.endswith(
        "depth 2, 2 heads, taken as 64 wide, positions resampled as in DINO v1; not chosen: "
        "student; left out head (2 tensors), dino_loss.center"
    )
    assert found.step is None and found.workdir is None
    assert_computes(open_backbone(str(path), weights="student"), student)


def nested(sets: dict[str, dict]) -> dict:
    """As a training loop saves them, beside what else it needs."""
    return {
        **{name: {f"module.{key}": x for key, x in state.items()} for name, state in sets.items()},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
        "epoch": 3,
    }


def by_prefix(sets: dict[str, dict]) -> dict:
    """As one module that holds them all."""
    return {f"{name}.vit.{key}": x for name, state in sets.items() for key, x in state.items()}


KINDS = {
    "nested.pth": nested,
    "prefix.pth": lambda sets: {"state_dict": by_prefix(sets)},
    "prefix.safetensors": by_prefix,
}


@pytest.mark.parametrize("names", [("encoder", "target_encoder"), ("model", "model_ema")])
@pytest.mark.parametrize("kind", KINDS)
def test_each_set_of_weights_is_its_own_and_none_is_chosen_silently(tmp_path, kind, names):
    path = tmp_path / kind
    models = {name: official.vit(seed) for seed, name in enumerate(names)}
    content = KINDS[kind]({name: model.state_dict() for name, model in models.items()})
    torch.save(content, path) if path.suffix == ".pth" else save_tensors(content, path)
    for name, model in models.items():
        found = open_backbone(path, weights=name)
        assert f": {name}, in the layout" in found.origin and "not chosen: " in found.origin
        expected = {key: x.numpy() for key, x in model.state_dict().items()}
        for key, array in to_torch(found.params).items():
            np.testing.assert_array_equal(array, expected[key])
    with pytest.raises(UserError, match=rf"several sets of weights \({', '.join(names)}\)"):
        open_backbone(path)
    with pytest.raises(UserError, match="has no student; it has"):
        open_backbone(path, weights="student")


def test_epochs_are_named_where_they_are_counted_as_dino_does(tmp_path):
    state = official.vit().state_dict()
    for content, about in [
        ({"teacher": state, "epoch": 3}, "teacher after 3 epochs"),
        ({"state_dict": {f"teacher.{k}": x for k, x in state.items()}, "epoch": 3}, "teacher"),
        ({"model": state, "epoch": 3}, "weights"),
    ]:
        torch.save(content, tmp_path / "x.pth")
        assert open_backbone(tmp_path / "x.pth").origin.startswith(f"x.pth: {about}, in the")


@pytest.mark.parametrize("name", ["dino_vit.pth", "model.safetensors"])
def test_a_file_of_weights_alone_computes_as_in_pytorch(tmp_path, name):
    model, path = official.vit(), tmp_path / name
    if path.suffix == ".pth":
        torch.save(model.state_dict(), path)
    else:
        save_file({name: x.numpy() for name, x in model.state_dict().items()}, path)
    assert_computes(open_backbone(str(path)), model)


def test_a_config_that_is_no_file_is_told(tmp_path):
    save_file({"norm.bias": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UserError, match="config.json is no file"):
        open_backbone(str(tmp_path))


@pytest.mark.parametrize("beside", ["config.json", "preprocessor_config.json"])
def test_images_are_normalised_as_the_folder_says(tmp_path, beside):
    state = {name: x.numpy() for name, x in official.vit().state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    imagenet = open_backbone(str(tmp_path))
    assert (imagenet.mean[0], imagenet.std[0]) == (0.485, 0.229)
    given = {"image_mean": [0.5, 0.5, 0], "image_std": [0.5, 0.25, 1]}
    (tmp_path / beside).write_text(json.dumps(given))
    for path in (tmp_path, tmp_path / "model.safetensors"):
        found = open_backbone(str(path))
        assert (found.mean, found.std) == ([0.5, 0.5, 0], [0.5, 0.25, 1])
    for std in ([0.5, "x", 1], [0.5, 0, 1], [0.5, -1, 1], [0.5, 1], 0.5, [0.5, None, 1]):
        (tmp_path / beside).write_text(json.dumps(given | {"image_std": std}))
        with pytest.raises(UserError, match="images cannot be normalised by mean"):
            open_backbone(str(tmp_path))


def test_an_export_comes_back_to_the_bit(workdir, tmp_path):
    run = open_backbone(str(workdir))
    folder = tmp_path / "export"
    folder.mkdir()
    save_file(to_torch(run.params), folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "rats", "options": run.options.asdict()})
    )
    for path in (folder, folder / "model.safetensors"):
        found = open_backbone(str(path))
        assert found.options == run.options
        assert_equal(found.params, run.params)


@pytest.mark.parametrize(
    "change",
    [
        {"heads": 5},
        {"architecture": "cnn"},
        {"width": "wide"},
        {"width": 10**30},
        {"depth": 0},
        {"depth": "deep"},
        {"colour": 3},
    ],
    ids=str,
)
def test_options_of_no_model_are_told(workdir, tmp_path, change):
    run = open_backbone(str(workdir))
    folder = tmp_path / "export"
    folder.mkdir()
    save_file(to_torch(run.params), folder / "model.safetensors")
    options = run.options.asdict() | change
    (folder / "config.json").write_text(json.dumps({"model_type": "rats", "options": options}))
    with pytest.raises(UserError, match="is of no model that can be made") as error:
        open_backbone(str(folder))
    assert "\n" not in str(error.value)
