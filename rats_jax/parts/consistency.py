"""Whether a part is the same part in every image: agreement over the pixels of a whole data set.

Scores within an image (M2O, O2O, ARI) do not ask whether a region of one image and a region of
another are the same part. Here each pixel has a part and an id that means the same in every image,
such as the index of the register that its patch resembles most. Parts and ids are compared over all
pixels together (as in PDiscoNet, arXiv 2309.03173, and PDiscoFormer, arXiv 2407.04538).
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import xlogy

from rats_jax.parts import bootstrap
from rats_jax.parts.region_metrics import positions


class Agreement(NamedTuple):
    """nmi: mutual information normalised by the arithmetic mean of the entropies, 0..1. ari:
    adjusted Rand index, 0 at chance. within: NMI within each class of images, averaged over the
    classes with two parts or more, weighted by their pixels; NaN without such classes.

    An id that depends only on the class of the image has a high `nmi` if each class has its own
    parts, but a `within` of 0.
    """

    nmi: float
    ari: float
    within: float


class MeasuredAgreement(NamedTuple):
    """An estimate, the ends of its 95 % bootstrap interval, and the pixels that were compared."""

    mean: Agreement
    low: Agreement
    high: Agreement
    pixels: int


class Pooled:
    """Counts of (class, part, id) in each image; memory grows with the combinations that occur.

    Every `Pooled` of the same number of images is resampled by the same draws, so that differences
    are paired.
    """

    def __init__(self):
        self._images: list[tuple[str | None, np.ndarray, np.ndarray]] = []  # pairs [P, 2], counts
        self._known: dict[int | None, tuple[Agreement, np.ndarray, int]] = {}  # by background

    def add(
        self,
        parts: np.ndarray,
        ids: np.ndarray,
        *,
        of_class: str | None = None,
        void: int | None = None,
    ) -> None:
        """Adds an image: integer maps of one shape. Pixels whose part is `void` do not count."""
        if parts.shape != ids.shape:
            raise ValueError(f"parts are {parts.shape}, ids are {ids.shape}")
        counted = parts != void
        self._images.append((of_class, *_counted_pairs(parts[counted], ids[counted])))
        self._known.clear()

    @property
    def parts(self) -> set[int]:
        """The ids of all parts that occur."""
        return {part for _, pairs, _ in self._images for part in pairs[:, 0].tolist()}

    @property
    def ids(self) -> set[int]:
        """All ids that occur."""
        return {id_ for _, pairs, _ in self._images for id_ in pairs[:, 1].tolist()}

    def agreement(self, background: int | None = None) -> MeasuredAgreement:
        """The agreement over all pixels whose part is not `background`; NaN without pixels."""
        mean, resampled, pixels = self._resampling(background)
        least = Agreement(0.0, -1.0, 0.0)
        low, high = (
            Agreement(*np.clip(of, least, 1.0).tolist())
            for of in bootstrap.interval(mean, resampled)
        )
        return MeasuredAgreement(mean, low, high, pixels)

    def difference(self, other: "Pooled", background: int | None = None) -> MeasuredAgreement:
        """This agreement minus that of `other`, which has the same images in the same order."""
        one, resampled, pixels = self._resampling(background)
        two, others, _ = other._resampling(background)
        mean = Agreement(*(x - y for x, y in zip(one, two, strict=True)))
        low, high = bootstrap.interval(mean, resampled - others)
        return MeasuredAgreement(mean, Agreement(*low.tolist()), Agreement(*high.tolist()), pixels)

    def _resampling(self, background: int | None) -> tuple[Agreement, np.ndarray, int]:
        """The agreement, the agreement of resampled images, and the number of pixels. Computed only
        once, because it is used in several differences."""
        if background not in self._known:
            cells = self._cells(background)
            pixels = int(cells.counts.sum())
            mean = Agreement(np.nan, np.nan, np.nan)
            resampled = np.full((bootstrap.RESAMPLES, len(mean)), np.nan)
            if pixels:
                mean = Agreement(*_agreements(cells.counts.sum(0)[None], cells)[0].tolist())
                resampled = bootstrap.resampled(
                    cells.counts.shape[0],
                    lambda drawn: _agreements(drawn @ cells.counts, cells),
                )
            self._known[background] = mean, resampled, pixels
        return self._known[background]

    def _cells(self, background: int | None) -> "_Cells":
        lengths = [len(counts) for _, _, counts in self._images]
        names, of_image = np.unique([c or "" for c, _, _ in self._images], return_inverse=True)
        image = np.repeat(np.arange(len(lengths)), lengths)
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *(p for _, p, _ in self._images)])
        counts = np.concatenate([np.zeros(0, np.int64), *(n for _, _, n in self._images)])
        kept = pairs[:, 0] != background
        triples = np.column_stack([of_image[image], pairs])[kept]
        cells, cell = np.unique(triples, axis=0, return_inverse=True)
        shape = len(lengths), len(cells)
        table = csr_array((counts[kept].astype(np.float64), (image[kept], cell.ravel())), shape)
        of_class, part, id_ = cells.T
        return _Cells(table, of_class, part, id_, names[0] != "" if len(names) else False)


def _counted_pairs(parts: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs (part, id) that occur, int64 [P, 2] in ascending order, and how often."""
    if not parts.size:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
    rows, of_rows = positions(parts)
    columns, of_columns = positions(ids)
    table = np.bincount(rows * len(of_columns) + columns)
    (cells,) = np.nonzero(table)
    row, column = np.divmod(cells, len(of_columns))
    return np.stack([of_rows[row], of_columns[column]], 1).astype(np.int64), table[cells]


