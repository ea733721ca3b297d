"""Configs from earlier: of runs that are older than a field, and of a run before its resume."""

from collections.abc import Container

from rats_jax.config import fields

#: Sections whose fields set the shape of the state. A field in these sections that this version
#: does not know is assumed to do so too.
SHAPES = ("model", "head", "decoder")


def with_old_fields(config: dict) -> dict:
    """Adds missing fields to a config from JSON. Each field that is newer than the run gets the
    value that describes what the run did without it."""
    for field in fields(config):
        if field.old_runs is not None:
            section, _, name = field.name.rpartition(".")
            place = config.setdefault(section, {}) if section else config
            place.setdefault(name, field.old_runs)
    return config


def is_fixed(name: str, config: Container = ()) -> bool:
    """Whether a resume with another value of this field is refused. config: of the run."""
    for field in fields(config):
        if field.name == name:
            return field.fixed
    return name.partition(".")[0] in SHAPES
