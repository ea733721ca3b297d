"""The declaration of a config field: everything about it in one place."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

from rats_jax.config.checks import Check

#: The value of an automatic field that is chosen at the first start of a run, by
#: `rats_jax.config.automatic`: of numbers, and of text. A command line says `auto` for both.
AUTO, AUTO_TEXT = -1, "auto"


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
    automatic: there is a rule for it in `config.automatic_rules`, and AUTO asks for it.
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
    automatic: bool = False

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
        given = self.check.values if self.check else ""
        return f"{given}, or `auto`" if self.automatic else given

    def is_auto(self, value: object) -> bool:
        """Whether this value stands for one that is still to be chosen."""
        return self.automatic and value == (AUTO_TEXT if self.type is str else AUTO)

    @property
    def may_change_on_resume(self) -> bool:
        return not self.fixed
