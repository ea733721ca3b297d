"""SIGTERM, as of a preemption, and Ctrl-C."""

import signal
import time

from tests.faults import judge
from tests.faults.bench import EVERY, STEPS, WORKERS, Bench, Verdict, fault

SAVED, INTERRUPTED = 85, 130


@fault(
    "SIGTERM", "SIGTERM some steps after the start, the same command again until done", short=True
)
def terminated(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = bench.reference(), bench.folder / "sigterm"
    reached = times = 0
    while reached < STEPS:
        with bench.start(workdir) as run:
            run.says("step ")
            for _ in range(bench.random.randrange(STEPS // 4, STEPS // 2)):
                run.says("step ")
            run.send(signal.SIGTERM)
            end = run.end()
        _from_where_it_ended(verdict, end, reached)
        if end.status == 0:
            break
        times += 1
        verdict.ended(end, SAVED, says=None)
        reached = end.steps[-1] if end.steps else reached
        newest = judge.complete(workdir)[-1:]
        verdict.check(newest == [reached], f"saved at {newest}, not {reached}")
    verdict.check(times, "it was never hit")
    verdict.see(f"{times} times status 85, saved at the last step")
    verdict.same(workdir, reference)


@fault(
    "signals to workers", "SIGTERM to the run and its data workers together, then Ctrl-C likewise"
)
def signals_to_all(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = bench.reference(), bench.folder / "signals-to-all"
    reached = 0
    for number, status in (
        (signal.SIGTERM, SAVED),
        (signal.SIGINT, INTERRUPTED),
        (signal.SIGTERM, SAVED),
        (signal.SIGINT, INTERRUPTED),
    ):
        with bench.start(workdir, *WORKERS) as run:
            for _ in range(bench.random.randrange(3, EVERY + 3)):
                run.must_say("step ")
            run.send(number, to_all=True)
            end = run.end()
        _from_where_it_ended(verdict, end, reached)
        verdict.ended(end, status, says=None)
        reached = end.steps[-1] if end.steps else reached
    end = bench.finish(verdict, workdir, *WORKERS)
    _from_where_it_ended(verdict, end, reached)
    verdict.same(workdir, reference)


@fault(
    "early signals",
    "SIGTERM and Ctrl-C before the first step: while it loads, restores and compiles",
)
def signals_at_the_start(bench: Bench, verdict: Verdict) -> None:
    workdir = bench.half("at-start")
    reference = bench.reference()
    statuses = []
    # Before the first of these lines Python itself is still loading modules.
    for said in (f"{40} images", "parameters", "compiling"):
        for number, status in ((signal.SIGTERM, SAVED), (signal.SIGINT, INTERRUPTED)):
            with bench.start(workdir) as run:
                run.must_say(said)
                time.sleep(bench.random.random() * 0.3)
                run.send(number)
                end = run.end()
            statuses.append(end.status)
            verdict.ended(end, status)
            verdict.check(end.seconds < 60, f"it took {end.seconds:.0f} s")
    verdict.see(f"statuses {statuses}")
    _from_where_it_ended(verdict, bench.finish(verdict, workdir), STEPS // 2)
    verdict.same(workdir, reference)


@fault("Ctrl-C", "Ctrl-C once")
def interrupted(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = bench.reference(), bench.folder / "ctrl-c"
    with bench.start(workdir) as run:
        for _ in range(bench.random.randrange(EVERY, 4 * EVERY)):
            run.must_say("step ")
        run.send(signal.SIGINT)
        end = run.end()
    verdict.ended(end, INTERRUPTED, says=None)
    reached = end.steps[-1]
    verdict.see(f"status 130, saved at step {reached}")
    _from_where_it_ended(verdict, bench.finish(verdict, workdir), reached)
    verdict.same(workdir, reference)


@fault("Ctrl-C twice", "Ctrl-C twice, the second while the first saves, which takes a minute")
def interrupted_twice(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = bench.reference(), bench.half("ctrl-c-twice")
    with bench.start(workdir, "--config.run.checkpoint_every=100", faults=("slow_save:60",)) as run:
        for _ in range(EVERY):
            run.must_say("step ")
        run.send(signal.SIGINT)
        time.sleep(2)
        alive, second = run.lives(), time.monotonic()
        run.send(signal.SIGINT)
        end = run.end()
    seconds = time.monotonic() - second
    verdict.check(alive, "it did not wait for the save")
    verdict.check(seconds < 3, f"the second took {seconds:.1f} s")
    verdict.see(f"ended {seconds:.1f} s after the second")
    verdict.ended(end, INTERRUPTED)
    end = bench.finish(verdict, workdir)
    _from_where_it_ended(verdict, end, STEPS // 2)
    verdict.same(workdir, reference)


def _from_where_it_ended(verdict: Verdict, end, reached: int) -> None:
    if end.from_step is not None:
        verdict.lose(reached - end.from_step)
        verdict.check(end.from_step == reached, f"from {end.from_step}, not {reached}")
