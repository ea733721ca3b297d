"""Thirty whole training steps beside the official semantics in PyTorch, both in float32.

The schedules of a real run, compressed to ten epochs of three steps: warm-up, the last layer's
freeze and thaw, the teacher temperature's warm-up and clipping all happen on the way.

Two choices keep rounding from being mistaken for a difference. Adam divides a gradient by its own
size, so where the true gradient is exactly 0 it turns rounding noise into steps:
  - the networks start from random biases and norms, not from the usual zeros, at which whole
    tensors have next to no gradient;
  - the keys' third of each fused qkv bias is left out of the comparison: it adds the same q.b to
    every logit of a softmax, so its gradient is 0 and no output depends on it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from rats_jax.dino.network import make_network
from rats_jax.dino.optimizer import clip_by_tensor, init_optimizer
from rats_jax.dino.schedules import Schedules
from rats_jax.dino.step import DINO
from rats_jax.models import RATS, DINOHead, ViT
from tests.torch_reference import dino as reference
from tests.torch_reference import models as reference_models
from tests.torch_reference.weights import load, randomised, to_torch

TOLERANCE = 1e-5  # ten times the rounding measured
EPOCHS, STEPS_PER_EPOCH = 10, 3
WIDTH, PROTOTYPES = 48, 64
SIZE = {"width": WIDTH, "depth": 2, "heads": 3, "image_size": 32}
HEAD = {"prototypes": PROTOTYPES, "hidden": 64, "bottleneck": 32}
PEAK, END, WARMUP_EPOCHS = 2e-3, 1e-5, 2
FREEZE_EPOCHS, TEMPERATURE_EPOCHS = 3, 4
CLIP = 0.005  # in the midst of this small network's gradient norms


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def our_method(backbone: str, *, norm_last_layer: bool, clip: float) -> DINO:
    make = {
        "rats": lambda rngs: RATS(**SIZE, registers_per_head=4, patch=8, rngs=rngs),
        "vit": lambda rngs: ViT(**SIZE, plain_registers=2, patch=8, rngs=rngs),
    }[backbone]
    network, init_network = make_network(
        make,
        lambda rngs: DINOHead(width=WIDTH, **HEAD, norm_last_layer=norm_last_layer, rngs=rngs),
        heads=SIZE["heads"],
    )
    schedules = Schedules(
        steps=EPOCHS * STEPS_PER_EPOCH,
        steps_per_epoch=STEPS_PER_EPOCH,
        peak_learning_rate=PEAK,
        end_learning_rate=END,
        warmup_steps=WARMUP_EPOCHS * STEPS_PER_EPOCH,
        weight_decay_start=0.04,
        weight_decay_end=0.4,
        momentum_start=0.9,  # lower than in a real run: the teacher must move in thirty steps
        momentum_end=1.0,
        temperature_start=0.04,
        temperature_end=0.07,
        temperature_warmup_epochs=TEMPERATURE_EPOCHS,
        freeze_last_layer_steps=FREEZE_EPOCHS * STEPS_PER_EPOCH,
    )
    return DINO(
        network=network,
        init_network=init_network,
        schedules=schedules,
        clip=clip,
        student_temperature=0.1,
        center_momentum=0.9,
    )


def random_state(method: DINO) -> dict:
    """The state before the first step, but for random parameters."""
    shapes = jax.eval_shape(lambda: method.init(seed=0))
    student = randomised(shapes["student"], seed=1)
    return {
        "step": jnp.int32(0),
        "student": student,
        "teacher": student,
        "optimizer": init_optimizer(student),
        "center": jnp.zeros(shapes["center"].shape),
        "rng": jax.random.key_data(jax.random.key(0)),
        "skipped": jnp.zeros(2, jnp.int32),
    }


def official_trainer(
    backbone: str, params: dict, *, norm_last_layer: bool, clip: float
) -> reference.OfficialTrainer:
    def wrapped() -> reference.MultiCropWrapper:
        body = {
            "rats": lambda: reference_models.RATS(**SIZE, per_head=4, patch_size=8),
            "vit": lambda: reference_models.ViT(**SIZE, registers=2, patch_size=8),
        }[backbone]()
        head = reference.DINOHead(WIDTH, **HEAD, norm_last_layer=norm_last_layer)
        return reference.MultiCropWrapper(body, head)

    student = wrapped()
    load(student, params)
    run = {"epochs": EPOCHS, "steps_per_epoch": STEPS_PER_EPOCH}
    return reference.OfficialTrainer(
        student=student,
        teacher=wrapped(),
        learning_rate=reference.cosine_scheduler(PEAK, END, **run, warmup_epochs=WARMUP_EPOCHS),
        weight_decay=reference.cosine_scheduler(0.04, 0.4, **run),
        momentum=reference.cosine_scheduler(0.9, 1.0, **run),
        teacher_temperature=reference.teacher_temperatures(
            0.04, 0.07, warmup_epochs=TEMPERATURE_EPOCHS, epochs=EPOCHS
        ),
        steps_per_epoch=STEPS_PER_EPOCH,
        freeze_last_layer_epochs=FREEZE_EPOCHS,
        clip=clip,
    )


def random_crops(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """4 images: [4, 2, 32, 32, 3] global and [4, 3, 16, 16, 3] local crops."""
    shapes = {"global": (4, 2, 32, 32, 3), "local": (4, 3, 16, 16, 3)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def as_official(crops: dict[str, np.ndarray]) -> list[torch.Tensor]:
    """[global 0, global 1, local 0, ...], each [B, 3, h, w]."""
    return [
        torch.tensor(crop).permute(0, 3, 1, 2)
        for crops in crops.values()
        for crop in crops.swapaxes(0, 1)
    ]


def comparable(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without its null direction (see the module's docstring)."""
    if name.endswith("attn.qkv.bias"):
        query, _, value = tensor.chunk(3)
        return torch.cat((query, value))
    return tensor


