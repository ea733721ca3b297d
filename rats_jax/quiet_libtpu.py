"""Silences libtpu, the TPU's compiler, on machines without a TPU.

JAX loads libtpu at its start if it is installed. Without a TPU, libtpu then prints three lines that
look like errors, unless the environment has the variables that a TPU machine sets.
"""

import importlib.util
import os

SETTINGS = {
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # any type works
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def quiet_libtpu() -> None:
    """Sets the variables. Call it after `import jax` and after `find_place`, which reads the same
    variables, but before JAX starts its devices."""
    # JAX sets this one when it finds no TPU on the bus.
    if "TPU_SKIP_MDS_QUERY" in os.environ and importlib.util.find_spec("libtpu"):
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
