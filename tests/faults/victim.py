"""Training with faults built in, as a program: what a start of the campaign runs.

python -m tests.faults.victim [--fault=NAME:ARGUMENT ...] FLAGS OF rats_jax.train
"""

import datetime
import json
import os
import runpy
import sys
import threading
import time

YEAR = 365 * 86_400.0


def slow_save(seconds: str) -> None:
    """What gives a checkpoint its name, and each of its parts, takes its time."""

    def slow(rename):
        def renamed(source, target, **options):
            if "/checkpoints/" in str(source):
                time.sleep(float(seconds))
            return rename(source, target, **options)

        return renamed

    os.rename, os.replace = slow(os.rename), slow(os.replace)


def nan(steps: str) -> None:
    """FIRST-LAST: in these steps every pixel is NaN."""
    import jax
    import jax.numpy as jnp

    from rats_jax import assemble
    from rats_jax.dino.step import DINO

    first, last = map(int, steps.split("-"))

    class Poisoned(DINO):
        def step(self, state, batch, *, make_crops):
            number = state["step"] + 1
            bad = (number >= first) & (number <= last)

            def poisoned(batch):
                return jax.tree.map(lambda x: jnp.where(bad, jnp.nan, x), make_crops(batch))

            return super().step(state, batch, make_crops=poisoned)

    make_dino = assemble.make_dino

    def make_poisoned(*arguments, **options):
        dino = make_dino(*arguments, **options)
        return Poisoned(**{name: getattr(dino, name) for name in DINO.__dataclass_fields__})

    assemble.make_dino = make_poisoned


def hang(reads: str) -> None:
    """After so many images, a file system that answers no more."""
    from rats_jax import assemble

    class Hanging:
        def __init__(self, source):
            self._source, self._left, self._lock = source, int(reads), threading.Lock()

        def __len__(self):
            return len(self._source)

        def __getitem__(self, index):
            with self._lock:
                self._left -= 1
            if self._left < 0:
                threading.Event().wait()
            return self._source[index]

    make_source = assemble.make_source
    assemble.make_source = lambda config: Hanging(make_source(config))


def pace(seconds: str) -> None:
    """No batch comes sooner than so long after the one before."""
    from rats_jax.data.device import DeviceBatches

    next_batch = DeviceBatches.__next__

    def paced(batches):
        time.sleep(float(seconds))
        return next_batch(batches)

    DeviceBatches.__next__ = paced


def clock(seconds: str) -> None:
    """The time of day jumps this often: ten years on, and back to before the run began."""
    real, start = time.time, time.monotonic()

    def time_of_day() -> float:
        jump = (0, 10 * YEAR, -5 * YEAR)[int((time.monotonic() - start) / float(seconds)) % 3]
        return real() + jump

    class Jumping(datetime.datetime):
        __slots__ = ()  # of the size that C code expects

        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(time_of_day(), tz)

    time.time, datetime.datetime = time_of_day, Jumping


def record(folder: str) -> None:
    """Leaves the images of each batch in FOLDER/STEP.ROW, a file a row of this process."""
    from rats_jax.data import pipeline

    open_batches = pipeline.open_batches

    def recorded(source, *, start_step, rows=None, batch_size, **options):
        stream = open_batches(
            source, start_step=start_step, rows=rows, batch_size=batch_size, **options
        )

        class Recorded:
            bytes = stream.bytes
            close = stream.close
            _step = start_step

            def __iter__(self):
                return self

            def __next__(self):
                batch = next(stream)
                self._step += 1
                with open(f"{folder}/{self._step}.{min(rows)}", "w") as file:
                    json.dump([rows.tolist(), batch["index"].tolist()], file)
                return batch

        return Recorded()

    pipeline.open_batches = recorded


FAULTS = {
    "slow_save": slow_save,
    "nan": nan,
    "hang": hang,
    "pace": pace,
    "clock": clock,
    "record": record,
}


def main() -> None:
    faults = [x for x in sys.argv[1:] if x.startswith("--fault=")]
    sys.argv = ["rats_jax.train", *(x for x in sys.argv[1:] if x not in faults)]
    for fault in faults:
        name, _, argument = fault.removeprefix("--fault=").partition(":")
        FAULTS[name](argument)
    runpy.run_module("rats_jax.train", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.modules["torch"] = None  # tensorboardX would load it, for two seconds of every start
    main()
