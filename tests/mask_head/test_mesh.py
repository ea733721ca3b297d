"""No mesh and no number of micro-batches changes what is computed."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from rats_jax.models.linear import Affine
from rats_jax.parallel.mesh import make_mesh
from rats_jax.parallel.rules import axes_of, state_shardings
from tests.mask_head.tiny import RATS, VIT, make_linear_head, make_mask_head

ROOT = Path(__file__).parents[2]


def train(folder: Path, mesh: tuple[int, ...], accumulation: int) -> dict[str, np.ndarray]:
    out = folder / "out.npz"
    arguments = [",".join(map(str, mesh)), str(accumulation), str(out)]
    subprocess.run(
        [sys.executable, "-m", "tests.mask_head.eight_devices", *arguments], cwd=ROOT, check=True
    )
    return dict(np.load(out))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(tmp_path_factory.mktemp("alone"), (1, 1, 1), 1)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("mesh", "accumulation"),
    [
        ((2, 2, 2), 2),
        pytest.param((8, 1, 1), 1, marks=pytest.mark.slow),
        pytest.param((1, 8, 1), 2, marks=pytest.mark.slow),
        pytest.param((1, 1, 8), 4, marks=pytest.mark.slow),
    ],
)
def test_metrics_are_those_of_one_device(tmp_path, alone, mesh, accumulation):
    ours = train(tmp_path, mesh, accumulation)
    assert ours.keys() == alone.keys()
    assert np.ptp(alone["semantic/loss"]) > 0.1
    for name, x in ours.items():
        # The first step has the same parameters; then Adam makes steps of rounding.
        np.testing.assert_allclose(x[0], alone[name][0], rtol=1e-4, err_msg=name)
        if not name.endswith("accuracy"):
            np.testing.assert_allclose(x, alone[name], rtol=2e-2, err_msg=name)


@pytest.mark.parametrize("options", [RATS, VIT], ids=["rats", "vit"])
@pytest.mark.parametrize("make", [make_mask_head, make_linear_head])
def test_every_array_of_the_state_has_a_rule_and_kernels_agree_with_it(make, options):
    method = make(options)
    on = make_mesh(data=1, fsdp=4)
    state = jax.eval_shape(method.init, 0)
    shardings = state_shardings(on, state)
    split = sum(
        x.size
        for x, s in zip(jax.tree.leaves(state), jax.tree.leaves(shardings), strict=True)
        if "fsdp" in s.spec
    )
    assert split > 0.9 * sum(x.size for x in jax.tree.leaves(state))
    decoder = nnx.merge(method.network.decoder, state["student"]["decoder"])
    found = 0
    for path, node in nnx.iter_graph(decoder):
        if isinstance(node, Affine):
            assert axes_of("/".join(map(str, ("decoder", *path, "kernel")))) == node.axes
            found += 1
    assert found == (6 if make is make_mask_head else 1)
