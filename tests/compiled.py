"""What tests compile: quickly, and kept in the clone from one run to the next."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".cache" / "tests" / "compiled"  # ignored by git
LIMIT = 2**30  # bytes
#: Flags of XLA: a training step compiles in a third of the time and is as fast, at these sizes.
COMPILE_FAST = (
    "--xla_backend_optimization_level=0"
    " --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
)


def keep_compiled() -> None:
    """Has this process, and those that it starts, keep what they compile in `FOLDER`, unless
    JAX_COMPILATION_CACHE_DIR names another. Any number of runs may do so at once: what cannot be
    read while another writes it is compiled again."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # not a worker of xdist
        empty_if_larger(FOLDER, LIMIT)
        FOLDER.mkdir(parents=True, exist_ok=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(FOLDER)
    # Also what compiles in a moment: a run compiles some hundred of these.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def empty_if_larger(folder: Path, limit: int) -> None:
    """Programs of code that has changed are never read again, so that the folder only grows."""
    with suppress(FileNotFoundError):  # another run empties it
        if sum(file.stat().st_size for file in folder.glob("*")) > limit:
            shutil.rmtree(folder, ignore_errors=True)
