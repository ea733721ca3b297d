"""The rows of the table: entries, what they are assigned to, and their scores."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.dictionaries.extraction import Extracted, folder_name
from rats_jax.dictionaries.sources import COLOURS, GLOBAL, PATCHES
from rats_jax.errors import UserError
from rats_jax.parts.dictionary.assignments import (
    SCORED,
    Assignments,
    OfSplit,
    joined,
    names_of,
    resampled_scores,
)
from rats_jax.parts.dictionary.kmeans import fit, nearest
from rats_jax.parts.dictionary.naming import NONE, Names
from rats_jax.parts.dictionary.retrieval import random_ranking, rank
from rats_jax.parts.dictionary.scores import Resampled, measure
from rats_jax.progress import reports_time
from rats_jax.voice import say

LEARNED, RANDOM = "learned entries", "random"
_CHUNK = 65_536  # vectors that are assigned at once
_SECONDS = 20.0  # between two lines of a fit


class Row(NamedTuple):
    """scores: of the scored split. assignments, entries: None for rows without entries. facts: of
    the fit, as plain values."""

    scores: Resampled
    assignments: Assignments | None = None
    entries: np.ndarray | None = None
    facts: Mapping = {}  # noqa: RUF012, nobody writes to it

    @property
    def names(self) -> Names | None:
        return None if self.assignments is None else names_of(self.assignments)


class Fitting(NamedTuple):
    """entries: E. folder: where fits are kept, so that a killed one resumes."""

    entries: int
    seed: int
    restarts: int
    folder: Path

    def state_file(self, source: str) -> Path:
        settings = f"{self.entries}_{self.seed}_{self.restarts}"
        return self.folder / f"{folder_name(source)}_{settings}.kmeans"


def make_rows(
    train: Extracted,
    scored: Extracted,
    *,
    fitting: Fitting,
    kind: str,
    learned: tuple[np.ndarray, Mapping] | None = None,
) -> dict[str, Row]:
    """All rows by name; the first is that of the model's own detectors.

    kind: "registers" or "regions". learned: entries [E, D], as many as `fitting` makes, and facts
    about them.

    Raises:
      UserError: the model's own detectors cannot be clustered, and there are no learned entries.
        Another row that cannot be made is left out, with a warning.
    """
    main = f"model: {kind}"
    if learned is None:
        rows = {main: _fitted(main, train, scored, fitting)}
    else:
        entries, facts = learned
        if len(entries) != fitting.entries:
            raise ValueError(f"{len(entries)} learned entries beside rows of {fitting.entries}")
        rows = _fitted_if_possible(main, train, scored, fitting)
        say(f"{len(entries):,} learned entries")
        rows[LEARNED] = _row(main, train, scored, entries, unit=True, facts=facts)
    for source in train.stores:
        if source != main and not source.endswith(GLOBAL):
            rows |= _fitted_if_possible(source, train, scored, fitting)
    if any(scored.groups):
        for source in train.stores:
            if source.endswith(GLOBAL):
                with reports_time(f"{source}: retrieval of {len(scored.names):,} images"):
                    ranked = rank(_whole(scored, source), scored.groups)
                rows[source] = Row(measure(None, None, ranked))
    rows[RANDOM] = _random(main, train, scored, fitting)
    return rows


def _fitted_if_possible(
    source: str, train: Extracted, scored: Extracted, fitting: Fitting
) -> dict[str, Row]:
    """The row of K-means by its name; nothing, and a warning, if it cannot be made."""
    try:
        return {source: _fitted(source, train, scored, fitting)}
    except UserError as error:
        say(f"warning: the row {source} is left out: {error}")
        return {}


def _fitted(source: str, train: Extracted, scored: Extracted, fitting: Fitting) -> Row:
    """K-means of the training detectors of a source: of those whose map has its peak in a part, or
    of all if there are no masks."""
    store = train.stores[source]
    keep = store.array("inside" if train.images.masks else "exists")
    kept = int(np.count_nonzero(keep))
    what = source.partition(": ")[2] or source
    inside = " whose map has its peak in a part" if train.images.masks else ""
    say(f"{source}: k-means of {kept:,} training vectors{inside}, {fitting.entries:,} entries")
    if kept < fitting.entries:
        raise UserError(
            f"--entries={fitting.entries} is more than the {kept:,} {what} of {train.images.spec}"
            f"{inside}: choose fewer entries, or give more images"
        )
    found = fit(
        store.vectors(keep),
        fitting.entries,
        seed=fitting.seed,
        restarts=fitting.restarts,
        state=fitting.state_file(source),
        report=_now_and_then(),
    )
    facts = {
        "vectors": kept,
        "objective": float(found.objective),
        "iterations": int(found.iterations),
        "converged": bool(found.converged),
    }
    return _row(source, train, scored, found.centers, unit=False, facts=facts)


def _row(
    source: str,
    train: Extracted,
    scored: Extracted,
    entries: np.ndarray,
    *,
    unit: bool,
    facts: Mapping,
) -> Row:
    one, other = (_assigned(source, split, entries, unit=unit) for split in (train, scored))
    assignments = joined(one, other, entries=len(entries))
    with reports_time(f"{source}: scores of {len(scored.names):,} images"):
        return Row(resampled_scores(assignments), assignments, entries, facts)


def _assigned(source: str, split: Extracted, entries: np.ndarray, *, unit: bool) -> OfSplit:
    """The nearest entry of each detector."""
    store = split.stores[source]
    found = [nearest(part, entries, unit=unit)[0] for part in store.vectors().chunks(_CHUNK)]
    exists, label = store.array("exists"), store.array("label")
    entry = np.where(exists, np.concatenate(found).reshape(exists.shape), NONE)
    return OfSplit(entry, label, split.names, split.groups)


def _whole(split: Extracted, source: str) -> np.ndarray:
    """The global vectors [S, D]."""
    return np.concatenate(list(split.stores[source].vectors().chunks(_CHUNK)))


def _random(main: str, train: Extracted, scored: Extracted, fitting: Fitting) -> Row:
    """The labels of the model's own detectors, with entries drawn at random; and for retrieval the
    expected scores of a ranking at random."""
    rng = np.random.default_rng(fitting.seed)
    splits = []
    for split in (train, scored):
        label, exists = (split.stores[main].array(name) for name in ("label", "exists"))
        entry = np.where(exists, rng.integers(0, fitting.entries, label.shape), NONE)
        splits.append(OfSplit(entry, label, split.names, split.groups))
    assignments = joined(*splits, entries=fitting.entries)
    names = names_of(assignments)
    ranked = random_ranking(scored.groups) if any(scored.groups) else None
    of_scored = assignments.of(SCORED)
    scores = measure(of_scored, None if names is None else names.labels, ranked)
    return Row(scores, assignments)


def _now_and_then():
    """Says a line if the last one is some time ago."""
    said = time.monotonic()

    def report(line: str) -> None:
        nonlocal said
        if time.monotonic() - said > _SECONDS:
            said = time.monotonic()
            say(line)

    return report


def null_rows(rows: Mapping[str, Row]) -> list[str]:
    """The rows that a dictionary must beat, of those that there are."""
    nulls = [name for name in rows if name.startswith("untrained: ")]
    nulls += [name for name in (f"model: {PATCHES}", f"model: {GLOBAL}", COLOURS) if name in rows]
    return [*nulls, RANDOM]
