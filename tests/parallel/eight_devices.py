"""Five steps of training on a mesh of eight fake devices, run as a program of its own.

python -m tests.parallel.eight_devices DATA,FSDP,TENSOR ACCUMULATION OUT.npz
"""

import os
import sys

import numpy as np

from tests.compiled import COMPILE_FAST

BATCH, STEPS = 32, 5


def main(mesh: str, accumulation: str, out: str) -> None:
    import jax

    from rats_jax.assemble import make_dino, make_mesh
    from rats_jax.parallel.mesh import batch_sharding
    from rats_jax.runs.pretraining_programs import make_train_step
    from rats_jax.runs.programs import abstract_state
    from tests.runs.tiny import tiny_config

    assert jax.device_count() == 8
    config = tiny_config(model__width=32, model__heads=8, model__drop_path=0.3)
    config.optimizer.update(batch_size=BATCH, accumulation=int(accumulation))
    sizes = tuple(map(int, mesh.split(",")))
    config.mesh.update(dict(zip(("data", "fsdp", "tensor"), sizes, strict=True)))
    on = make_mesh(config, jax.devices()[: int(np.prod(sizes))])
    dino = make_dino(config, images=10 * BATCH)
    step = make_train_step(dino, config, on)

    state = jax.tree.map(np.asarray, dino.init(0))
    # From random biases and norms: Adam turns the rounding of gradients that are 0 into steps.
    draw = np.random.default_rng(1)
    state["student"] = jax.tree.map(
        lambda x: x + np.float32(0.05) * draw.standard_normal(x.shape, np.float32), state["student"]
    )
    state["teacher"] = state["student"]
    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(dino, 0, on))
    state = jax.device_put(state, shardings)

    losses = []
    for _ in range(STEPS):
        samples = {
            "global": draw.integers(0, 256, (BATCH, 2, 16, 16, 3), np.uint8),
            "local": draw.integers(0, 256, (BATCH, 2, 8, 8, 3), np.uint8),
            "flips": draw.random((BATCH, 4)) < 0.5,
        }
        state, metrics = step(state, jax.device_put(samples, batch_sharding(on)))
        losses.append(float(metrics["loss"]))
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x)
        for path, x in jax.tree_util.tree_leaves_with_path(state)
    }
    np.savez(out, losses=losses, **arrays)


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {COMPILE_FAST}"
    main(*sys.argv[1:])
