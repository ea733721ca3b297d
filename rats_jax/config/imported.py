"""Options of a ViT from other implementations, as the text of the field `model.imported`."""

import json
from typing import Any

from rats_jax.config.checks import Check
from rats_jax.models.options import Options, ViTOptions

#: The options that the text may have. `mlp_ratio` is there if it is no whole number.
NAMES = (*ViTOptions.imported, "mlp_ratio")


def imported_options(text: str) -> dict[str, Any]:
    """The options in a text that `IMPORTED` accepts; lists as tuples."""
    given = json.loads(text) if text else {}
    return {name: tuple(x) if isinstance(x, list) else x for name, x in given.items()}


def imported_text(options: Options, architecture: str) -> str:
    """The text for a backbone of this architecture with these options: all that differ from what a
    config without it describes."""
    given = {}
    if options.architecture == architecture:
        values, usual = options.arguments(), type(options)(width=1, depth=1, heads=1).arguments()
        given = {name: values[name] for name in options.imported if values[name] != usual[name]}
    if options.mlp_ratio != int(options.mlp_ratio):
        given["mlp_ratio"] = options.mlp_ratio
    return json.dumps(given) if given else ""


def _problem(text: str) -> str | None:
    remedy = "leave it out: weights to start from set it"
    try:
        given = json.loads(text) if text else {}
    except ValueError:
        return f"is no JSON: {remedy}"
    if not isinstance(given, dict):
        return f"is no JSON object: {remedy}"
    if unknown := [name for name in given if name not in NAMES]:
        return f"has the unknown option {unknown[0]!r}: {remedy}, or choose of {', '.join(NAMES)}"
    return None


IMPORTED = Check(values=f"a JSON object with any of {', '.join(NAMES)}", problem=_problem)
