"""Failures of devices and memory that the user can fix, reported in one line each.

JAX raises its own errors for these, at any point in the program: a device that is not available, or
too little memory. All other errors keep their traceback.
"""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rats_jax.errors import UserError

TRAIN_SMALLER = (
    "lower config.optimizer.batch_size; or keep the batch and compute it in parts "
    "(config.optimizer.accumulation) or keep less for the backward pass (config.model.remat=dots); "
    "rats plan with the same flags finds what fits"
)

FINETUNE_SMALLER = (
    "lower config.optimizer.batch_size or config.data.crop; or keep the batch and compute it in "
    "parts (config.optimizer.accumulation), or keep less for the backward pass "
    "(config.model.remat=full)"
)

#: RESOURCE_EXHAUSTED alone can also mean that a message is too long.
_OUT_OF_MEMORY = re.compile(
    "out of memory|OUT_OF_MEMORY|ALLOC_FAILED|RESOURCE_EXHAUSTED.*(memory|alloc|hbm)", re.IGNORECASE
)


@contextmanager
def explained(out_of_memory: str) -> Iterator[None]:
    """Turns such failures of the block into UserError. out_of_memory: what the user can change."""
    try:
        yield
    except Exception as error:
        if (reason := _no_device(error)) or (reason := _no_memory(error, out_of_memory)):
            raise UserError(reason) from error
        raise


def _no_device(error: Exception) -> str | None:
    """The message if JAX could not start, for example with JAX_PLATFORMS=cuda without CUDA."""
    reason = re.sub(r" ?\(set JAX_PLATFORMS=.*", "", _first_line(error))
    if "jaxlib" in reason and "incompatible" in reason:
        return f"JAX cannot be imported ({reason}): install requirements.txt again"
    if "Unable to initialize backend" not in reason and not _is_bare_assertion_without_devices(
        error
    ):
        return None
    reason = f" ({reason})" if reason else ""
    asked = os.environ.get("JAX_PLATFORMS")
    if not asked:
        return f"JAX cannot start its devices{reason}: repair its installation, or its drivers"
    return (
        f"JAX cannot start on JAX_PLATFORMS={asked}{reason}: unset JAX_PLATFORMS to use the "
        "devices that JAX finds, or install requirements-cuda.txt for NVIDIA GPUs, "
        "requirements-tpu.txt for TPUs"
    )


def _is_bare_assertion_without_devices(error: Exception) -> bool:
    """Whether this is the error of JAX for a known platform that has no device."""
    if not isinstance(error, AssertionError) or str(error) or "jax" not in sys.modules:
        return False
    try:
        return not sys.modules["jax"].devices()
    except Exception:
        return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or this machine, has too little memory."""
    # By name, since this module must not import JAX.
    is_jax = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    return _is_of_this_machine(error) or bool(is_jax and _OUT_OF_MEMORY.search(str(error)))


def _is_of_this_machine(error: BaseException) -> bool:
    """Whether this machine, or a limit on this process, has too little memory. Python raises three
    other errors for it than MemoryError: at a fork or a mapping, a new thread, and an import."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and "can't start new thread" in str(error))
        or (isinstance(error, ImportError) and "failed to map segment" in str(error))
    )


def _no_memory(error: Exception, remedy: str) -> str | None:
    if not is_out_of_memory(error):
        return None
    text = str(error)
    if _is_of_this_machine(error):
        asked = f" ({_first_line(error)})" if text else ""
        return f"out of memory on this machine{asked}: {remedy}"
    if found := re.search(r"allocat\w* ([\d,]+) bytes", text):
        asked = f" (an allocation of {int(found[1].replace(',', '')) / 2**30:.2f} GiB failed)"
    elif found := re.search(r"allocat\w* ([\d.]+[KMGT])", text):
        asked = f" (an allocation of {found[1]}iB failed)"
    else:
        asked = ""
    return f"out of memory on the device{asked}: {remedy}; or check what else uses its memory"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")
