"""Time the part metrics beside their references.

python benchmarks/region_metrics.py [--turns=7] [--pixels=512]

One image: 12 parts and a region map of K, both made of nearest points, a tenth of the pixels void.
`score` gives M2O, O2O and ARI; the references are scikit-learn's adjusted_rand_score, which gives
ARI alone, and the literal M2O and O2O that the tests hold `score` to. All in one process and one
thread, in turns; figures are medians of process CPU time, ratios medians over turns.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from scipy.spatial import cKDTree
from sklearn.metrics import adjusted_rand_score

sys.path.insert(0, str(Path(__file__).parents[1]))
from rats_jax.parts.region_metrics import score  # noqa: E402
from tests.parts.literal_metrics import literal_scores  # noqa: E402

TURNS = flags.DEFINE_integer("turns", 7, "Turns of each.", lower_bound=1)
PIXELS = flags.DEFINE_integer("pixels", 512, "Height and width.", lower_bound=8)
PARTS, VOID = 12, 255


def nearest_points(rng: np.random.Generator, side: int, count: int) -> np.ndarray:
    """int32 [side, side], which of some random points is nearest to each pixel."""
    pixels = np.stack(np.mgrid[:side, :side], axis=-1).reshape(-1, 2)
    _, nearest = cKDTree(rng.uniform(0, side, (count, 2))).query(pixels)
    return nearest.reshape(side, side).astype(np.int32)


def main(_) -> None:
    rng = np.random.default_rng(0)
    truth = nearest_points(rng, PIXELS.value, PARTS)
    truth[: PIXELS.value // 10] = VOID
    valid = truth != VOID
    print("| K | M2O, O2O, ARI | scikit-learn's ARI | ratio | literal M2O, O2O | ratio |")
    print("|---|---|---|---|---|---|")
    for k in (6, 12, 33, 96):
        prediction = nearest_points(rng, PIXELS.value, k)
        sides = {
            "ours": lambda p=prediction: score(p, truth, void=VOID),
            "scikit-learn": lambda p=prediction: adjusted_rand_score(truth[valid], p[valid]),
            "literal": lambda p=prediction: literal_scores(p, truth, VOID),
        }
        found = {name: side() for name, side in sides.items()}  # and warm
        expected = (*found["literal"], found["scikit-learn"])
        np.testing.assert_allclose(found["ours"][:3], expected, atol=1e-12)
        times = {name: [] for name in sides}
        for _ in range(TURNS.value):
            for name, side in sides.items():
                start = time.process_time()
                side()
                times[name].append(time.process_time() - start)
        cells = [f"{1000 * statistics.median(times['ours']):.2f} ms"]
        for name in ("scikit-learn", "literal"):
            ratios = [slow / fast for slow, fast in zip(times[name], times["ours"], strict=True)]
            cells.append(f"{1000 * statistics.median(times[name]):.1f} ms")
            cells.append(f"{statistics.median(ratios):.1f}")
        print(f"| {k} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    app.run(main)
