"""Four devices on any machine, so that what a mesh must not change is tested everywhere; and what a
test has compiled, the others and the processes they start need not compile again."""

import os
import signal

import pytest

from tests.compiled import COMPILE_FAST, keep_compiled

pytest_plugins = ["tests.process_guard"]

os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=4", COMPILE_FAST]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
keep_compiled()
# What cannot be kept, or is read while another process writes it, is compiled again; JAX need not
# say so to the tests that read what a process says.
os.environ["PYTHONWARNINGS"] = ",".join(
    ([given] if (given := os.environ.get("PYTHONWARNINGS")) else [])
    + [f"ignore:Error {what} persistent compilation cache entry" for what in ("reading", "writing")]
)


@pytest.fixture
def ctrl_c():
    """Processes that the test starts hear Ctrl-C, and the end of the terminal: a shell's background
    jobs and what nohup starts, such as the tests may be, are deaf to it, and their own as well."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """The workdir of a run, see `make_run`; no test may change it."""
    from tests.runs.untrained import make_run  # JAX must not be imported before the lines above

    return make_run(tmp_path_factory.mktemp("run"))
