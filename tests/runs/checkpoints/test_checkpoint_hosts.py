"""Two processes decide alike about a checkpoint."""

import jax.numpy as jnp
import numpy as np
import pytest

from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from tests.processes import two_hosts
from tests.runs.checkpoints.checkpoints import abstract, assert_equal

pytestmark = pytest.mark.processes

HOST = """
import sys
from pathlib import Path
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from rats_jax.parallel.mesh import make_mesh

if __name__ == "__main__":
    host, address, workdir = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, host)
    from rats_jax.parallel.distributed import agree
    from rats_jax.runs.checkpoints.checkpoint import Checkpoints

    sharding = NamedSharding(make_mesh(data=1, fsdp=4), PartitionSpec("fsdp"))
    whole = NamedSharding(sharding.mesh, PartitionSpec())
    numbers = np.random.default_rng(0).normal(size=(8, 1000)).astype(np.float32)
    # gloo writes to the standard output, in the middle of lines
    told = (workdir / f"told.{host}").open("w")

    def state(step):
        split = jax.make_array_from_callback((8, 1000), sharding, lambda i: numbers[i] + step)
        same = jax.make_array_from_callback((), whole, lambda i: np.int32(step))
        return {"kernel": split, "step": same}

    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(0)
    )
    with Checkpoints(workdir, keep=3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step), about={"host": 0}, metrics={"loss": 1.0})
        checkpoints.finish()
        if host == 0:
            for file in (workdir / "checkpoints/3/state/ocdbt.process_1/d").iterdir():
                file.unlink()
            (workdir / "checkpoints/2/meta/metadata").write_text("")
        agree()
        found = checkpoints.restore(like)
        for shard in found.state["kernel"].addressable_shards:
            np.testing.assert_array_equal(shard.data, numbers[shard.index] + 1)
        print(found.step, found.damaged, file=told)
        checkpoints.save(3, state(3), about={}, metrics={})
        checkpoints.finish()
        found = checkpoints.restore(like)
        print(found.step, found.damaged, checkpoints.steps(), file=told)
"""


def test_two_processes_pass_over_what_only_one_of_them_cannot_read(tmp_path):
    script, workdir = tmp_path / "host.py", tmp_path / "run"
    script.write_text(HOST)
    workdir.mkdir()
    two_hosts(script, workdir)
    told, same = ((workdir / f"told.{host}").read_text().splitlines() for host in range(2))
    assert told == same
    assert told[0].startswith("1 [(3, 'kernel: ") and "(2, 'meta/metadata differs" in told[0]
    assert told[1:] == ["3 [] [1, 3]"]
    assert sorted(p.name for p in (workdir / "damaged").iterdir()) == ["2", "3"]
    # And on one device.
    numbers = np.random.default_rng(0).normal(size=(8, 1000)).astype(np.float32)
    like = {"kernel": jnp.zeros((8, 1000)), "step": jnp.int32(0)}
    with Checkpoints(workdir, read_only=True) as checkpoints:
        assert_equal(checkpoints.restore(abstract(like)).state["kernel"], numbers + 3)
