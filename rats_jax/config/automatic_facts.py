"""What the rules of automatic settings depend on."""

from collections.abc import Callable
from dataclasses import dataclass

from ml_collections import ConfigDict

#: Share of a device's memory that the estimated bytes of a step may take, when settings are chosen.
SAFE = 0.8
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rules depend on.

    config: fields that come earlier in RULES have their values. images: of the data set. devices:
    that the batch is split over. memory: bytes of one device; None if not known. step_bytes: the
    estimated bytes of a training step on one device; None if they cannot be estimated. on_cpu:
    whether the devices are CPUs.
    """

    config: ConfigDict
    images: int
    devices: int
    memory: int | None
    step_bytes: Callable[[ConfigDict], int] | None
    on_cpu: bool

    @property
    def steps_per_epoch(self) -> int:
        return max(self.images // self.config.optimizer.batch_size, 1)

    @property
    def steps(self) -> int:
        return max(round(self.config.optimizer.epochs * self.steps_per_epoch), 1)

    def fits(self, *, accumulation: int, remat: str) -> bool:
        """Whether a step is safe with these values, by estimate; True if that is not known."""
        if self.memory is None or self.step_bytes is None:
            return True
        config = self.config.copy_and_resolve_references()
        config.optimizer.accumulation, config.model.remat = accumulation, remat
        return self.step_bytes(config) <= SAFE * self.memory