def assert_states_agree(params: dict, module: torch.nn.Module, *, when: str) -> None:
    expected = dict(module.named_parameters())
    actual = to_torch(params)
    fixed = set(expected) - set(actual)
    assert not set(actual) - set(expected)
    assert fixed <= {"head.last_layer.weight_g"}
    assert all((expected[name] == 1).all() for name in fixed)
    for name in actual:
        a, b = comparable(name, actual[name]), comparable(name, expected[name].detach())
        error = float((a - b).norm() / b.norm())
        assert error < TOLERANCE, f"{when}: {name} is off by {error:.1e} of its norm"


@pytest.mark.parametrize(
    ("backbone", "norm_last_layer", "clip"), [("rats", True, CLIP), ("vit", False, 0.0)]
)
def test_thirty_steps(backbone, norm_last_layer, clip):
    method = our_method(backbone, norm_last_layer=norm_last_layer, clip=clip)
    state = random_state(method)
    trainer = official_trainer(
        backbone, state["student"], norm_last_layer=norm_last_layer, clip=clip
    )
    start = to_torch(state["student"])

    step = jax.jit(method.step)
    rng = np.random.default_rng(2)
    norms = {name: [] for name in start}
    for i in range(EPOCHS * STEPS_PER_EPOCH):
        crops = random_crops(rng)
        state, metrics = step(state, crops)
        loss = trainer.step(as_official(crops))

        assert abs(float(metrics["loss"]) - loss) < TOLERANCE * loss, i
        center = trainer.loss.center.numpy()
        error = np.linalg.norm(state["center"] - center) / np.linalg.norm(center)
        assert error < TOLERANCE, f"step {i}: center is off by {error:.1e}"
        assert_states_agree(state["student"], trainer.student, when=f"student, step {i}")
        assert_states_agree(state["teacher"], trainer.teacher, when=f"teacher, step {i}")
        for name, seen in norms.items():
            seen.append(trainer.gradient_norms[name])
        frozen = torch.equal(
            start["head.last_layer.weight_v"], trainer.student.head.last_layer.weight_v
        )
        assert frozen == (i < FREEZE_EPOCHS * STEPS_PER_EPOCH)

    assert int(state["step"]) == trainer.iteration == 30
    if clip:  # most tensors of each layer were clipped in some steps and not in others
        for layer in ("backbone.blocks.0.", "backbone.blocks.1."):
            seen = [norms[name] for name in norms if name.startswith(layer)]
            assert sum(min(norm) < clip < max(norm) for norm in seen) > len(seen) / 2


def test_clipping_is_by_torch_tensor():
    """Stacked layers apart; a layer's q, k and v together, as in its fused qkv."""
    method = our_method("rats", norm_last_layer=True, clip=0.0)
    gradients = randomised(jax.eval_shape(lambda: method.init(seed=0))["student"], seed=1)
    blocks = gradients["backbone"]["blocks"]
    blocks["mlp"]["fc1"]["kernel"][1] *= 100  # one layer's gradient may not scale another's
    expected = to_torch(gradients)
    norms = sorted(tensor.norm() for tensor in expected.values())
    clip = float(norms[len(norms) // 2])
    for tensor in expected.values():
        if (coefficient := clip / (tensor.norm() + 1e-6)) < 1:
            tensor *= coefficient

    actual = to_torch(clip_by_tensor(gradients, clip))
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-5, atol=0)
