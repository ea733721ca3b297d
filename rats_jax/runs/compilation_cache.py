"""Compiled programs, kept for the next start."""

import os
from pathlib import Path

import jax

DEFAULT = Path("~/.cache/rats_jax/compiled")


def keep_compiled_programs(where: str) -> None:
    """Turns JAX's persistent compilation cache on, before anything is compiled.

    where: a folder; "" for none; "auto" for `DEFAULT` on accelerators and none on CPUs, where a
    program is bound to the processor that it was compiled for. JAX_COMPILATION_CACHE_DIR, where it
    is set, stands before "auto".
    """
    if where == "auto":
        if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
            return
        where = "" if jax.default_backend() == "cpu" else str(DEFAULT)
    folder = str(Path(where).expanduser()) if where else None
    jax.config.update("jax_compilation_cache_dir", folder)
