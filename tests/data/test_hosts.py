"""Hosts that train together hold, between them, the batch that one host holds."""

import numpy as np
import pytest

from tests.data.test_pipeline import batches
from tests.processes import two_hosts

pytestmark = pytest.mark.processes

HOST = """
import sys
import jax, numpy as np
from tests.data.test_pipeline import SAMPLES, Numbered
from rats_jax.data.device import device_batches, rows_here
from rats_jax.data.pipeline import open_batches
from rats_jax.parallel.mesh import batch_sharding, make_mesh

if __name__ == "__main__":
    host, address, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, host)
    from rats_jax.parallel.distributed import agree
    assert agree({"word": "of host " + str(host)} if host == 0 else None) == {"word": "of host 0"}
    sharding = batch_sharding(make_mesh())
    stream = open_batches(
        Numbered(), samples=SAMPLES, seed=3, batch_size=8, start_step=1, workers=1, threads=1,
        rows=rows_here(sharding, 8),
    )
    found = {}
    with device_batches(stream, sharding, batch_size=8) as ready:
        for step in range(3):
            samples, _ = next(ready)
            assert samples["global"].shape == (8, 2, 16, 16, 3)
            for shard in samples["global"].addressable_shards:
                found[f"{step} {shard.index[0].start}"] = np.asarray(shard.data)
    np.savez(f"{folder}/{host}.npz", **found)
"""


def test_two_hosts_of_two_devices_share_the_global_batch(tmp_path):
    script = tmp_path / "host.py"
    script.write_text(HOST)
    two_hosts(script, tmp_path)
    expected = batches(3, start_step=1)
    shares = [np.load(tmp_path / f"{i}.npz") for i in range(2)]
    assert not set(shares[0]) & set(shares[1])
    found = {name: share[name] for share in shares for name in share}
    assert len(found) == 3 * 4
    for name, part in found.items():
        step, first = map(int, name.split())
        np.testing.assert_array_equal(part, expected[step]["global"][first : first + len(part)])
