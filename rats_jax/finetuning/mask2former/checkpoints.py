"""Checkpoints of a PyTorch run: whole or not at all, and verified when they are read.

WORKDIR/checkpoints/STEP/
  model.safetensors      parameters and buffers of the model
  optimizer.safetensors  PARAMETER:NAME for each of AdamW's values
  checkpoint.json        step, metrics, the loss scale, and facts of the run
  SHA256SUMS             of these files: `sha256sum -c` can check it
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rats_jax.errors import UserError
from rats_jax.files import sync, write_whole
from rats_jax.finetuning.mask2former.tensor_files import save_tensors
from rats_jax.paths import printable
from rats_jax.runs.checkpoints.retention import Rules, rank, staying
from rats_jax.runs.checkpoints.steps import steps_in
from rats_jax.runs.finetuned_in_torch import (
    META,
    MODEL,
    SUMS,
    Judgement,
    comparable,
    digest,
    judgement,
)
from rats_jax.voice import say

OPTIMIZER = "optimizer.safetensors"


@dataclass(frozen=True, kw_only=True)
class State:
    """What a checkpoint has.

    model, optimizer: tensors by name. scale: state of the loss scale; empty without one. counts:
    numbers that continue. metrics: as last reported, and as evaluated at this step. about: facts of
    the run.
    """

    step: int
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    scale: Mapping[str, float]
    counts: Mapping[str, int]
    metrics: Mapping[str, float]
    about: Mapping[str, Any]


class Damaged(Exception):
    """A checkpoint that is not as it was written; the message says why."""


class TorchCheckpoints:
    """The checkpoints of a workdir. One process writes; any may read.

    Attributes:
      damaged: steps and reasons of those that `newest` has set aside.
    """

    def __init__(self, workdir: Path, rules: Rules):
        self._workdir, self._folder, self._rules = workdir, workdir / "checkpoints", rules
        self.damaged: list[tuple[int, str]] = []

    def steps(self) -> list[int]:
        return steps_in(self._folder)

    def save(self, state: State) -> None:
        """Writes a checkpoint, then removes those that no rule keeps. A checkpoint of the same
        step is replaced."""
        self._folder.mkdir(exist_ok=True)
        new, target = self._folder / f".{state.step}.new", self._folder / str(state.step)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        try:
            _write(new, state)
            if target.exists():
                target.rename(self._out_of_sight(state.step))
            new.rename(target)
            sync(self._folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        self._out_of_sight(state.step)
        meta = {"metrics": state.metrics, "about": state.about}
        self._judged[state.step] = judgement(meta, self._rules.metric)
        for step in set(self.steps()) - staying(self.steps(), self._value, self._rules):
            self._remove(step)

    def newest(self) -> int | None:
        """The newest checkpoint that is intact. Newer ones that are damaged are reported, and moved
        to `damaged`. Raises UserError, and moves nothing, if all checkpoints are damaged."""
        damaged: list[tuple[int, str]] = []
        for step in reversed(self.steps()):
            if (reason := self.fault(step)) is None:
                for each in damaged:
                    self._set_aside(*each)
                return step
            damaged.append((step, reason))
        if damaged:
            step, reason = damaged[0]
            raise UserError(
                f"no checkpoint in {printable(str(self._folder))} is intact (step {step}: "
                f"{reason}): put a good copy there, or choose another --workdir to start a new run"
            )
        return None

    def best(self) -> tuple[int, float] | None:
        """Step and value of the best intact checkpoint by the metric; None if none has it."""
        known = [step for step in self.steps() if self._value(step) is not None]
        ranked = sorted(known, key=self._rank, reverse=True)
        for step in ranked:
            if (reason := self.fault(step)) is None:
                return step, self._value(step)
            say(f"warning: the checkpoint at step {step} is damaged ({reason})")
        return None

    def fault(self, step: int) -> str | None:
        """Why a checkpoint is not as it was written; None if it is intact."""
        try:
            _verify(self._folder / str(step))
        except Damaged as error:
            return str(error)
        return None

    def read(self, step: int, *, with_optimizer: bool = True) -> State:
        """A checkpoint that `newest` or `best` named. Tensors are on the CPU."""
        folder = self._folder / str(step)
        meta = _meta(folder)
        try:
            model = load_file(folder / MODEL)
            optimizer = load_file(folder / OPTIMIZER) if with_optimizer else {}
        except (OSError, SafetensorError) as error:
            raise UserError(f"{printable(str(folder))} cannot be read ({error})") from None
        return State(model=model, optimizer=optimizer, **meta)

    @cached_property
    def _judged(self) -> dict[int, Judgement]:
        """By step."""
        judged = {}
        for step in self.steps():
            try:
                meta = _meta(self._folder / str(step))
            except Damaged:
                continue
            judged[step] = judgement(meta, self._rules.metric)
        return judged

    def _value(self, step: int) -> float | None:
        """The metric of a step, unless it was measured on other images than the newest one."""
        return comparable(self._judged).get(step)

    def _rank(self, step: int) -> tuple:
        return rank(step, value=self._value, highest=self._rules.highest)

    def _remove(self, step: int) -> None:
        """Under another name first, so that no half of a checkpoint is ever seen."""
        (self._folder / str(step)).rename(self._out_of_sight(step))
        self._out_of_sight(step)
        self._judged.pop(step, None)

    def _out_of_sight(self, step: int) -> Path:
        """A name for a checkpoint that goes; what has this name is removed."""
        going = self._folder / f".{step}.old"
        shutil.rmtree(going, ignore_errors=True)
        return going

    def _set_aside(self, step: int, reason: str) -> None:
        aside = self._workdir / "damaged" / str(step)
        aside.parent.mkdir(exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        (self._folder / str(step)).rename(aside)
        self._judged.pop(step, None)
        self.damaged.append((step, reason))
        say(f"warning: the checkpoint at step {step} is damaged ({reason}): it is now in {aside}")


def _write(folder: Path, state: State) -> None:
    for name, tensors in ((MODEL, state.model), (OPTIMIZER, state.optimizer)):
        # Copies, since safetensors refuses tensors that share memory.
        copies = {key: value.detach().cpu().clone() for key, value in tensors.items()}
        save_tensors(copies, folder / name)
        sync(folder / name)
    names = ("step", "scale", "counts", "metrics", "about")
    meta = {name: getattr(state, name) for name in names}
    write_whole(folder / META, json.dumps(meta, indent=1) + "\n", durable=True)
    sums = "".join(f"{digest(folder / n)}  {n}\n" for n in (MODEL, OPTIMIZER, META))
    write_whole(folder / SUMS, sums, durable=True)


def _verify(folder: Path) -> None:
    try:
        lines = (folder / SUMS).read_text("ascii").splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        for name in (MODEL, OPTIMIZER, META):
            if sums.get(name) != digest(folder / name):
                raise Damaged(f"{name} is not as it was written")
    except (OSError, ValueError) as error:
        raise Damaged(getattr(error, "strerror", None) or str(error)) from None


def _meta(folder: Path) -> dict:
    try:
        return json.loads((folder / META).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Damaged(str(error)) from None
