"""Too little memory for PyTorch, as one line that says what to change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rats_jax.errors import UserError

SMALLER = (
    "lower config.optimizer.batch_size; or keep the batch and compute it in parts "
    "(config.optimizer.accumulation); or lower config.data.crop or config.loss.points"
)
SCORE_SMALLER = "lower config.evaluation.short_side or config.evaluation.long_side"


@contextmanager
def explained_memory(remedy: str = SMALLER) -> Iterator[None]:
    """Turns an error of PyTorch for too little memory into a UserError. remedy: what to change."""
    try:
        yield
    except RuntimeError as error:  # also torch.OutOfMemoryError
        if not is_out_of_memory(error):
            raise
        where = "the device" if isinstance(error, torch.OutOfMemoryError) else "this machine"
        raise UserError(f"out of memory on {where}: {remedy}") from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the GPU or the machine has too little memory."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
