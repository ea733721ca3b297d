"""The entries of a dictionary of parts that a run has learned (`config.dictionary`)."""

import os
from typing import Any

import numpy as np

from rats_jax.errors import UserError
from rats_jax.paths import printable
from rats_jax.runs.restore import restore


def learned_entries(
    checkpoint: str | os.PathLike, *, weights: str = "teacher"
) -> tuple[np.ndarray, dict[str, Any]]:
    """The entries, float32 [E, D], and facts about them, as plain values.

    Registers after the final LayerNorm are scaled to length 1 before they are compared with these
    entries (`Dictionary(norm="post", unit=True)`). Facts: "weights", "step", and the settings of
    `config.dictionary`.

    checkpoint: a run, as for `restore`: its best checkpoint if it keeps one, else the newest.
    weights: "teacher" or "student".

    Raises:
      UserError: there is no such run, or it has not learned a dictionary.
    """
    found = restore(checkpoint, weights=weights, best=True)
    if "dictionary" not in found.params:
        raise UserError(
            f"{printable(os.fspath(checkpoint))} has no learned dictionary: give a run with "
            "config.dictionary.entries, or leave out --learned"
        )
    entries = np.asarray(found.params["dictionary"]["entries"])
    if not np.isfinite(entries).all():
        raise UserError(
            f"{printable(os.fspath(checkpoint))} has learned entries that are not finite: give "
            "another checkpoint, or leave out --learned"
        )
    return entries, {"weights": weights, "step": found.step, **found.config.dictionary.to_dict()}
