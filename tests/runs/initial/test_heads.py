"""Checkpoints of DINO with heads and center: the training continues as if it had never stopped."""

import jax
import numpy as np
import pytest
import torch

from rats_jax.assemble import make_dino, make_model
from rats_jax.errors import UserError
from rats_jax.runs.initial.initial import Initial
from rats_jax.runs.restore import restore_parts
from tests.runs.initial.starts import assert_same, images, side, start
from tests.runs.tiny import tiny_config
from tests.torch_export.test_dino import export
from tests.torch_reference import models as reference
from tests.torch_reference.dino import DINOHead, MultiCropWrapper
from tests.weights.test_import_parity import randomise

SIZE = {"width": 128, "depth": 2, "heads": 2, "patch_size": 8, "image_size": 16}
FIELDS = {
    "model__architecture": "vit",
    "model__width": 128,
    "model__heads": 2,
    "head__hidden": 32,
    "head__bottleneck": 256,
    "head__prototypes": 16,
    "model__drop_path": 0.0,
}


def official(folder, *, gains: float = 1.0, **changed):
    """A training checkpoint as main_dino.py writes it, and its networks. changed: other content."""
    networks = {
        name: randomise(
            MultiCropWrapper(reference.ViT(**SIZE), DINOHead(128, prototypes=16, hidden=32)),
            seed=seed,
        )
        for seed, name in enumerate(["teacher", "student"])
    }
    for model in networks.values():
        torch.nn.init.constant_(model.head.last_layer.weight_g, gains)
    states = {name: model.state_dict() for name, model in networks.items()}
    student = {f"module.{name}": x for name, x in states["student"].items()}
    center = torch.arange(16.0)[None]
    content = {"student": student, "teacher": states["teacher"], "dino_loss": {"center": center}}
    torch.save(content | {"epoch": 7} | changed, folder / "checkpoint.pth")
    return folder / "checkpoint.pth", networks


def said(initial: Initial) -> str:
    return "\n".join(initial.lines)


@pytest.mark.parametrize("gains", [1.0, 2.0])
def test_an_official_checkpoint_gives_the_same_logits_for_student_and_teacher(gains, tmp_path):
    file, networks = official(tmp_path, gains=gains)
    config, initial = start(file, **FIELDS, head__norm_last_layer=gains == 1)
    assert config.init.taken == "backbone head"
    assert "taken: backbone, head, center; student and teacher each their own" in said(initial)
    assert "not taken" not in said(initial) and "new:" not in said(initial)
    np.testing.assert_array_equal(initial.arrays["center"], np.arange(16.0)[None])
    ours, _ = make_model(config)
    crops = images(16)
    for name, theirs in networks.items():
        logits = ours.logits(side(initial, name), {"global": crops[:, None]})
        with torch.inference_mode():
            expected = theirs([torch.from_numpy(crops).permute(0, 3, 1, 2)])
        np.testing.assert_allclose(logits[:, 0, 0], expected, atol=2e-4)


def test_one_set_can_be_chosen_for_both(tmp_path):
    file, networks = official(tmp_path)
    _, initial = start(file, **FIELDS, init__weights="student")
    assert_same(side(initial, "student"), side(initial, "teacher"))
    norm = networks["student"].backbone.norm.weight.detach().numpy()
    np.testing.assert_array_equal(initial.arrays["teacher/backbone/norm/scale"], norm)
    assert "not taken: the weights of the teacher" in said(initial)
    with pytest.raises(UserError, match=r"choose --config\.init\.weights=student"):
        start(file, **FIELDS, init__weights="ema")


def test_trained_gains_are_not_dropped(tmp_path):
    file, _ = official(tmp_path, gains=2.0)
    _, initial = start(file, **FIELDS)
    assert "head: its prototypes have trained gains" in said(initial)
    assert not any("/head/" in name for name in initial.arrays)


def test_a_head_that_does_not_fit_is_new_and_both_start_as_the_teacher(tmp_path):
    file, networks = official(tmp_path)
    _, initial = start(file, **FIELDS | {"head__prototypes": 24})
    assert (
        "not taken: head: 16 prototypes there, 24 prototypes here; center; "
        "the weights of the student" in initial.lines
    )
    assert "new: head (random)" in said(initial) and initial.taken == ["backbone"]
    assert_same(side(initial, "student"), side(initial, "teacher"))
    norm = networks["teacher"].backbone.norm.weight.detach().numpy()
    np.testing.assert_array_equal(initial.arrays["teacher/backbone/norm/scale"], norm)
    assert "center" not in initial.arrays
    _, initial = start(file, **FIELDS | {"head__prototypes": 24, "head__hidden": 64})
    assert "head: hidden 32 and 16 prototypes there, hidden 64 and 24 prototypes here;" in said(
        initial
    )


