"""Images that cannot be read, numbers that are none, and file systems that answer no more."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults import judge
from tests.faults.bench import EVERY, STEPS, Bench, Verdict, fault

IMAGES, FIRST = 40, 17  # of those in a folder, the first of the burst


def _burst(folder: Path, count: int) -> list[str]:
    """A folder of images, `count` of which in a row are garbage, cut short, or empty."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        noise = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i:02}.jpg")
    for i in range(FIRST, FIRST + count):
        file = folder / f"{i:02}.jpg"
        whole = file.read_bytes()
        file.write_bytes((b"garbage", whole[: len(whole) // 2], b"")[i % 3])
    return [
        *("--config.data.source=image_folder", f"--config.data.path={folder}"),
        "--config.data.length=0",
    ]


@fault("corrupt images", "a burst of 6 in 40, below the limit; kill -9 in the midst of it")
def few_corrupt(bench: Bench, verdict: Verdict) -> None:
    flags = [*_burst(bench.folder / "few", 6), "--config.data.max_unreadable=0.2"]
    reference = bench.reference("few-corrupt", *flags)
    workdir = bench.folder / "few-corrupt-killed"
    with bench.start(workdir, *flags) as run:
        run.must_say(f"step {2 * EVERY + 2}/")
    with bench.start(workdir, *flags) as run:
        end = run.end()
    verdict.ended(end, 0, says=None)
    listed = (reference / "unreadable.txt").read_text().splitlines()
    verdict.see(f"goes on; {len(listed)} listed in unreadable.txt")
    verdict.check(len(listed) == 6, f"{len(listed)} listed")
    verdict.same(workdir, reference)


@fault("many corrupt images", "a burst of 20 in 40, above the limit; then more are allowed")
def many_corrupt(bench: Bench, verdict: Verdict) -> None:
    flags = _burst(bench.folder / "many", 20)
    allowed = (*flags, "--config.data.max_unreadable=1.0")
    reference = bench.reference("many-allowed", *allowed)
    workdir = bench.folder / "many-corrupt"
    with bench.start(workdir, *flags, "--config.data.max_unreadable=0.3") as run:
        end = run.end()
    verdict.ended(end, 2, says="cannot be read, more than")
    verdict.see(end.error.strip().replace(str(bench.folder), ""))
    with bench.start(workdir, *allowed) as run:
        verdict.ended(run.end(), 0, says=None)
    verdict.same(workdir, reference)


@fault("NaN once", "every pixel of one batch is NaN; every step is saved", short=True)
def one_nan(bench: Bench, verdict: Verdict) -> None:
    bad, workdir, batches = 7, bench.folder / "nan", bench.folder / "batches"
    batches.mkdir()
    flags = ("--config.run.checkpoint_every=1", "--config.run.keep_checkpoints=100")
    faults = (f"nan:{bad}-{bad}", f"record:{batches}")
    end = bench.finish(verdict, workdir, *flags, "--config.run.stop_after=10", faults=faults)
    verdict.check(end.steps == list(range(1, 11)), f"steps {end.steps}")
    before, after, last = (judge.state(workdir, step) for step in (bad - 1, bad, 10))
    changed = judge.differences(before, after)
    verdict.check(changed == ["skipped", "step"], f"the step changed {changed}")
    verdict.check(len(judge.differences(after, last)) > 10, "it learned nothing afterwards")
    verdict.check(all(np.isfinite(x).all() for x in last.values()), "NaN in the end")
    verdict.check(last["skipped"].tolist() == [1, 0], f"counted {last['skipped']}")
    noted = judge.events(workdir, "skipped")
    _, indices = judge.batch(batches, bad)
    verdict.check(
        [(event["step"], event["indices"]) for event in noted] == [(bad, indices)],
        f"events.jsonl: {noted}",
    )
    losses = [row["loss"] for row in judge.metrics(workdir)]
    verdict.check(losses.count(None) == 1 and losses[bad - 1] is None, f"losses {losses}")
    verdict.see("the step changed nothing but its counters; its images are in events.jsonl")


@fault("NaN once, killed", "one batch is NaN; kill -9 before and after it")
def one_nan_killed(bench: Bench, verdict: Verdict) -> None:
    faults = ("nan:23-23",)
    reference = bench.reference("nan-whole", faults=faults)
    workdir = bench.folder / "nan-killed"
    for step in (22, 24, 29):
        with bench.start(workdir, faults=faults) as run:
            run.must_say(f"step {step}/")
    bench.finish(verdict, workdir, faults=faults)
    verdict.same(workdir, reference)


@fault("NaN ten times", "ten batches in a row are NaN; then the same command without them")
def ten_nan(bench: Bench, verdict: Verdict) -> None:
    first, workdir = 2 * EVERY + 3, bench.folder / "ten-nan"
    with bench.start(workdir, faults=(f"nan:{first}-{first + 9}", "pace:0.02")) as run:
        end = run.end()
    verdict.ended(end, 2, says="10 steps in a row")
    verdict.see(end.error.strip())
    verdict.see(f"it ended {end.steps[-1] - first - 8} steps after the tenth")
    verdict.check(end.steps[-1] <= first + 11, f"it went on to step {end.steps[-1]}")
    kept = judge.complete(workdir)
    verdict.see(f"checkpoints {kept}")
    for step in kept:
        good = all(np.isfinite(x).all() for x in judge.state(workdir, step).values())
        verdict.check(good, f"NaN in the checkpoint of step {step}")
    noted = [event["step"] for event in judge.events(workdir, "skipped")]
    verdict.check(noted == list(range(first, first + 10)), f"events.jsonl: steps {noted}")
    again = bench.finish(verdict, workdir)
    verdict.check(again.steps[-1:] == [STEPS], "it did not go on")


@fault("hang", "the file system answers no more; the watchdog is set to 6 s")
def hang(bench: Bench, verdict: Verdict) -> None:
    reference, workdir = bench.reference(), bench.folder / "hang"
    flags = ("--config.guards.stall_minutes=0.1",)
    with bench.start(workdir, *flags, faults=(f"hang:{8 * 13}",)) as run:
        end = run.end(120)
    verdict.check(end.status == 75, f"status {end.status}")
    stacks = workdir / "stacks.txt"
    shown = stacks.read_text() if stacks.exists() else ""
    verdict.check("victim.py" in shown, "the stacks do not show where it hung")
    verdict.check(end.error.startswith("error: no step for"), f"it says {end.error[:200]}")
    verdict.see(f"{end.error.splitlines()[0] if end.error else ''}".replace(str(bench.folder), ""))
    newest = judge.complete(workdir)[-1]
    again = bench.finish(verdict, workdir)
    verdict.check(again.from_step == newest, f"from {again.from_step}, not {newest}")
    verdict.lose(end.steps[-1] - again.from_step)
    verdict.same(workdir, reference)
