"""Some steps of training on a mesh of eight fake devices, run as a program of its own.

python -m tests.mask_head.eight_devices DATA,FSDP,TENSOR ACCUMULATION OUT.npz
"""

import os
import sys

import numpy as np

from tests.compiled import COMPILE_FAST

STEPS = 3


def main(mesh: str, accumulation: str, out: str) -> None:
    import jax

    from rats_jax.parallel.mesh import batch_sharding, make_mesh, on_mesh, replicated
    from rats_jax.parallel.rules import state_shardings
    from tests.mask_head.tiny import (
        RATS,
        instance_batch,
        make_linear_head,
        make_mask_head,
        semantic_batch,
    )

    assert jax.device_count() == 8
    sizes = tuple(map(int, mesh.split(",")))
    names = ("data", "fsdp", "tensor")
    devices = jax.devices()[: int(np.prod(sizes))]
    on = make_mesh(**dict(zip(names, sizes, strict=True)), devices=devices)
    options = {**RATS, "width": 32, "heads": 8, "parallel": "separate"}
    found = {}
    for name, make, batch in (
        ("semantic", make_mask_head, semantic_batch(16)),
        ("instances", make_mask_head, instance_batch(16)),
        ("linear", make_linear_head, semantic_batch(16)),
    ):
        method = make(options, accumulation=int(accumulation), drop_path=0.3)
        shardings = state_shardings(on, jax.eval_shape(method.init, 0))

        def step(state, batch, method=method):
            with on_mesh(on):
                return method.step(state, batch)

        state = jax.tree.map(np.asarray, jax.jit(method.init, static_argnums=0)(0))
        state = jax.device_put(state, shardings)
        step = jax.jit(step, donate_argnums=0, out_shardings=(shardings, replicated(on)))
        batch = jax.device_put(batch, batch_sharding(on))
        history = []
        for _ in range(STEPS):
            state, metrics = step(state, batch)
            history.append({key: float(x) for key, x in metrics.items()})
        for key in history[0]:
            found[f"{name}/{key}"] = [metrics[key] for metrics in history]
    np.savez(out, **found)


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {COMPILE_FAST}"
    main(*sys.argv[1:])
