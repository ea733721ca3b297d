"""libtpu, the TPU's compiler, on machines without a TPU.

JAX loads libtpu at its start wherever it is installed. Without a TPU it then writes three lines
that look like errors, unless it finds in the environment what a TPU's machine would have there.
"""

import importlib.util
import os

SETTINGS = {
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # any will do
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def quiet_libtpu() -> None:
    """To be called after `import jax`, before JAX starts its devices, and after `find_place`, which
    reads the same variables."""
    # JAX sets this one when it finds no TPU on the bus.
    if "TPU_SKIP_MDS_QUERY" in os.environ and importlib.util.find_spec("libtpu"):
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
