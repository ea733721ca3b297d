"""Breaks runs in every way that is known to us, and tells what came of it.

python -m tests.faults.campaign [--kills=30] [--only=NAME] [--short] [--seed=0] [--keep=FOLDER]
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from absl import logging

from tests.faults import damage, disks, inputs, kills, oddities, several, signals  # noqa: F401
from tests.faults.bench import FAULTS, Bench, Fault, Skipped, Verdict

COLUMNS = ("fault", "what was done", "what was seen", "lost steps", "equal", "verdict")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="how often a run is killed")
    parser.add_argument("--only", action="append", help="a fault's name, or how it begins")
    parser.add_argument("--short", action="store_true", help="those of `make test-processes`")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--keep", type=Path, help="a new folder, in which the runs are left")
    options = parser.parse_args()
    if options.kills < 1:
        parser.error("--kills: 1 is the least")
    chosen = [
        each
        for each in FAULTS
        if (each.short or not options.short)
        and (not options.only or any(each.name.startswith(name) for name in options.only))
    ]
    if not chosen:
        parser.error("no such fault; there are " + ", ".join(each.name for each in FAULTS))
    if options.keep:
        options.keep.mkdir(parents=True)
        return run(chosen, options.keep, options)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        return run(chosen, Path(folder), options)


def run(chosen: list[Fault], folder: Path, options) -> int:
    # A shell's background jobs are deaf to Ctrl-C, and what they start as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.set_verbosity(logging.ERROR)  # orbax misses a file of its own in a part read alone
    print(f"seed {options.seed}, {options.kills} kills, in {folder}", file=sys.stderr)
    bench = Bench(folder, seed=options.seed, kills=options.kills)
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    failed = 0
    for each in chosen:
        start = time.monotonic()
        verdict, row = judged(each, bench)
        failed += bool(verdict.wrong)
        print(row, flush=True)
        print(f"{each.name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return 1 if failed else 0


def judged(each: Fault, bench: Bench) -> tuple[Verdict, str]:
    """Does a fault; what was seen, also as a row of the table."""
    verdict, word = Verdict(), "as promised"
    try:
        each.act(bench, verdict)
    except Skipped as reason:
        word = f"not done: {reason}"
    except Exception as error:  # a fault whose stage falls down is a fault that failed
        verdict.wrong.append(f"{type(error).__name__}: {error}")
    if verdict.wrong:
        word = "FAILED: " + "; ".join(verdict.wrong)
    equal = {True: "yes", False: "NO", None: ""}[verdict.equal]
    lost = "" if verdict.lost is None else str(verdict.lost)
    cells = (each.name, each.done, "; ".join(verdict.seen), lost, equal, word)
    row = "| " + " | ".join(cell.replace("\n", " ").replace("|", "/") for cell in cells) + " |"
    return verdict, row


if __name__ == "__main__":
    sys.exit(main())
