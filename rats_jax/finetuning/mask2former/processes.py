"""Devices and processes of a run, by accelerate, and small values that processes exchange."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedDataParallelKwargs
from torch import distributed

from rats_jax.config.checks import check
from rats_jax.errors import UserError
from rats_jax.voice import speak_as

PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


class Processes:
    """The processes that train together. Each of them has one device.

    Attributes:
      accelerator: accelerate's.
      device: of this process.
      number, count: of this process, from 0, and of all.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator, self.device = accelerator, accelerator.device
        self.number, self.count = accelerator.process_index, accelerator.num_processes
        # Values of the host are exchanged on the host, so that a GPU need not finish its work.
        self._group = distributed.new_group(backend="gloo") if self.count > 1 else None

    @property
    def is_first(self) -> bool:
        return self.number == 0

    def gather(self, value: Any = None) -> list:
        """Waits until all processes have called it, and returns the values of all."""
        if self._group is None:
            return [value]
        values = [None] * self.count
        distributed.all_gather_object(values, value, group=self._group)
        return values

    def agree(self, value: Any = None) -> Any:
        """Waits until all processes have called it, and returns the value of process 0."""
        return self.gather(value)[0]

    def gather_numbers(self, numbers: Sequence[float]) -> np.ndarray:
        """As `gather`, but faster: for float64 [processes, numbers]."""
        own = torch.tensor(numbers, dtype=torch.float64)
        if self._group is None:
            return own[None].numpy()
        values = [torch.empty_like(own) for _ in range(self.count)]
        distributed.all_gather(values, own, group=self._group)
        return torch.stack(values).numpy()

    def rows(self, batch_size: int) -> range:
        """The rows of the global batch that this process has: as many as every other."""
        if batch_size % self.count:
            raise UserError(
                f"config.optimizer.batch_size {batch_size} is not divisible by the "
                f"{self.count} processes: choose a multiple of {self.count}"
            )
        share = batch_size // self.count
        return range(self.number * share, (self.number + 1) * share)

    def about(self) -> str:
        """The devices in words, for the log."""
        what = self.device.type
        if what == "cuda":
            what = torch.cuda.get_device_name(self.device)
        return f"{self.count} x {what}" if self.count > 1 else what


@contextmanager
def open_processes(compute_dtype: str) -> Iterator[Processes]:
    """Joins the other processes that `accelerate launch` or torchrun has started, until the block
    ends.

    JAX, which reads the pretrained weights, stays on the CPU: the GPU belongs to PyTorch. Raises
    UserError for a compute dtype that the device does not have.
    """
    jax.config.update("jax_platforms", "cpu")
    # Parameters without a gradient would be a mistake of the model: they are not looked for.
    kwargs = DistributedDataParallelKwargs(find_unused_parameters=False)
    precision = PRECISIONS[compute_dtype]
    # Without a GPU, accelerate joins other processes only with cpu=True.
    cpu = not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[kwargs])
    processes = Processes(accelerator)
    if processes.count > 1:
        speak_as(processes.number)
        _share_cores()
    try:
        check(
            compute_dtype != "float16" or processes.device.type != "cpu",
            "config.compute_dtype=float16 needs a GPU: choose bfloat16 or float32",
        )
        yield processes
    finally:
        accelerator.end_training()
        AcceleratorState._reset_state(reset_partial_state=True)
        PartialState._reset_state()


def _share_cores() -> None:
    """On CPUs, processes of one machine share its cores, unless OMP_NUM_THREADS says otherwise."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(max((os.cpu_count() or 1) // local, 1))
