"""A block of results: a table of plain values, as text and for results.json."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rats_jax.writing import markdown_table, with_interval

NOT_KNOWN, NONE = "not known", "-"


class Interval(NamedTuple):
    """A score as a fraction, with the ends of its 95 % interval. A mean over data sets has none.
    signed: for differences."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    signed: bool = False

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return NONE
        if math.isnan(self.low):
            return f"{100 * self.mean:{'+' if self.signed else ''}.1f}"
        return with_interval(*self[:3], signed=self.signed)


class Block(NamedTuple):
    """rows: by column. note: a line below the table."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    note: str = ""

    def markdown(self) -> str:
        table = markdown_table(
            self.columns, [[shown(row.get(name)) for name in self.columns] for row in self.rows]
        )
        return f"{table}\n\n{self.note}" if self.note else table

    def record(self) -> dict:
        """For JSON; scores of ours are fractions, those of the paper are as printed there."""
        return {"rows": [{k: plain(v) for k, v in row.items()} for row in self.rows]} | (
            {"note": self.note} if self.note else {}
        )


class Outcome(NamedTuple):
    """What came of an experiment. not_run: what of it was not run, and what that needs."""

    name: str
    title: str
    assumed: str
    blocks: list[Block]
    not_run: list[str]

    def markdown(self) -> str:
        head = f"## {self.name.capitalize()}: {self.title}"
        lines = [head, *(block.markdown() for block in self.blocks)]
        if self.not_run:
            lines.append("\n".join(f"- not run: {line}" for line in self.not_run))
        if self.assumed:
            lines.append(f"(assumed: {self.assumed})")
        return "\n\n".join(lines)

    def record(self) -> dict:
        return {
            "title": self.title,
            "assumed": self.assumed,
            "blocks": [block.record() for block in self.blocks],
            "not_run": self.not_run,
        }


def shown(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return NONE
    return f"{value:g}" if isinstance(value, float) else str(value)


def plain(value: Any) -> Any:
    """A value for JSON, in which there is no NaN."""
    if isinstance(value, Interval):
        ends = zip(("mean", "low", "high"), value[:3], strict=True)
        return {name: x for name, x in ends if not math.isnan(x)} or None
    return value
