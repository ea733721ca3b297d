"""Runs of tests that train by the same programs trace and compile them once."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rats_jax.runs import pretraining_programs as programs

#: Sections of a config that no program reads.
READ_BY_NONE = ("run", "guards", "evaluation", "data", "init")


class Once:
    """A jitted function whose arguments have the same shapes at every call."""

    def __init__(self, jitted):
        self._jitted, self._lowered, self._compiled = jitted, None, None

    def lower(self, *arguments) -> "Once":
        self._lowered = self._lowered or self._jitted.lower(*arguments)
        return self

    def compile(self):
        self._compiled = self._compiled or self._lowered.compile()
        return self._compiled


@contextmanager
def programs_once() -> Iterator[None]:
    """Meanwhile, `make_train_step` and `make_monitor` return what they returned before for a config
    that differs only in what no program reads."""
    with pytest.MonkeyPatch.context() as patch:
        for make in (programs.make_train_step, programs.make_monitor):
            kept = _kept(make)
            for module in [m for name, m in sys.modules.items() if name.startswith("rats_jax.")]:
                if getattr(module, make.__name__, None) is make:
                    patch.setattr(module, make.__name__, kept)
        yield


def _kept(make: Callable) -> Callable:
    made: dict[str, Once] = {}

    def once(dino, config, mesh) -> Once:
        read = {k: v for k, v in config.to_dict().items() if k not in READ_BY_NONE}
        canvas = config.data.canvas if config.data.cropping == "canvas" else 0
        taken = dino.taken if dino.taken.factor != 1 else None
        key = repr((read, canvas, dino.schedules, taken, mesh, mesh.devices.tolist()))
        if key not in made:
            made[key] = Once(make(dino, config, mesh))
        return made[key]

    return once
