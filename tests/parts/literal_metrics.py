"""M2O and O2O as the paper words them: sets of pixels, loops, nothing of ours."""


def literal_scores(prediction, truth, void=None):
    """(M2O, O2O) of two arrays of one shape, of which a pixel counts where truth is not void."""
    predicted, regions = {}, {}
    for i, (p, t) in enumerate(
        zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True)
    ):
        if t != void:
            predicted.setdefault(p, set()).add(i)
            regions.setdefault(t, set()).add(i)
    groups = {t: set() for t in regions}
    for members in predicted.values():
        best = max(len(members & regions[t]) for t in regions)
        groups[min(t for t in regions if len(members & regions[t]) == best)] |= members
    m2o = sum(len(groups[t] & regions[t]) / len(groups[t] | regions[t]) for t in regions)
    iou = [[len(a & b) / len(a | b) for b in predicted.values()] for a in regions.values()]
    return m2o / len(regions), best_pairing(iou) / len(regions)


def literal_best_overlap(prediction, truth, void=None, background=None):
    """mBO: the mean over objects, which the background is not, of the best IoU of any region."""
    pixels = [
        (i, p, t)
        for i, (p, t) in enumerate(
            zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True)
        )
        if t != void
    ]
    best = []
    for object_ in {t for _, _, t in pixels} - {background}:
        own = {i for i, _, t in pixels if t == object_}
        regions = [{i for i, p, _ in pixels if p == region} for region in {p for _, p, _ in pixels}]
        best.append(max(len(own & of) / len(own | of) for of in regions))
    return sum(best) / len(best) if best else float("nan")


def best_pairing(table):
    """The largest sum of a table's cells, no two in a row or a column: every choice of columns for
    the rows so far, by the set of columns taken."""
    if len(table) < len(table[0]):
        table = list(zip(*table, strict=True))
    best = {frozenset(): 0.0}
    for row in table:
        longer = dict(best)  # this row has no partner
        for taken, total in best.items():
            for column, value in enumerate(row):
                if column not in taken:
                    more = taken | {column}
                    longer[more] = max(longer.get(more, 0.0), total + value)
        best = longer
    return max(best.values())
