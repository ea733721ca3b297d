"""Time, memory and objective of K-means, beside scikit-learn's from the same start.

python benchmarks/kmeans.py [--vectors=1000000] [--width=384] [--entries=400,4096] [--iterations=3]
    [--turns=1] [--output=FILE.json]

The vectors are bfloat16 numbers around 2,000 random centers, in the files of
rats_jax/dictionaries/store.py. Sides, each in a separate process, in turns:

  rats_jax        K-means that reads the files in every iteration
  lloyd           scikit-learn's KMeans, of the same vectors as float32 in memory
  minibatch       scikit-learn's MiniBatchKMeans, batches of 16,384, as many passes

All start from the same vectors and make the same number of iterations, after which each computes
the objective of all vectors in one more pass. Times are of the whole fit without reading the
vectors into memory, for `rats_jax` with it. CPU time is affected least by other work on the
machine. Memory is the peak of a process above what it had after its imports. Linux only.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).parents[1]))
from rats_jax.dictionaries.store import Store  # noqa: E402
from rats_jax.parts.dictionary import kmeans  # noqa: E402

VECTORS = flags.DEFINE_integer("vectors", 1_000_000, "Vectors.", lower_bound=1)
WIDTH = flags.DEFINE_integer("width", 384, "Values of a vector.", lower_bound=1)
ENTRIES = flags.DEFINE_list("entries", ["400", "4096"], "Numbers of entries.")
ITERATIONS = flags.DEFINE_integer("iterations", 3, "Iterations of each side.", lower_bound=1)
TURNS = flags.DEFINE_integer("turns", 1, "Turns of each side.", lower_bound=1)
SIDES = flags.DEFINE_list("sides", ["rats_jax", "lloyd", "minibatch"], "Which to run.")
OUTPUT = flags.DEFINE_string("output", None, "A JSON file for all figures.")
SIDE = flags.DEFINE_string("side", None, "Internal: be this side.")
FOLDER = flags.DEFINE_string("folder", None, "Internal: where the vectors are.")
IMAGE = 100  # vectors of an image, in the files
CLUSTERS = 2000
ABOUT = {"benchmark": "kmeans"}


def make_vectors(folder: Path) -> None:
    """Writes the vectors and, for each number of entries, centers to start from."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((CLUSTERS, WIDTH.value), dtype=np.float32)
    store = Store.open(folder / "store", ABOUT)
    for first in range(0, VECTORS.value, 100 * IMAGE):
        images = -(-min(100 * IMAGE, VECTORS.value - first) // IMAGE)
        noise = rng.standard_normal((images, IMAGE, WIDTH.value), dtype=np.float32)
        which = rng.integers(0, CLUSTERS, (images, IMAGE))
        store.append({"vectors": centers[which] + noise})
    store.close()
    vectors = store.vectors()
    for entries in map(int, ENTRIES.value):
        chosen = rng.choice(len(vectors), entries, replace=False)
        np.save(folder / f"start_{entries}.npy", vectors.rows(np.sort(chosen)))


def fit_of(side: str, vectors, start: np.ndarray) -> tuple[float, int]:
    """The objective, and the number of iterations."""
    entries = len(start)
    if side == "rats_jax":
        found = kmeans.fit(vectors, entries, start=start, iterations=ITERATIONS.value)
        return found.objective, found.iterations
    from sklearn.cluster import KMeans, MiniBatchKMeans

    settings = {"init": start, "n_init": 1, "max_iter": ITERATIONS.value, "tol": 0}
    if side == "lloyd":
        found = KMeans(entries, algorithm="lloyd", **settings).fit(vectors)
    else:
        found = MiniBatchKMeans(
            entries, batch_size=16_384, max_no_improvement=None, random_state=0, **settings
        ).fit(vectors)
    return float(found.inertia_), int(found.n_iter_)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def be_side(side: str, folder: Path, entries: int) -> dict[str, float]:
    """Figures of one fit."""
    import jax
    import sklearn.cluster  # noqa: F401

    jax.devices()
    before = peak()
    stored = Store.open(folder / "store", ABOUT).vectors()
    start = np.load(folder / f"start_{entries}.npy")
    if side == "rats_jax":
        vectors = stored
    else:
        vectors = np.empty((len(stored), stored.width), np.float32)
        first = 0
        for chunk in stored.chunks(16_384):
            vectors[first : first + len(chunk)] = chunk
            first += len(chunk)
    wall, cpu = time.perf_counter(), time.process_time()
    objective, iterations = fit_of(side, vectors, start)
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "objective": objective,
        "iterations": iterations,
        "peak_gib": peak() - before,
    }


def figures(folder: Path, side: str, entries: int) -> dict[str, float]:
    """`be_side` in another process."""
    command = [sys.executable, __file__, f"--side={side}", f"--folder={folder}"]
    command += [f"--entries={entries}", f"--iterations={ITERATIONS.value}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(_) -> None:
    if SIDE.value:
        print(json.dumps(be_side(SIDE.value, Path(FOLDER.value), int(ENTRIES.value[0]))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_vectors(Path(folder))
        print("| entries | side | s | CPU s | objective | against lloyd | peak, GiB |")
        print("|---|---|---|---|---|---|---|")
        for entries in map(int, ENTRIES.value):
            turns = {side: [] for side in SIDES.value}
            for _ in range(TURNS.value):
                for side in SIDES.value:
                    turns[side].append(figures(Path(folder), side, entries))
            for side, found in turns.items():
                row = {name: statistics.median(turn[name] for turn in found) for name in found[0]}
                rows.append({"entries": entries, "side": side, **row, "turns": found})
                against = "-"
                if "lloyd" in turns:
                    lloyd = turns["lloyd"][0]["objective"]
                    against = f"{row['objective'] / lloyd - 1:+.2e}"
                print(
                    f"| {entries:,} | {side} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | "
                    f"{row['objective']:.7g} | {against} | {row['peak_gib']:.2f} |",
                    flush=True,
                )
    if OUTPUT.value:
        about = {"vectors": VECTORS.value, "width": WIDTH.value, "iterations": ITERATIONS.value}
        about |= {"cores": os.cpu_count(), "load": os.getloadavg()}
        Path(OUTPUT.value).write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
