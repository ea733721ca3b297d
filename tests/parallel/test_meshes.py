"""No mesh and no number of micro-batches changes what is computed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]


def train(folder: Path, mesh: tuple[int, ...], accumulation: int) -> dict[str, np.ndarray]:
    out = folder / "out.npz"
    arguments = [",".join(map(str, mesh)), str(accumulation), str(out)]
    subprocess.run(
        [sys.executable, "-m", "tests.parallel.eight_devices", *arguments], cwd=ROOT, check=True
    )
    return dict(np.load(out))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(tmp_path_factory.mktemp("alone"), (1, 1, 1), 1)


@pytest.mark.parametrize(
    ("mesh", "accumulation"),
    [
        ((8, 1, 1), 1),
        ((2, 4, 1), 2),
        ((1, 1, 8), 1),
        ((2, 2, 2), 4),
        # the rest of the grid
        *(
            pytest.param(mesh, accumulation, marks=pytest.mark.slow)
            for mesh, done in (((8, 1, 1), 1), ((2, 4, 1), 2), ((1, 1, 8), 1), ((2, 2, 2), 4))
            for accumulation in (1, 2, 4)
            if accumulation != done
        ),
    ],
)
def test_losses_and_parameters_are_those_of_one_device(tmp_path, alone, mesh, accumulation):
    ours = train(tmp_path, mesh, accumulation)
    np.testing.assert_allclose(ours.pop("losses"), alone["losses"], rtol=1e-5)
    assert ours.keys() | {"losses"} == alone.keys()
    for name, x in ours.items():
        expected = alone[name]
        if name.endswith("qkv/bias"):  # that of the keys adds the same to every logit: no gradient
            x, expected = x[:, ::2], expected[:, ::2]
        np.testing.assert_allclose(
            x, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(initial=0), err_msg=name
        )


def test_the_run_that_is_compared_with_learns_something(alone):
    assert np.ptp(alone["losses"]) > 0.1
