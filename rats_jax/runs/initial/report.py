"""What a run takes of the weights that it starts from, and what not, in a few lines."""

from collections.abc import Collection, Mapping

from ml_collections import ConfigDict

#: Display names of parameters that may be new.
CALLED = {
    "backbone/registers": "registers",
    "backbone/pos_embed": "positions",
    "backbone/blocks/attn/communicate": "matrices of communicate=learned",
    "head/last_layer/gain": "gains of the prototypes",
    "dictionary": "entries of the dictionary",
}


def starts_of(paths: Collection[str], everything: Collection[str]) -> list[str]:
    """The fewest starts of paths that together hold all of `paths` and no other of `everything`."""
    found = []
    for first in dict.fromkeys(path.partition("/")[0] for path in everything):
        inside = {p.partition("/")[2] for p in everything if p.partition("/")[0] == first}
        chosen = {p.partition("/")[2] for p in paths if p.partition("/")[0] == first}
        if chosen == inside:
            found.append(first)
        elif chosen:
            found += [f"{first}/{start}" for start in starts_of(chosen, inside)]
    return sorted(found)


def report(
    config: ConfigDict,
    *,
    title: str,
    taken: Collection[str],
    everything: Collection[str],
    center: bool,
    apart: bool,
    notes: list[str],
    not_taken: list[str],
    how: Mapping[str, str],
) -> list[str]:
    """The lines.

    taken, everything: paths of parameters, those that were taken and all. apart: whether student
    and teacher have their own. how: how new parameters start, if not at random, by their path.
    """
    new = starts_of(set(everything) - set(taken), everything)
    parts = []
    for part in ("backbone", "head"):
        if part not in new:
            rest = [_called(name) for name in new if name.startswith(f"{part}/")]
            parts.append(part + (f" except {', '.join(rest)}" if rest else ""))
    parts += ["center"] if center else []
    title += ", and its student" if apart else ""
    whose = "student and teacher each their own" if apart else "the same for student and teacher"
    lines = [f"starts from {title}", f"taken: {', '.join(parts)}; {whose}"]
    lines += [f"note: {note}" for note in notes]
    if not_taken:
        lines.append(f"not taken: {'; '.join(not_taken)}")
    if new:
        shown = (f"{_called(name)} ({how.get(name, 'random')})" for name in new)
        lines.append(f"new: {', '.join(shown)}")
    return lines + rate_line(config)


def rate_line(config: ConfigDict) -> list[str]:
    """The line on the learning rate of what was taken, if it is another."""
    factor, epochs = config.init.learning_rate, config.init.learning_rate_epochs
    if factor == 1:
        return []
    span = (
        f"for {epochs:g} {'epoch' if epochs == 1 else 'epochs'}" if epochs else "for the whole run"
    )
    what = "frozen" if factor == 0 else f"trained at {factor:g} times the learning rate"
    return [f"what was taken is {what} {span}"]


def _called(path: str) -> str:
    return CALLED.get(path, path.removeprefix("backbone/"))
