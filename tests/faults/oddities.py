"""Clocks that jump, two runs in one directory, another precision."""

import os
import signal
import time

import numpy as np

from tests.faults import judge
from tests.faults.bench import EVERY, STEPS, Bench, Verdict, fault

YEAR = 365 * 86_400


@fault("clock", "the time of day jumps by years, on and back; files of the future; kill -9")
def clock(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = bench.reference(), bench.folder / "clock"
    faults = ("clock:0.3", "pace:0.02")
    with bench.start(workdir, faults=faults) as run:
        run.must_say(f"step {STEPS // 2}/")
    for path in workdir.rglob("*"):
        future = time.time() + 10 * YEAR * (path.is_file() or -1)
        os.utime(path, (future, future))
    newest = judge.complete(workdir)[-1]
    end = bench.finish(verdict, workdir, faults=faults)
    verdict.check(end.from_step == newest, f"from {end.from_step}, not {newest}")
    verdict.lose(STEPS // 2 - newest)
    verdict.same(workdir, reference)


@fault("two runs", "the same command twice at the same time")
def two_runs(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = bench.reference(), bench.folder / "two-runs"
    with bench.start(workdir, faults=("pace:0.5",)) as first:
        first.must_say("step 1/")
        with bench.start(workdir) as second:
            end = second.end()
        verdict.check(first.lives(), "the first had ended by then")
        first.send(signal.SIGTERM)
        verdict.ended(first.end(), 85, says=None)
    verdict.ended(end, 2, says="in use")
    verdict.see(end.error.strip().replace(str(bench.folder), ""))
    bench.finish(verdict, workdir)
    verdict.same(workdir, reference)


@fault("another precision", "half of the run in float32, then bfloat16, then float32 again")
def another_precision(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = bench.reference(), bench.half("precision")
    until = STEPS - EVERY
    flags = ("--config.compute_dtype=bfloat16", f"--config.run.stop_after={until}")
    verdict.check(bench.finish(verdict, workdir, *flags).from_step == STEPS // 2, "not from half")
    verdict.check(bench.finish(verdict, workdir).from_step == until, f"not from {until}")
    ours, theirs = (
        np.array([row["loss"] for row in judge.metrics(each)]) for each in (workdir, reference)
    )
    verdict.check((ours[: STEPS // 2] == theirs[: STEPS // 2]).all(), "what was before differs")
    apart = abs(ours - theirs)[STEPS // 2]
    verdict.see(f"the next loss in bfloat16 differs by {apart:.1e}")
    verdict.check(0 < apart < 0.05, "by too much, or not at all")
    dtypes = {x.dtype for name, x in judge.state(workdir).items() if "student" in name}
    verdict.check(dtypes == {np.dtype(np.float32)}, f"saved as {dtypes}")


@fault("cut cache", "every compiled program that is kept for the next start cut to half")
def cut_cache(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = bench.reference(), bench.half("cut-cache")
    cache = bench.folder / "cut-cache-programs"
    with bench.start(bench.folder / "compiles", "--config.run.stop_after=1", cache=cache) as run:
        verdict.ended(run.end(), 0, says=None)
    programs = [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size > 1000]
    for path in programs:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
    with bench.start(workdir, cache=cache) as run:
        end = run.end()
    verdict.check(end.status == 0, f"status {end.status}: {end.error}")
    verdict.see(f"{len(programs)} programs; {end.error.count(chr(10))} lines of warnings")
    verdict.same(workdir, reference)
