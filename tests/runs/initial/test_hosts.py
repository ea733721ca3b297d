"""Two processes that start from weights: they take the same, and notice if they do not."""

import shutil

import pytest

from tests.processes import two_hosts
from tests.torch_export.test_dino import export

pytestmark = pytest.mark.processes

SCRIPT = """
import sys
from pathlib import Path

host, address, run, same, other = int(sys.argv[1]), *sys.argv[2:]
import jax
jax.distributed.initialize(address, 2, host, initialization_timeout=60)
import numpy as np
from flax import traverse_util
from rats_jax.assemble import make_dino, make_mesh
from rats_jax.errors import UserError
from rats_jax.runs.programs import abstract_state
from tests.runs.initial.starts import start


def zeros(x):
    return jax.make_array_from_callback(
        x.shape, x.sharding, lambda index: np.zeros(x.shape, x.dtype)[index]
    )


shape = {"mesh__data": 1, "mesh__fsdp": 4, "model__registers_per_head": 4}
for checkpoint in (run, same):
    config, initial = start(checkpoint, init__registers="kmeans", init__images=20, **shape)
    dino, mesh = make_dino(config, images=40), make_mesh(config)
    state = jax.tree.map(zeros, abstract_state(dino, 0, mesh))
    state = traverse_util.flatten_dict(initial.into(state), sep="/")
    assert initial.arrays["student/backbone/registers"].shape == (3, 4, 24)
    for name, array in initial.arrays.items():
        assert not state[name].is_fully_addressable
        for shard in state[name].addressable_shards:
            np.testing.assert_array_equal(shard.data, array[shard.index], err_msg=name)
config, initial = start(other if host else same, **shape)
try:
    initial.into(traverse_util.unflatten_dict(state, sep="/"))
except UserError as error:
    assert host == 1 and "are not those of process 0" in str(error)
else:
    assert host == 0
"""


def test_two_processes_take_the_same_onto_one_mesh(run_folder, tmp_path):
    export(tmp_path / "same", model__architecture="vit")
    shutil.copytree(tmp_path / "same", tmp_path / "other")
    other = tmp_path / "other" / "model.safetensors"
    content = bytearray(other.read_bytes())
    content[-2] ^= 1  # in the last tensor, which is taken
    other.write_bytes(content)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    two_hosts(script, run_folder, tmp_path / "same", tmp_path / "other")
