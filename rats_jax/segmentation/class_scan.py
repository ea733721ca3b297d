"""Finds the ids that occur in the masks of a data set."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID, PartDataset
from rats_jax.parts.datasets.part_dataset import MOST_REGIONS, Entry, Sizes
from rats_jax.paths import printable
from rats_jax.progress import Progress

_NO_SIZES = Sizes((0, 0), (0, 0))  # readers of id files do not use them
_AT_ONCE = 256  # masks


def ids_of_masks(parts: PartDataset) -> list[np.ndarray | None]:
    """The ids in each mask, ascending, without void. Images are not read. None for a broken mask:
    reading the sample reports it.

    Raises:
      UserError: no mask can be read, or there are too many ids.
    """
    found: set[int] = set()
    of_masks: list[np.ndarray | None] = []
    fault = ""
    progress = Progress(f"classes of {parts.name}", len(parts))
    for ids in _ids_of_all(parts):
        progress.add(1)
        if isinstance(ids, str):
            fault = fault or ids
            of_masks.append(None)
            continue
        of_masks.append(ids)
        found.update(ids.tolist())
        if len(found) > MOST_REGIONS:
            raise UserError(
                f"the masks of {parts.name} hold more than {MOST_REGIONS:,} ids: they seem to be "
                "photographs, or ids of single objects; give masks with one id for each class, or "
                "list the ids in config.data.classes"
            )
    if all(ids is None for ids in of_masks):
        raise UserError(f"{parts.name}: no mask can be read, for instance: {fault}")
    return of_masks


def _ids_of_all(parts: PartDataset) -> Iterator[np.ndarray | str]:
    """The ids of each mask, or why it cannot be read."""

    def work(entry: Entry) -> np.ndarray | str:
        try:
            if entry.fault:
                return printable(entry.fault)
            return _different(parts.read_mask(entry, _NO_SIZES).ids)
        except UserError as error:
            return printable(str(error))

    with ThreadPoolExecutor(max(os.cpu_count() or 1, 2)) as pool:
        for start in range(0, len(parts), _AT_ONCE):
            yield from pool.map(work, parts.entries[start : start + _AT_ONCE])


def _different(ids: np.ndarray) -> np.ndarray:
    """The different ids, ascending, without void."""
    small = ids.size and int(ids.min()) >= VOID and int(ids.max()) < MOST_REGIONS
    different = np.flatnonzero(np.bincount(ids.ravel() + 1)) - 1 if small else np.unique(ids)
    return different[different != VOID].astype(np.int32)
