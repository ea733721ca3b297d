"""Four devices on any machine, so that what a mesh must not change is tested everywhere."""

import os
import signal

import pytest

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=4"
    + " --xla_backend_optimization_level=0"  # halves the time that compiling takes
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")


@pytest.fixture
def ctrl_c():
    """Processes that the test starts hear Ctrl-C: a shell's background jobs, such as the tests may
    be, are deaf to it, and what they start as well."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
