"""Keeps compiled programs for the next start."""

import os

import jax

from rats_jax.errors import UserError
from rats_jax.paths import check_utf8, local_path

DEFAULT = "~/.cache/rats_jax/compiled"


def keep_compiled_programs(where: str) -> None:
    """Turns JAX's persistent compilation cache on, before anything is compiled.

    where: a folder; "" for no cache; "auto" for `DEFAULT` on accelerators and no cache on CPUs,
    where a program only runs on the processor that it was compiled for. If the environment variable
    JAX_COMPILATION_CACHE_DIR is set, it takes precedence over "auto".

    Raises UserError when the folder cannot be made.
    """
    if where == "auto":
        if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
            return
        where = "" if jax.default_backend() == "cpu" else DEFAULT
    if where and "://" not in where:  # JAX writes to buckets itself
        folder = local_path(where)
        check_utf8(folder, "config.run.compilation_cache")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"config.run.compilation_cache {where} cannot be used ({error.strerror}); choose "
                'another folder, or "" for none'
            ) from None
        where = str(folder)
    jax.config.update("jax_compilation_cache_dir", where or None)
