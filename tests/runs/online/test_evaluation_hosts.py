"""Two processes come to the figures of one."""

import json

import pytest

from rats_jax.runs.events import Events
from tests.processes import two_hosts
from tests.runs.online.evaluated import evaluated, measured

pytestmark = pytest.mark.processes

FIELDS = {"model__heads": 4, "evaluation__images": 19}
HOST = """
import json, sys
from pathlib import Path
import jax

if __name__ == "__main__":
    host, address, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, host)
    from rats_jax.runs.events import Events
    from tests.runs.online.evaluated import evaluated, measured
    from tests.runs.online.test_evaluation_hosts import FIELDS

    config = evaluated(**FIELDS)
    config.mesh.update(data=int(sys.argv[4]), fsdp=1, tensor=int(sys.argv[5]))
    found = measured(config, Events(folder), devices=4)
    (folder / f"told.{host}").write_text(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4, 1), (1, 4)])
def test_two_processes_come_to_the_figures_of_one(tmp_path, sizes):
    script = tmp_path / "host.py"
    script.write_text(HOST)
    two_hosts(script, tmp_path, *sizes)
    first, second = (json.loads((tmp_path / f"told.{host}").read_text()) for host in range(2))
    assert first == second
    assert first == pytest.approx(
        measured(evaluated(**FIELDS), Events(tmp_path)), rel=1e-4, abs=1e-5
    )
