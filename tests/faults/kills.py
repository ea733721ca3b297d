"""kill -9, at any moment."""

import signal
import time
from pathlib import Path

from tests.faults import judge
from tests.faults.bench import EVERY, STEPS, WORKERS, Bench, Verdict, fault
from tests.faults.process import Ended, Run

SLOW = 0.2  # seconds, of a rename


class Moments:
    """Draws the moments of a campaign, as shares of durations that are measured as it goes on."""

    def __init__(self, bench: Bench):
        self._random = bench.random
        self._to_first_step = 1.0  # seconds, of the last start that got so far
        self._kinds = ["slow save", "step", "save", "start", "compile", "step", "slow save", "end"]
        self._next = 0

    def draw(self) -> str:
        """The kind of the next one, each in its turn."""
        kind = self._kinds[self._next % len(self._kinds)]
        self._next += 1
        return kind

    def wait(self, kind: str, run: Run, workdir: Path) -> None:
        """Returns at the moment, or when the run has ended before it."""
        share = self._random.random()
        if kind == "start":
            self._sleep(run, share * self._to_first_step)
            return
        if kind == "compile":
            run.says("compiling")
            self._sleep(run, share * self._to_first_step)  # it takes longer
            return
        if not run.says("step "):
            return
        self._to_first_step = time.monotonic() - run.started
        if kind == "end":
            if run.says(f"step {STEPS}/"):
                self._sleep(run, share * 0.5)
            return
        for _ in range(self._random.randrange(2 * EVERY)):
            if not run.says("step "):
                return
        if kind == "step":
            self._sleep(run, share * 0.1)
            return
        folder = workdir / "checkpoints"
        while run.lives() and not any("tmp" in path.name for path in folder.glob("*")):
            time.sleep(0.001)
        self._sleep(run, share * (3 * SLOW if kind == "slow save" else 0.03))

    @staticmethod
    def _sleep(run: Run, seconds: float) -> None:
        until = time.monotonic() + seconds
        while run.lives() and time.monotonic() < until:
            time.sleep(0.002)


@fault("kill", "kill -9 at random moments, the same command again each time", short=True)
def killed(bench: Bench, verdict: Verdict) -> None:
    reference = bench.reference()
    moments = Moments(bench)
    kinds: dict[str, int] = {}
    cut_short = runs = 0
    while sum(kinds.values()) < bench.kills:
        runs += 1
        workdir = bench.folder / f"killed-{runs}"
        cut_short += _one_run(bench, verdict, moments, kinds, workdir)
        verdict.same(workdir, reference)
    told = ", ".join(f"{count} at {kind}" for kind, count in sorted(kinds.items()))
    verdict.see(
        f"{sum(kinds.values())} kills in {runs} runs ({told}); {cut_short} cut a save short"
    )
    verdict.check(cut_short >= max(1, bench.kills // 6), "too few kills fell into a save")


def _one_run(bench: Bench, verdict: Verdict, moments: Moments, kinds, workdir: Path) -> int:
    """One run to its end, killed over and over; how many saves were cut short."""
    cut_short = reached = newest = 0
    while True:
        kind = moments.draw() if sum(kinds.values()) < bench.kills else None
        faults = (f"slow_save:{SLOW}",) if kind == "slow save" else ()
        # Where programs are kept, nothing is compiled.
        cache = bench.folder / f"none-{sum(kinds.values())}" if kind == "compile" else None
        with bench.start(workdir, faults=faults, cache=cache) as run:
            if kind:
                moments.wait(kind, run, workdir)
                run.send(signal.SIGKILL)
            end = run.end()
        _went_on(verdict, end, reached, newest)
        reached = max([reached, *end.steps])
        newest = max([0, *judge.complete(workdir)])
        if end.status != -signal.SIGKILL:
            verdict.ended(end, 0, says=None)
            return cut_short
        verdict.check(not end.error, f"before it was killed ({kind}): {end.error}")
        kinds[kind] = kinds.get(kind, 0) + 1
        left = [name for name in judge.unfinished(workdir) if name.startswith("checkpoints/")]
        cut_short += bool(left and end.steps)  # without a step it is still that of the start before


def _went_on(verdict: Verdict, end: Ended, reached: int, newest: int) -> None:
    """From the newest complete checkpoint, after a run that had reported the step `reached`."""
    if end.from_step is None:
        return
    verdict.check(end.from_step == newest, f"from {end.from_step}, the newest being {newest}")
    lost = reached - end.from_step
    verdict.check(lost <= 2 * EVERY, f"{lost} steps lost, more than one save under way explains")
    verdict.lose(lost)


@fault("kill, data workers", "kill -9 of a run that has two, the same command again at once")
def killed_with_workers(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = bench.reference(), bench.folder / "killed-workers"
    with bench.start(workdir, *WORKERS) as first:
        first.must_say(f"step {2 * EVERY + 2}/")
        first.send(signal.SIGKILL)
        with bench.start(workdir, *WORKERS) as second:
            verdict.check(first.end().status == -signal.SIGKILL, "it had ended by then")
            end = second.end()
    verdict.ended(end, 0, says=None)
    verdict.check(end.from_step, "it began anew")
    verdict.lose(2 * EVERY + 2 - (end.from_step or 0))
    verdict.see("its workers ended as well")
    verdict.same(workdir, reference)
