"""Processes that tests start or look for."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.compiled import COMPILE_FAST

ROOT = Path(__file__).parents[1]


def two_hosts(script: Path, *arguments: object) -> list[tuple[str, str]]:
    """Runs a script twice at once, with two devices each: `script HOST ADDRESS *arguments`, HOST 0
    or 1, ADDRESS for `jax.distributed.initialize`. Both must end well; returns output and error."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {COMPILE_FAST}",
        "PYTHONPATH": str(ROOT),
    }
    hosts = [
        subprocess.Popen(
            [sys.executable, script, str(host), address, *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in range(2)
    ]
    told = [host.communicate(timeout=120) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], told
    return told


def session(leader: int) -> dict[int, str]:
    """Command lines of the living processes of a session, by process id (Linux)."""
    living = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
            if int(of) == leader and state != "Z":
                living[int(stat.parent.name)] = (stat.parent / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            pass
    return living
