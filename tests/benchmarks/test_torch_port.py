"""The PyTorch port that the benchmark runs against trains as rats_jax does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from benchmarks.torch_port import Trainer
from rats_jax.assemble import make_dino
from rats_jax.config import default_config
from rats_jax.dino.optimizer import init_optimizer
from tests.torch_reference.weights import load, randomised, to_torch

TOLERANCE = 1e-4
BATCH, STEPS = 2, 3


def small_config(architecture: str, *, norm_last_layer: bool, clip: float):
    config = default_config()
    config.compute_dtype = "float32"
    config.model.architecture = architecture
    config.model.update({"width": 48, "depth": 2, "heads": 3, "patch": 8})
    config.model.update({"registers_per_head": 4, "plain_registers": 2})
    config.head.update({"hidden": 64, "bottleneck": 32, "prototypes": 96})
    config.head.norm_last_layer = norm_last_layer
    config.crops.update({"global_size": 32, "local_size": 16, "local_crops": 3})
    config.optimizer.update({"batch_size": BATCH, "epochs": 20.0, "warmup_epochs": 1.0})
    config.optimizer.update({"learning_rate": 0.1, "clip": clip})
    return config


def random_crops(config, *, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = {
        "global": (2, config.crops.global_size),
        "local": (config.crops.local_crops, config.crops.local_size),
    }
    return {
        name: rng.standard_normal((BATCH, views, size, size, 3)).astype(np.float32)
        for name, (views, size) in sizes.items()
    }


@pytest.mark.parametrize(
    ("architecture", "norm_last_layer", "clip"),
    [("rats", False, 0.0), ("rats", True, 0.02), ("vit", True, 0.0)],
)
def test_the_port_takes_the_same_steps(architecture, norm_last_layer, clip):
    config = small_config(architecture, norm_last_layer=norm_last_layer, clip=clip)
    dino = make_dino(config, images=BATCH)  # an epoch is a step: step 0 is frozen, with rate 0
    shapes = jax.eval_shape(lambda: dino.init(0))
    # A fresh network has tensors of hardly any gradient, whose rounding Adam makes steps of.
    student = randomised(shapes["student"], seed=1)
    state = {
        "step": jnp.int32(0),
        "student": student,
        "teacher": randomised(shapes["student"], seed=2),
        "optimizer": init_optimizer(student),
        "center": jnp.zeros(shapes["center"].shape),
        "rng": jax.random.key_data(jax.random.key(0)),
        "skipped": jnp.zeros(2, jnp.int32),
    }
    port = Trainer(config.to_dict(), device="cpu", autocast=False, compiled=False)
    load(port.student, state["student"])
    load(port.teacher, state["teacher"])
    start = to_torch(state["student"])

    step = jax.jit(dino.step)
    with jax.default_matmul_precision("highest"):
        for i in range(STEPS):
            crops = random_crops(config, seed=i)
            state, metrics = step(state, crops)
            loss = port.step(
                {name: torch.tensor(x).permute(0, 1, 4, 2, 3) for name, x in crops.items()},
                learning_rate=float(metrics["learning_rate"]),
                weight_decay=float(metrics["weight_decay"]),
                momentum=float(metrics["teacher_momentum"]),
                temperature=float(metrics["teacher_temperature"]),
                last_layer_frozen=bool(dino.schedules.last_layer_frozen(i)),
            )
            assert float(loss) == pytest.approx(float(metrics["loss"]), rel=TOLERANCE), i

    np.testing.assert_allclose(port.center, state["center"][0], atol=TOLERANCE)
    for theirs, ours in [(port.student, state["student"]), (port.teacher, state["teacher"])]:
        theirs = theirs.state_dict()
        for name, value in to_torch(ours).items():
            rows = slice(None)
            if name.endswith("qkv.bias"):  # the keys' bias moves no softmax: its gradient is noise
                rows = torch.cat([torch.arange(48), torch.arange(96, 144)])
            error = (theirs[name][rows] - value[rows]).norm()
            assert error <= TOLERANCE * value[rows].norm(), (name, float(error))
    moved = [name for name, value in port.student.state_dict().items() if name in start]
    assert all((port.student.state_dict()[n] != start[n]).any() for n in moved)
