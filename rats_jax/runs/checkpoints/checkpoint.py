"""Checkpoints: the whole state of a run with its metadata, written by orbax.

checkpoints/STEP/   see stored_state.py; a checkpoint with a file `kept.txt` is never removed
damaged/STEP/       a checkpoint that could not be restored, when another one could
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
from rats_jax.runs.checkpoints.steps import steps_in
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

#: Other folders next to the checkpoints: unfinished saves, and checkpoints being removed.
REMAINS = re.compile(r"\d+\.(orbax-checkpoint-tmp.*|removed)")
#: Timeout in seconds of wall-clock time, which may jump. The watchdog ends a save that hangs.
NEVER = 10**9


class Found(NamedTuple):
    """A restored checkpoint. damaged: those tried before it that are damaged, with the reason.
    value: the value of the best metric, None if it has none."""

    step: int
    state: dict
    about: dict
    damaged: list[tuple[int, str]]
    value: float | None = None


class Checkpoints:
    """The checkpoints of a run, in `workdir`/checkpoints. A context manager that waits for the last
    save on exit.

    Saving is asynchronous: `save` returns when the state has been copied, so the next step may
    donate it. A directory gets its final name when complete, and is renamed before it is removed.

    Args:
      save_every: the number of steps between saves, see `is_due`.
      keep: the number of newest checkpoints to keep.
      keep_every: the first checkpoint at or after each multiple of this number of steps is kept for
        good; 0 for none.
      keep_best: the number of best checkpoints to keep, by a finite `best_metric`. A metric of an
        evaluation is comparable only if about["evaluation"] is as in the newest checkpoint.
      best_is: "lowest" or "highest".
      read_only: nothing is written, moved or removed, so a run may train here meanwhile.

    All processes must call every method except `steps` and `latest`, at the same points.
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
            # If directories were made in the background, a failure there would keep the other
            # processes waiting for minutes.
            options = ocp.options.AsyncOptions(
                create_directories_asynchronously=False, timeout_secs=NEVER
            )
            self._writer = ocp.AsyncCheckpointer(handler(), async_options=options)

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, ascending."""
        return steps_in(self._folder)

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint."""
        return max(self.steps(), default=None)

    def keep_those_of(self, was: Rules, *, rejudged: bool) -> RulesChanged:
        """See `kept.keep_those_of`: keeps what earlier starts kept. Call before the first save."""
        return keep_those_of(was, self._rules, self._folder, self.steps(), rejudged=rejudged)

    def is_due(self, step: int, *, last: int, judged: Mapping[str, float]) -> bool:
        """Whether to save after this step: at intervals, after the last step, and if the step can
        be the best.

        judged: the metrics measured at this step that are comparable across steps.
        """
        rules = self._rules
        at_interval = any(every and step % every == 0 for every in (self._save_every, rules.every))
        return at_interval or step == last or (rules.best > 0 and rules.metric in judged)

    def save(self, step: int, state: dict, *, about: dict, metrics: Mapping[str, float]) -> None:
        """Starts to write the state after `step` steps; does nothing if that step is saved already.

        about: any JSON object, the same in all processes. Waits for the previous save and raises
        its error as `finish` does.
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
        """The step and the value of the best by the metric; None if no checkpoint has the metric.

        Includes a checkpoint that is being saved.
        """
        steps = {*self.steps(), *([self._saving[0]] if self._saving else [])}
        step = self._judged.best(steps) if steps else None
        value = self._judged.values(steps).get(step)
        return None if value is None else (step, value)

    def check(self) -> None:
        """Raises as `finish` does if a save has failed; does not wait."""
        if self._saving and self._saving[1].done():
            self.finish()

    def finish(self) -> None:
        """Waits for the last save. Raises UserError for an error of the disk or of permissions;
        other errors are raised as they are."""
        if self._saving:
            (step, done), self._saving = self._saving, None
            try:
                done.result()
            except Exception as error:
                self._explain(step, error)
                raise

    def restore(self, like: dict) -> Found | None:
        """The newest undamaged checkpoint, in the shardings of the abstract state `like`; None if
        there is no checkpoint.

        Every array is compared with its fingerprint. Damaged checkpoints are reported, and moved to
        damaged/ once an older one has been restored. Raises UserError if all are damaged, or if one
        is of another state.
        """
        return self._restore(like, whole=True, choose=max)

    def restore_part(self, like: dict) -> Found | None:
        """As `restore`, for the parts in `like` only, such as {"teacher": ...}."""
        return self._restore(like, whole=False, choose=max)

    def restore_best(self, like: dict) -> Found | None:
        """As `restore_part`, for the best by the metric; the newest if none has the metric."""
        return self._restore(like, whole=False, choose=self._judged.best)

    def restore_step(self, step: int, like: dict) -> Found:
        """As `restore_part`, for this step only. Raises UserError if it is damaged or missing."""
        steps = agree(self.steps())
        if step not in steps:
            there = f"it has {', '.join(map(str, steps))}" if steps else "it has none yet"
            raise UserError(f"{self._folder} contains no checkpoint {step}: {there}")
        try:
            state, about = self._read(step, like, whole=False)
        except DamagedCheckpoint as reason:
            raise UserError(
                f"the checkpoint {self._folder / str(step)} is damaged ({reason}): give another "
                "checkpoint, or the workdir to use the newest good one"
            ) from None
        return Found(step, state, about, [])

    def _restore(
        self, like: dict, *, whole: bool, choose: Callable[[list[int]], int]
    ) -> Found | None:
        damaged: list[tuple[int, str]] = []
        tried = set()
        # Listed again each time: a run that trains meanwhile may remove and save checkpoints.
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
            anew = ", or choose another --workdir to start a new run"
            raise UserError(
                f"no checkpoint in {self._folder} can be restored (step {step}: {reason}): put a "
                f"good copy there{'' if self._read_only else anew}"
            )
        return None

    def _read(self, step: int, like: dict, *, whole: bool) -> tuple[dict, dict]:
        """The state and its "about". Raises DamagedCheckpoint in all processes or in none."""
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
        """In the background: waits for the save, then removes checkpoints that no rule keeps."""
        self._writer.wait_until_finished()
        if jax.process_index() == 0:
            steps = self.steps()
            stays = staying(steps, self._judged.values(steps).get, self._rules)
            stays |= marked(self._folder, steps)
            if self._rules.best:  # one of them may be the best
                stays |= self._judged.unreadable(steps)
            for step in sorted(set(steps) - stays):
                folder = self._folder / str(step)
                try:
                    shutil.rmtree(folder.rename(folder.with_name(f"{step}.removed")))
                except OSError as error:  # the next start removes what is left
                    say(f"warning: {folder} cannot be removed ({error.strerror})")

    def _explain(self, step: int, error: Exception) -> None:
        """Frees space on a disk that may be full. Raises UserError if the error is of the disk."""
        self._remove_remains()
        if (code := error_number(error)) is None:
            return
        latest = self.latest()
        stays = "there is no other checkpoint"
        if latest is not None:
            stays = f"the checkpoint at step {latest} is kept"
        raise UserError(
            f"the checkpoint at step {step} could not be saved in {self._folder}: "
            f"{os.strerror(code)}; {stays}: {REMEDIES.get(code, 'repair the disk')}, and start "
            "again"
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
            say(f"warning: {error}")  # the error that ended the block is the one raised
        finally:
            self._background.shutdown()
            self._writer.close()
