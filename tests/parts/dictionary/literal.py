"""The scores of a dictionary as its specification words them: loops over lists, nothing of ours."""

from collections import Counter
from itertools import permutations
from math import log, sqrt


def label_of(heat, mask, *, void, background):
    """heat, mask: rows of pixels. The part with the highest mean, None if all are 0."""
    values = {}
    for row, ids in zip(heat, mask, strict=True):
        for value, part in zip(row, ids, strict=True):
            if part not in (void, background):
                values.setdefault(part, []).append(value)
    means = {part: sum(of) / len(of) for part, of in values.items()}
    highest = max(means.values(), default=0)
    return (
        min((p for p in means if abs(means[p] - highest) < 1e-9), default=None)
        if (highest > 0)
        else None
    )


def votes(detectors):
    """entry -> Counter of labels. detectors: (image, entry, label), None for no label."""
    found = {}
    for _, entry, label in detectors:
        if label is not None:
            found.setdefault(entry, Counter())[label] += 1
    return found


def names(detectors):
    """entry -> (name, purity), of the entries with three votes or more."""
    found = {}
    for entry, counter in votes(detectors).items():
        if counter.total() >= 3:
            most = max(counter.values())
            found[entry] = min(x for x in counter if counter[x] == most), most / counter.total()
    return found


def val_purity(detectors):
    weighed = total = 0
    for entry, (_, purity) in names(detectors).items():
        members = votes(detectors)[entry].total()
        weighed, total = weighed + members * purity, total + members
    return weighed / total if total else None


def named(training, scored):
    called = {entry: name for entry, (name, _) in names(training).items()}
    labelled = [(entry, label) for _, entry, label in scored if label is not None]
    agree = [called.get(entry, "no name") == label for entry, label in labelled]
    return sum(agree) / len(agree) if agree else None


def util(detectors, entries):
    members = Counter(entry for _, entry, _ in detectors)
    return sum(members[entry] >= 3 for entry in range(entries)) / entries


def image_vectors(detectors, images):
    """A dict from entry to weight of each image, of length 1 or empty."""
    having = Counter(entry for _, entry in {(i, entry) for i, entry, _ in detectors})
    vectors = []
    for image in range(images):
        counts = Counter(entry for i, entry, _ in detectors if i == image)
        vector = {entry: n * log(images / having[entry]) for entry, n in counts.items()}
        length = sqrt(sum(x * x for x in vector.values()))
        vectors.append({e: x / length for e, x in vector.items()} if length else {})
    return vectors


def retrieval(vectors, groups):
    """(average precision, precision of the first) of each image; None if it is no query. The
    mean over every order of the images that agrees with the cosines."""
    return [_query(i, vectors, groups) for i in range(len(groups))]


def _query(query, vectors, groups):
    others = [i for i in range(len(groups)) if i != query and groups[i]]
    if not groups[query] or not any(groups[i] == groups[query] for i in others):
        return None
    cosine = {
        i: round(sum(x * vectors[i].get(e, 0) for e, x in vectors[query].items()), 9)
        for i in others
    }
    found = []
    for order in permutations(others):
        if all(cosine[a] >= cosine[b] for a, b in zip(order, order[1:], strict=False)):
            hits = [groups[i] == groups[query] for i in order]
            precisions = [sum(hits[: k + 1]) / (k + 1) for k in range(len(hits)) if hits[k]]
            found.append((sum(precisions) / len(precisions), float(hits[0])))
    return tuple(sum(of) / len(found) for of in zip(*found, strict=True))
