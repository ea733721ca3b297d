"""Two processes of one run, of which one is hit."""

import signal
import time
from pathlib import Path

from tests.faults.bench import EVERY, STEPS, Bench, Verdict, fault
from tests.faults.process import Ended

LOST, SAVED, INTERRUPTED = 75, 85, 130


def _hit(
    bench: Bench, workdir: Path, number: signal.Signals, *, which: int, steps: int
) -> tuple[list[Ended], float]:
    """Both processes start, one is hit after so many steps; how both ended, and the seconds from
    the hit to the end of the last."""
    runs = bench.several(workdir)
    try:
        for _ in range(steps):
            runs[0].must_say("step ")
        hit = time.monotonic()
        runs[which].send(number)
        ends = [run.end(60) for run in runs]
        return ends, time.monotonic() - hit
    finally:
        _kill(runs)


def _kill(runs) -> None:
    for run in runs:
        run.__exit__()


def _finish(bench: Bench, verdict: Verdict, workdir: Path) -> Ended:
    runs = bench.several(workdir)
    try:
        ends = [run.end() for run in runs]
    finally:
        _kill(runs)
    for end in ends:
        verdict.ended(end, 0, says=None)
    return ends[0]


def _reference(bench: Bench) -> Path:
    workdir = bench.folder / "two"
    if not workdir.exists():
        verdict = Verdict()
        _finish(bench, verdict, workdir)
        assert not verdict.wrong, verdict.wrong
    return workdir


@fault("one of two killed", "two processes, one killed: the second, then the first; both again")
def one_killed(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = _reference(bench), bench.folder / "two-killed"
    reached = 0
    for which in (1, 0):
        ends, seconds = _hit(bench, workdir, signal.SIGKILL, which=which, steps=2 * EVERY + 2)
        verdict.see(f"the other ended {seconds:.1f} s after process {which}")
        verdict.check(seconds < 15, f"the other took {seconds:.0f} s")
        verdict.check(ends[which].status == -signal.SIGKILL, f"status {ends[which].status}")
        verdict.ended(_without_jax(verdict, ends[1 - which]), LOST, says=f"process {which}")
        _lose(verdict, ends[0], reached)
        reached = max([reached, *ends[0].steps])
    _lose(verdict, _finish(bench, verdict, workdir), reached)
    verdict.same(workdir, reference)


def _without_jax(verdict: Verdict, end: Ended) -> Ended:
    """Of a process whose process 0 is gone: JAX's own log may tell of its lost service before."""
    lines = end.error.splitlines(keepends=True)
    ours = [line for line in lines if line.startswith("process ")]
    if len(ours) < len(lines):
        verdict.see(f"JAX logged {len(lines) - len(ours)} lines before that")
    traced = "Traceback" in end.error
    return end if traced else end._replace(error="".join(ours))


@fault("SIGTERM to one of two", "two processes, SIGTERM to one: the second, the first; both again")
def one_terminated(bench: Bench, verdict: Verdict) -> None:
    _signalled(bench, verdict, signal.SIGTERM, SAVED, "two-terminated")


@fault("Ctrl-C to one of two", "the same with Ctrl-C")
def one_interrupted(bench: Bench, verdict: Verdict) -> None:
    _signalled(bench, verdict, signal.SIGINT, INTERRUPTED, "two-interrupted")


def _signalled(bench: Bench, verdict: Verdict, number, status: int, name: str) -> None:
    reference, workdir = _reference(bench), bench.folder / name
    reached = 0
    for which in (1, 0):
        steps = bench.random.randrange(1, 3 * EVERY)
        ends, seconds = _hit(bench, workdir, number, which=which, steps=steps)
        verdict.see(f"both ended with {status} {seconds:.1f} s after it reached process {which}")
        for end in ends:
            verdict.ended(end, status, says=None)
        verdict.check(ends[0].from_step in (None, reached), f"from {ends[0].from_step}")
        _lose(verdict, ends[0], reached)
        reached = max([reached, *ends[0].steps])
    last = _finish(bench, verdict, workdir)
    verdict.check(last.from_step == reached, f"from {last.from_step}, not {reached}")
    _lose(verdict, last, reached)
    verdict.same(workdir, reference)


@fault("one of two stands still", "SIGSTOP to one of two; the watchdog is set to 6 s")
def one_stopped(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = _reference(bench), bench.folder / "two-stopped"
    runs = bench.several(workdir, "--config.guards.stall_minutes=0.1")
    try:
        for _ in range(2 * EVERY + 2):
            runs[0].must_say("step ")
        hit = time.monotonic()
        runs[1].send(signal.SIGSTOP)
        first = runs[0].end(120)
        verdict.see(f"process 0 ended with {first.status} after {time.monotonic() - hit:.0f} s")
        verdict.check(first.status == LOST, f"status {first.status}")
        runs[1].send(signal.SIGCONT)
        second = runs[1].end(60)
        verdict.check(second.status == LOST, f"status {second.status} of process 1")
    finally:
        _kill(runs)
    end = _finish(bench, verdict, workdir)
    _lose(verdict, end, first.steps[-1])
    verdict.check(end.from_step and first.steps[-1] - end.from_step < STEPS // 4, "too much lost")
    verdict.same(workdir, reference)


def _lose(verdict: Verdict, end: Ended, reached: int) -> None:
    if end.from_step is not None:
        verdict.lose(reached - end.from_step)
