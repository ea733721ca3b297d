"""Are parts recognised on bodies that they were never seen on? The table of docs/results.md.

    rats dictionary --checkpoint=RUN --untrained --train=procedural_parts:2000@101 \\
        --dataset=procedural_parts:1000@102 --output=on_drawings
    rats dictionary --checkpoint=RUN --untrained --train=procedural_parts:2000@101 \\
        --dataset=composites:600@22 --output=on_composites
    python benchmarks/composite_parts.py on_drawings on_composites

The same --train and --seed make the same entries with the same names. Each number is the share of
the registers that attend to a part whose entry has the name of this part; the intervals are 95 %
bootstrap intervals over images.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from rats_jax.parts.dictionary.assignments import SCORED, Assignments, names_of, read  # noqa: E402
from rats_jax.parts.dictionary.naming import NONE  # noqa: E402
from rats_jax.procedural_parts.composites import COMPOSITES  # noqa: E402
from rats_jax.procedural_parts.taxonomy import PART_IDS, PARTS  # noqa: E402
from rats_jax.writing import markdown_table  # noqa: E402

ROWS = {
    "trained": "assignments.npz",
    "untrained": "assignments/untrained_registers.npz",
    "colours": "assignments/colours.npz",
}
GRAFTED = {one.name: PART_IDS[one.part] for one in COMPOSITES}
Chosen = Callable[[np.ndarray, np.ndarray], np.ndarray]  # labels, grafted parts -> bool


def named(found: Assignments, chosen: Chosen) -> tuple[float, np.ndarray]:
    """The share of the chosen votes that agree with the names, and 1,000 resamples of it."""
    names, scored = names_of(found), found.of(SCORED)
    assert names is not None
    grafted = np.array([GRAFTED.get(group, NONE) for group in found.groups_of(SCORED)])
    votes = (scored.label != NONE) & chosen(scored.label, grafted[scored.image])
    right = votes & (names.labels[scored.entry] == scored.label)
    counts = np.stack(
        [np.bincount(scored.image, of, scored.images) for of in (right, votes)], 1
    )  # [S, 2]
    rng, odds = np.random.default_rng(0), np.full(scored.images, 1 / scored.images)
    drawn = rng.multinomial(scored.images, odds, size=1000) @ counts
    share = counts[:, 0].sum() / max(counts[:, 1].sum(), 1)
    return float(share), drawn[:, 0] / np.maximum(drawn[:, 1], 1)


def cells(folder: Path, chosen: Chosen) -> list[str]:
    """trained, untrained, colours, and the two differences, in percent."""
    found = {row: named(read(folder / file), chosen) for row, file in ROWS.items()}
    texts = [_text(share, draws, "") for share, draws in found.values()]
    share, draws = found["trained"]
    for null in ("untrained", "colours"):
        texts.append(_text(share - found[null][0], draws - found[null][1], "+"))
    return texts


def _text(value: float, draws: np.ndarray, sign: str) -> str:
    low, high = np.percentile(draws, (2.5, 97.5))
    low, high = (100 * (end - (draws.mean() - value)) for end in (low, high))
    between = " to " if sign else "-"
    return f"{100 * value:{sign}.1f} ({low:{sign}.1f}{between}{high:{sign}.1f})"


def main(drawings: Path, composites: Path) -> None:
    head = ["registers on", *ROWS, "trained - untrained", "trained - colours"]
    rows = [
        ("drawings", *cells(drawings, lambda label, grafted: label >= 0)),
        ("composites", *cells(composites, lambda label, grafted: label >= 0)),
        ("- host parts", *cells(composites, lambda label, grafted: label != grafted)),
        ("- grafted parts", *cells(composites, lambda label, grafted: label == grafted)),
    ]
    for part in sorted(set(GRAFTED.values())):
        rows += [
            (
                f"{PARTS[part]}, grafted",
                *cells(
                    composites,
                    lambda label, grafted, part=part: (label == part) & (label == grafted),
                ),
            ),
            (
                f"{PARTS[part]}, drawings",
                *cells(drawings, lambda label, grafted, part=part: label == part),
            ),
        ]
    print(markdown_table(head, rows))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
