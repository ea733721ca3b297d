"""Four devices on any machine, so that what a mesh must not change is tested everywhere."""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=4"
    + " --xla_backend_optimization_level=0"  # halves the time that compiling takes
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
