"""What the faults share: runs to compare with, and how one is judged."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.faults import judge
from tests.faults.process import Ended, Run, flags_of_several

STEPS = 60
EVERY = 5  # steps from one checkpoint to the next
WORKERS = ("--config.data.workers=2", "--config.data.threads=1")  # flags, for two


class Skipped(Exception):
    """This machine cannot have the fault."""


class Fault(NamedTuple):
    name: str
    done: str
    act: Callable[["Bench", "Verdict"], None]
    short: bool


FAULTS: list[Fault] = []


def fault(name: str, done: str, *, short: bool = False):
    """Registers a fault; `short`: it belongs to the short campaign."""

    def register(act):
        FAULTS.append(Fault(name, done, act, short))
        return act

    return register


class Verdict:
    """What was seen of one fault.

    Attributes:
      seen: phrases.
      wrong: phrases; none if all is well.
      lost: the most steps that one start had to take again; None where that is not the question.
      equal: whether the end is that of the uninterrupted run; None where it need not be.
    """

    def __init__(self):
        self.seen: list[str] = []
        self.wrong: list[str] = []
        self.lost: int | None = None
        self.equal: bool | None = None

    def see(self, what: str) -> None:
        self.seen.append(what)

    def check(self, good: object, otherwise: str) -> bool:
        if not good:
            if len(otherwise) > 400:
                otherwise = f"{otherwise[:100]} ... {otherwise[-300:]}"
            self.wrong.append(otherwise)
        return bool(good)

    def lose(self, steps: int) -> None:
        self.lost = max(self.lost or 0, steps)

    def ended(self, end: Ended, status: int, *, says: str | None = "") -> None:
        """Checks the exit status and that there is no more than a line on standard error, with
        `says` in it; None for no line at all."""
        self.check(end.status == status, f"status {end.status}, not {status}: {end.error}")
        self.check("Traceback" not in end.error + "".join(end.lines), f"traceback: {end.error}")
        lines = end.error.splitlines()
        if says is None:
            self.check(not lines, f"on standard error: {end.error}")
        elif self.check(len(lines) == 1, f"{len(lines)} lines of error: {end.error}"):
            self.check(says in lines[0], f"the error does not say {says!r}: {lines[0]}")

    def same(self, workdir: Path, reference: Path) -> None:
        """Checks that the run in `workdir` ended as the uninterrupted one did."""
        found = judge.unequal(workdir, reference)
        self.equal = self.equal is not False and not found
        self.wrong += [f"{workdir.name}: {what}" for what in found[:4]]


class Bench:
    """A folder for the runs of a campaign, and the dice it is thrown with."""

    def __init__(self, folder: Path, *, seed: int, kills: int):
        self.folder, self.kills = folder, kills
        self.random = random.Random(seed)
        self._references: dict[str, Path] = {}
        self.cache = folder / "compiled"

    def start(self, workdir: Path, *flags: str, cache: Path | None = None, **options) -> Run:
        return Run(workdir, *flags, cache=cache or self.cache, **options)

    def several(self, workdir: Path, *flags: str, count: int = 2, **options) -> list[Run]:
        """The processes of one run."""
        return [
            self.start(workdir, *own, "--config.mesh.fsdp=2", *flags, **options)
            for own in flags_of_several(count)
        ]

    def finish(self, verdict: Verdict, workdir: Path, *flags: str, **options) -> Ended:
        """Starts the run and lets it come to its end."""
        with self.start(workdir, *flags, **options) as run:
            end = run.end()
        verdict.ended(end, 0, says=None)
        return end

    def reference(self, name: str = "whole", *flags: str, **options) -> Path:
        """The workdir of a run that nothing has disturbed, made once."""
        if name not in self._references:
            workdir = self.folder / name
            verdict = Verdict()
            self.finish(verdict, workdir, *flags, **options)
            assert not verdict.wrong, verdict.wrong
            self._references[name] = workdir
        return self._references[name]

    def half(self, name: str) -> Path:
        """A copy, of this name, of a run that stopped at half of its steps."""
        reference = self.reference("half", f"--config.run.stop_after={STEPS // 2}")
        shutil.copytree(reference, self.folder / name)
        return self.folder / name