class _Cells(NamedTuple):
    """counts: sparse float64 [images, C], whole numbers. of_class, part, id: of each of the C
    combinations that occur."""

    counts: csr_array
    of_class: np.ndarray
    part: np.ndarray
    id: np.ndarray
    has_classes: bool


def _agreements(counts: np.ndarray, cells: _Cells) -> np.ndarray:
    """The `Agreement` of each row of counts [R, C], float64 [R, 3]."""
    one = np.zeros_like(cells.of_class)
    (nmi,), _ = _information(counts, one, cells.part, cells.id)
    within = np.full(len(counts), np.nan)
    if cells.has_classes:
        of_class, weight = _information(counts, cells.of_class, cells.part, cells.id)
        pixels = weight.sum(0)
        within = np.where(pixels > 0, (of_class * weight).sum(0) / np.maximum(pixels, 1), np.nan)
    return np.stack([nmi, _rand(counts, cells), within], 1)


def _information(
    counts: np.ndarray, group: np.ndarray, part: np.ndarray, id_: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """NMI in each group, [G, R]; 1 if there is one part and one id, which are then the same
    partition. Also its weight [G, R]: the pixels of the group if it has two parts, else 0."""
    groups = _sums(group)
    pixels = np.maximum((counts @ groups).T, 1)

    def entropy(*classes: np.ndarray) -> np.ndarray:
        members, member = np.unique(np.stack([group, *classes], 1), axis=0, return_inverse=True)
        sums = counts @ _sums(member.ravel())
        return np.log(pixels) - (xlogy(sums, sums) @ _sums(members[:, 0])).T / pixels

    parts, ids = entropy(part), entropy(id_)
    information = np.maximum(parts + ids - entropy(part, id_), 0)
    some = parts + ids > 1e-12
    nmi = np.where(some, 2 * information / np.where(some, parts + ids, 1), 1.0)
    return nmi, np.where(parts > 1e-12, pixels, 0)


def _sums(member: np.ndarray) -> csr_array:
    """The matrix [C, M] that sums counts by member, for M different values of `member`."""
    _, place = np.unique(member, return_inverse=True)
    return csr_array((np.ones(len(place)), (np.arange(len(place)), place)))


def _rand(counts: np.ndarray, cells: _Cells) -> np.ndarray:
    """Adjusted Rand index of each row of counts [R, C], over all classes together. In float64,
    whose rounding error is 1e-16 of the squared number of pixels."""
    pairs, pair = np.unique(np.stack([cells.part, cells.id], 1), axis=0, return_inverse=True)
    counts = counts @ _sums(pair.ravel())
    pixels = counts.sum(1)
    same = (counts**2).sum(1) - pixels
    rows, columns = (((counts @ _sums(of)) ** 2).sum(1) - pixels for of in pairs.T)
    expected = rows * columns / np.maximum(pixels * (pixels - 1), 1)
    most = (rows + columns) / 2
    trivial = most - expected <= 1e-12 * np.maximum(most, 1)
    return np.where(trivial, 1.0, (same - expected) / np.where(trivial, 1, most - expected))
