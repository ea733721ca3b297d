"""Configs of other starts: of runs older than a field, and of the same run before a resume."""

from rats_jax.config import fields

#: Sections whose fields set the shape of the state. A field of theirs that only another version
#: knows does so too, as far as this one can tell.
SHAPES = ("model", "head")


def with_old_fields(config: dict) -> dict:
    """A config as JSON has it; each field that the run is older than has the value that describes
    what the run did without it."""
    for field in fields():
        if field.old_runs is not None:
            section, _, name = field.name.rpartition(".")
            (config.get(section, {}) if section else config).setdefault(name, field.old_runs)
    return config


def is_fixed(name: str) -> bool:
    """Whether another value of this field on a resume makes it another run."""
    for field in fields():
        if field.name == name:
            return field.fixed
    return name.partition(".")[0] in SHAPES
