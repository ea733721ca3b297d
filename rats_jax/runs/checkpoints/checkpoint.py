"""Checkpoints: the whole state of a run and what it says of itself, by orbax.

checkpoints/STEP/   see stored_state.py; one with a file `kept.txt` in it is never removed
damaged/STEP/       a checkpoint that could not be restored, where an older one could
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import NamedTuple

import jax
import orbax.checkpoint as ocp

from rats_jax.errors import UserError
from rats_jax.parallel.distributed import agree, gather
from rats_jax.runs.checkpoints.best_metric import BestMetric
from rats_jax.runs.checkpoints.disk_errors import REMEDIES, error_number
from rats_jax.runs.checkpoints.folder_names import check_folder
from rats_jax.runs.checkpoints.kept import RulesChanged, keep_those_of, marked
from rats_jax.runs.checkpoints.quiet_orbax import quiet_orbax
from rats_jax.runs.checkpoints.retention import Rules, staying
from rats_jax.runs.checkpoints.stored_state import (
    DamagedCheckpoint,
    compare,
    handler,
    items,
    read_arrays,
    read_meta,
    verify,
)
from rats_jax.voice import say

#: A checkpoint's name; "007" is a copy that someone has made.
STEP = re.compile("0|[1-9][0-9]*")
#: What may lie beside the checkpoints: a save that did not end, and one on its way out.
REMAINS = re.compile(r"\d+\.(orbax-checkpoint-tmp.*|removed)")
#: Seconds, of the clock on the wall, which may jump. A save that hangs is the watchdog's to end.
NEVER = 10**9


class Found(NamedTuple):
    """A checkpoint, and those before it in the order of choice that are damaged, with the reason.
    value: its best metric, None if it has none."""

    step: int
    state: dict
    about: dict
    damaged: list[tuple[int, str]]
    value: float | None = None


class Checkpoints:
    """Those of a run, in `workdir`/checkpoints. A context manager: leaving it waits for the last
    save.

    Saving is asynchronous: it returns when the state has been copied, so the next step may donate
    it. A directory takes its final name when it is complete, and loses it before it is removed.

    Args:
      save_every: every so many steps one is saved, see `is_due`.
      keep: how many of the newest stay.
      keep_every: the first at or after each multiple of so many steps stays for good; 0 for none.
      keep_best: how many of the best stay, by the finite `best_metric` given with them. One of an
        evaluation is compared where about["evaluation"] is as in the newest.
      best_is: "lowest" or "highest".
      read_only: nothing is written, moved or removed, so a run may train here meanwhile.

    With several processes all call everything but `steps` and `latest`, at the same points.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        save_every: int = 1,
        keep: int = 1,
        keep_every: int = 0,
        keep_best: int = 0,
        best_metric: str = "loss",
        best_is: str = "lowest",
        read_only: bool = False,
    ):
        quiet_orbax()
        self._folder = (workdir / "checkpoints").absolute()
        self._set_aside_in = (workdir / "damaged").absolute()
        check_folder(workdir, "the run's folder", read_only=read_only)
        self._rules = Rules(keep, keep_every, keep_best, best_metric, best_is == "highest")
        self._judged = BestMetric(self._folder, metric=best_metric, highest=self._rules.highest)
        self._save_every = save_every
        self._read_only = read_only
        self._saving: tuple[int, Future] | None = None
        if not read_only:
            try:
                self._folder.mkdir(exist_ok=True)
            except OSError as error:
                raise UserError(f"{self._folder} cannot be used: {error.strerror}") from None
            self._remove_remains()
            self._background = ThreadPoolExecutor(1, "checkpoints")
            # Were directories made in the background, a failure there would leave the others
            # waiting for them for minutes.
            options = ocp.options.AsyncOptions(
                create_directories_asynchronously=False, timeout_secs=NEVER
            )
            self._writer = ocp.AsyncCheckpointer(handler(), async_options=options)

    def steps(self) -> list[int]:
        """The complete ones, rising."""
        try:
            entries = list(self._folder.iterdir())
        except FileNotFoundError:
            return []
        names = [e.name for e in entries if STEP.fullmatch(e.name) and e.is_dir()]
        return sorted(map(int, names))

    def latest(self) -> int | None:
        """The newest complete one."""
        return max(self.steps(), default=None)

    def keep_those_of(self, was: Rules, *, rejudged: bool) -> RulesChanged:
        """Before the first save: keeps what an earlier start kept, see `kept.keep_those_of`."""
        return keep_those_of(was, self._rules, self._folder, self.steps(), rejudged=rejudged)

    def is_due(self, step: int, *, last: int, judged: Mapping[str, float]) -> bool:
        """Whether one is saved after this step: at intervals, after the last step, and where the
        step can be the best.

        judged: what an evaluation of this step measured that compares with other steps.
        """
        rules = self._rules
        at_interval = any(every and step % every == 0 for every in (self._save_every, rules.every))
        return at_interval or step == last or (rules.best > 0 and rules.metric in judged)

    def save(self, step: int, state: dict, *, about: dict, metrics: Mapping[str, float]) -> None:
        """Starts to write the state after `step` steps; does nothing if that step is there.

        about: anything of JSON, the same in all processes. Waits for the save before, and raises as
        `finish` does.
        """
        self.finish()
        if agree(step in self.steps()):
            return
        saved = items(state, about, metrics)
        try:
            self._writer.save(self._folder / str(step), args=saved)
        except Exception as error:
            self._explain(step, error)
            raise
        self._judged.record(step, about, metrics)
        self._saving = step, self._background.submit(self._complete)

    def best(self) -> tuple[int, float] | None:
        """The step and the value of the best by the metric; None where none has it.

        One that is being saved is among them.
        """
        steps = {*self.steps(), *([self._saving[0]] if self._saving else [])}
        step = self._judged.best(steps) if steps else None
        value = self._judged.values(steps).get(step)
        return None if value is None else (step, value)

    def check(self) -> None:
        """Raises as `finish` does once a save has failed; costs nothing, and waits for nothing."""
        if self._saving and self._saving[1].done():
            self.finish()

    def finish(self) -> None:
        """Waits for the last save. Raises UserError if the disk, or the right to write, was at
        fault, and any other error of it as it is."""
        if self._saving:
            (step, done), self._saving = self._saving, None
            try:
                done.result()
            except Exception as error:
                self._explain(step, error)
                raise

    def restore(self, like: dict) -> Found | None:
        """The newest good checkpoint, in the shardings of the abstract state `like`; None if there
        is none at all.

        Every array is compared with its fingerprint. Damaged checkpoints are named, and moved to
        damaged/ once an older one has been restored. Raises UserError when all are damaged, or when
        one is of another state.
        """
        return self._restore(like, whole=True, choose=max)

    def restore_part(self, like: dict) -> Found | None:
        """As `restore`, of the parts that `like` has, such as {"teacher": ...}."""
        return self._restore(like, whole=False, choose=max)

    def restore_best(self, like: dict) -> Found | None:
        """As `restore_part`, the best by the metric; the newest where none has it."""
        return self._restore(like, whole=False, choose=self._judged.best)

    def restore_step(self, step: int, like: dict) -> Found:
        """As `restore_part`, of this one alone: raises UserError if it is damaged, or not there."""
        steps = agree(self.steps())
        if step not in steps:
            there = f"there are {', '.join(map(str, steps))}" if steps else "there is none yet"
            raise UserError(f"{self._folder} holds no checkpoint {step}: {there}")
        try:
            state, about = self._read(step, like, whole=False)
        except DamagedCheckpoint as reason:
            raise UserError(
                f"the checkpoint {self._folder / str(step)} is damaged ({reason}): name another, "
                "or the workdir for the newest good one"
            ) from None
        return Found(step, state, about, [])

    def _restore(
        self, like: dict, *, whole: bool, choose: Callable[[list[int]], int]
    ) -> Found | None:
        damaged: list[tuple[int, str]] = []
        tried = set()
        # Read anew each time: a run that trains meanwhile may have removed one, and saved another.
        while left := [step for step in agree(self.steps()) if step not in tried]:
            step = choose(left)
            tried.add(step)
            try:
                state, about = self._read(step, like, whole=whole)
            except DamagedCheckpoint as reason:
                if (self._folder / str(step)).exists():
                    say(f"the checkpoint at step {step} is damaged: {reason}")
                    damaged.append((step, str(reason)))
                continue
            if not self._read_only and jax.process_index() == 0:
                self._set_aside([step for step, _ in damaged])
            return Found(step, state, about, damaged, self._judged.values(left)[step])
        if damaged:
            step, reason = damaged[0]
            anew = ", or choose another --workdir to start anew"
            raise UserError(
                f"no checkpoint in {self._folder} can be restored (step {step}: {reason}): put a "
                f"good copy there{'' if self._read_only else anew}"
            )
        return None

    def _read(self, step: int, like: dict, *, whole: bool) -> tuple[dict, dict]:
        """The state, and what the run said of it. Raises Damaged in all processes alike."""
        folder, fault = self._folder / str(step), None
        try:
            meta = read_meta(folder)
            compare(meta, like, folder, whole=whole)
            state = read_arrays(folder, like)
        except DamagedCheckpoint as reason:
            fault = str(reason)
        if faults := [fault for fault in gather(fault) if fault]:
            raise DamagedCheckpoint(faults[0])
        verify(meta, state)
        return state, meta["about"]

    def _set_aside(self, steps: list[int]) -> None:
        for step in steps:
            names = (f"{step}.{i}" if i else f"{step}" for i in count())
            to = next(t for name in names if not (t := self._set_aside_in / name).exists())
            try:
                self._set_aside_in.mkdir(exist_ok=True)
                (self._folder / str(step)).rename(to)
            except OSError as error:
                raise UserError(
                    f"the damaged checkpoint {self._folder / str(step)} cannot be moved to {to} "
                    f"({error.strerror}): move it away, and start again"
                ) from None
            say(f"the damaged checkpoint at step {step} is kept in {to}")

    def _complete(self) -> None:
        """In the background: waits for the save, then lets go of what need not stay."""
        self._writer.wait_until_finished()
        if jax.process_index() == 0:
            steps = self.steps()
            stays = staying(steps, self._judged.values(steps).get, self._rules)
            stays |= marked(self._folder, steps)
            if self._rules.best:  # it may be the best
                stays |= self._judged.unreadable(steps)
            for step in sorted(set(steps) - stays):
                folder = self._folder / str(step)
                try:
                    shutil.rmtree(folder.rename(folder.with_name(f"{step}.removed")))
                except OSError as error:  # what is left goes at the next start
                    say(f"warning: {folder} cannot be removed ({error.strerror})")

    def _explain(self, step: int, error: Exception) -> None:
        """Makes room on a disk that may be full. Raises UserError if the disk failed the save."""
        self._remove_remains()
        if (code := error_number(error)) is None:
            return
        latest = self.latest()
        stays = "no other is there" if latest is None else f"the one at step {latest} stays"
        raise UserError(
            f"the checkpoint at step {step} could not be saved in {self._folder}: "
            f"{os.strerror(code)}; {stays}: {REMEDIES.get(code, 'mend the disk')}, and start again"
        ) from error

    def _remove_remains(self) -> None:
        if jax.process_index() == 0:
            for entry in self._folder.iterdir():
                if REMAINS.fullmatch(entry.name):
                    shutil.rmtree(entry, ignore_errors=True)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, *_) -> None:
        if self._read_only:
            return
        try:
            self.finish()
        except Exception as error:
            if kind is None:
                raise
            say(f"warning: {error}")  # after what ended the block, which is what is raised
        finally:
            self._background.shutdown()
            self._writer.close()