def test_a_head_of_another_build_and_a_center_of_another_size_are_said(tmp_path):
    _, networks = official(tmp_path)
    state = networks["teacher"].state_dict()
    file, _ = official(tmp_path, teacher=state | {"head.mlp.1.running_mean": torch.ones(32)})
    _, initial = start(file, **FIELDS)
    assert (
        "not taken: head: it is built in another way: it has mlp.1.running_mean; center; "
        "the weights of the student" in initial.lines
    )
    file, _ = official(tmp_path, dino_loss={"center": torch.zeros(1, 9)})
    _, initial = start(file, **FIELDS)
    assert "taken: backbone, head; student" in said(initial)
    assert "not taken: center: [1, 9] there, [1, 16] here" in said(initial)


def test_a_rats_from_a_dino_checkpoint_has_a_new_head(tmp_path):
    file, _ = official(tmp_path)
    _, initial = start(file, **FIELDS | {"model__architecture": "rats"})
    assert "head: it reads [CLS], not registers" in said(initial)
    assert "spread by 0.29), head (random)" in said(initial)


@pytest.mark.parametrize("architecture", ["vit", "rats"])
def test_a_classifier_is_no_head_and_is_named_once(architecture, tmp_path):
    """And nothing is said of the head of a backbone that has none."""
    vit = randomise(reference.ViT(**SIZE), seed=0).state_dict()
    classifier = {"head.weight": torch.ones(9, 128), "head.bias": torch.ones(9)}
    fields = FIELDS | {"model__architecture": architecture}
    cls = ["[CLS] and its position"] * (architecture == "rats")
    for beside, named in ({}, []), (classifier, ["head (2 tensors)"]):
        torch.save(vit | beside, tmp_path / "vit.pth")
        _, initial = start(tmp_path / "vit.pth", **fields)
        lines = [line for line in initial.lines if line.startswith("not taken: ")]
        expected = "; ".join([*cls, *named])
        assert lines == [f"not taken: {expected}"] * bool(expected)
        assert "head (random)" in said(initial)


@pytest.mark.parametrize("fields", [{}, {"model__architecture": "vit"}])
def test_our_own_export_gives_back_the_state_to_the_last_bit(fields, tmp_path):
    config, parts = export(tmp_path / "export", **fields)
    _, initial = start(tmp_path / "export" / "checkpoint.pth", **fields)
    assert initial.taken == ["backbone", "head"]
    for name in ("student", "teacher"):
        assert_same(side(initial, name), parts[name])
    np.testing.assert_array_equal(initial.arrays["center"], parts["center"])


def test_a_run_gives_back_its_state_and_the_next_step_is_the_same(run_folder):
    """With the optimizer of the run that never stopped: loss and all parameters, to the bit."""
    config = tiny_config()
    dino = make_dino(config, images=40)
    _, initial = start(run_folder)
    parts = restore_parts(run_folder, ["student", "teacher", "center"]).state
    fresh = jax.jit(dino.init, static_argnums=0)(0)
    never_stopped = jax.tree.map(lambda x: x, fresh | parts)
    continued = initial.into(fresh)
    for name in ("student", "teacher"):
        assert_same(jax.device_get(continued[name]), jax.device_get(parts[name]))
    rng = np.random.default_rng(0)
    crops = {"global": rng.random((4, 2, 16, 16, 3)), "local": rng.random((4, 2, 8, 8, 3))}
    crops = {name: x.astype(np.float32) for name, x in crops.items()}
    step = jax.jit(dino.step)
    for _ in range(2):
        (never_stopped, was), (continued, now) = (
            step(state, crops) for state in (never_stopped, continued)
        )
        assert_same(jax.device_get(was), jax.device_get(now))
    jax.tree.map(np.testing.assert_array_equal, never_stopped, continued)


def test_a_rats_with_other_registers_takes_the_rest(run_folder):
    _, initial = start(run_folder, model__registers_per_head=4)
    assert "taken: backbone except registers, head, center" in said(initial)
    assert "not taken: its 6 registers" in said(initial)
    assert "new: registers (random, since the weights have no [CLS])" in said(initial)
