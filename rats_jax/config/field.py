"""The declaration of a config field: everything about it in one place."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

from rats_jax.config.checks import Check


@dataclass(frozen=True)
class Field:
    """A field of a run's config.

    name: SECTION.FIELD, or FIELD for one without a section.
    default: its value in a recipe that does not set it. Its type is the type of the field.
    text: what it is, in plain sentences, with the unit and the source of a number. Markdown.
    check: which values are accepted; None for all values of the type. Checks that depend on several
        fields are in `rats_jax.validation`.
    fixed: a resume with another value is refused, since the field sets the shape of the state, or a
        checkpoint holds values that were made from it.
    old_runs: the value that describes runs that were started before the field existed; None if
        there are no such runs.
    per_process: the processes of one run may have different values.
    silent: a resume does not report that the value has changed.
    """

    name: str
    default: Any
    text: str
    _: KW_ONLY
    check: Check | None = None
    fixed: bool = False
    old_runs: Any = None
    per_process: bool = False
    silent: bool = False

    @property
    def section(self) -> str:
        """Its section; an empty string for a field without one."""
        return self.name.rpartition(".")[0]

    @property
    def type(self) -> type:
        return type(self.default)

    @property
    def values(self) -> str:
        """The accepted values in words; "" for all values of the type."""
        return self.check.values if self.check else ""

    @property
    def may_change_on_resume(self) -> bool:
        return not self.fixed
