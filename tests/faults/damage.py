"""Checkpoints that a disk has damaged."""

import io
import shutil
from contextlib import redirect_stdout
from pathlib import Path

from tests.faults import judge
from tests.faults.bench import EVERY, STEPS, Bench, Verdict, fault

HALF = STEPS // 2


def arrays(checkpoint: Path) -> list[Path]:
    """Files of array data, the largest first."""
    files = [path for path in checkpoint.rglob("d/*") if path.is_file()]
    return sorted(files, key=lambda path: path.stat().st_size, reverse=True)


def truncate(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    file.write_bytes(data)


def garble(file: Path) -> None:
    file.write_bytes(b"\x00garbage" * (file.stat().st_size // 8 + 1))


def _falls_back(bench: Bench, verdict: Verdict, name: str, damage) -> None:
    """The newest of two checkpoints is damaged: the one before is taken, and that is told."""
    reference, workdir = bench.reference(), bench.half(name)
    verdict.check(judge.complete(workdir) == [HALF - EVERY, HALF], "no two checkpoints")
    damage(workdir / "checkpoints" / str(HALF))
    end = bench.finish(verdict, workdir)
    verdict.check(end.from_step == HALF - EVERY, f"from {end.from_step}, not {HALF - EVERY}")
    if end.from_step is not None:
        verdict.lose(HALF - end.from_step)
    told = [line.strip() for line in end.lines if "damaged" in line and str(HALF) in line]
    verdict.check(told, "not told on standard output")
    verdict.see("; ".join(told).replace(str(bench.folder), ""))
    noted = judge.events(workdir, "damaged")
    verdict.check([event["step"] for event in noted] == [HALF], f"events.jsonl: {noted}")
    verdict.check((workdir / "damaged" / str(HALF)).is_dir(), "not moved to damaged/")
    verdict.same(workdir, reference)


@fault("truncated", "newest checkpoint: largest array file cut to half")
def truncated(bench: Bench, verdict: Verdict) -> None:
    _falls_back(bench, verdict, "truncated", lambda newest: truncate(arrays(newest)[0]))


@fault("flipped bit", "newest checkpoint: one bit of its array data flipped", short=True)
def flipped_bit(bench: Bench, verdict: Verdict) -> None:
    _falls_back(bench, verdict, "flipped", lambda newest: flip(arrays(newest)[0]))


@fault("deleted file", "newest checkpoint: an array file deleted")
def deleted_file(bench: Bench, verdict: Verdict) -> None:
    _falls_back(bench, verdict, "deleted", lambda newest: arrays(newest)[0].unlink())


@fault("garbled metadata", "newest checkpoint: every file that holds no arrays garbled")
def garbled_meta(bench: Bench, verdict: Verdict) -> None:
    def damage(newest: Path) -> None:
        for file in newest.rglob("*"):
            if file.is_file() and file not in arrays(newest):
                garble(file)

    _falls_back(bench, verdict, "garbled", damage)


@fault("emptied", "newest checkpoint: an empty directory")
def emptied(bench: Bench, verdict: Verdict) -> None:
    def damage(newest: Path) -> None:
        shutil.rmtree(newest)
        newest.mkdir()

    _falls_back(bench, verdict, "emptied", damage)


@fault("all damaged", "every checkpoint: a bit flipped")
def all_damaged(bench: Bench, verdict: Verdict) -> None:
    workdir = bench.half("all-damaged")
    before = _tree(workdir / "checkpoints")
    for step in judge.complete(workdir):
        flip(arrays(workdir / "checkpoints" / str(step))[0])
    with bench.start(workdir) as run:
        end = run.end()
    verdict.ended(end, 2, says="can be restored")
    verdict.see(end.error.strip().replace(str(bench.folder), ""))
    verdict.check(not end.steps, "it trained")
    verdict.check(_tree(workdir / "checkpoints") == before, "something was moved")
    verdict.check(not (workdir / "damaged").exists(), "damaged/ was made")


@fault(
    "every file",
    "each file of the newest checkpoint in turn: cut, flipped, deleted, garbled, emptied",
)
def every_file(bench: Bench, verdict: Verdict) -> None:
    """Without training: what is restored is one of the two states, to the bit, or nothing."""
    import jax

    from rats_jax.runs.checkpoints.checkpoint import Checkpoints

    workdir = bench.half("every-file")
    states = {step: judge.state(workdir, step) for step in judge.complete(workdir)}
    like = _like(states[HALF], jax.devices()[0])
    kinds = (truncate, flip, Path.unlink, garble, lambda file: file.write_bytes(b""))
    outcomes = {HALF: 0, HALF - EVERY: 0}
    for file in sorted((workdir / "checkpoints" / str(HALF)).rglob("*")):
        for kind in kinds if file.is_file() else ():
            copy = bench.folder / "copy"
            shutil.copytree(workdir, copy)
            kind(copy / file.relative_to(workdir))
            what = f"{kind.__name__} of {file.relative_to(workdir)}"
            try:
                with redirect_stdout(io.StringIO()), Checkpoints(copy, keep=2) as checkpoints:
                    found = checkpoints.restore(like)
                ours = judge.flat(found.state)
                wrong = judge.differences(ours, states[found.step])
                verdict.check(not wrong, f"{what}: {wrong[:3]} differ")
                outcomes[found.step] += 1
            except Exception as error:
                verdict.check(False, f"{what}: {type(error).__name__} {error}"[:300])
            shutil.rmtree(copy)
    verdict.see(
        f"{sum(outcomes.values())} damages: {outcomes[HALF - EVERY]} fell back, "
        f"{outcomes[HALF]} did no harm"
    )


def _tree(folder: Path) -> list[tuple[str, int]]:
    return sorted(
        (str(path.relative_to(folder)), path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    )


def _like(arrays: dict, device) -> dict:
    import jax

    sharding, tree = jax.sharding.SingleDeviceSharding(device), {}
    for path, x in arrays.items():
        *folders, name = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    return tree
