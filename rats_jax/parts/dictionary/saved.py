"""A dictionary of parts on disk: dictionary.safetensors and dictionary.json in one folder."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as save_arrays

from rats_jax.errors import UserError
from rats_jax.files import write_whole
from rats_jax.models.options import Options
from rats_jax.parts.dictionary.detectors import kind_of
from rats_jax.paths import printable
from rats_jax.voice import say

ARRAYS, FACTS = "dictionary.safetensors", "dictionary.json"


class Dictionary(NamedTuple):
    """Entries of a dictionary of parts.

    entries: float32 [E, D]. labels: int32 [E], the part that an entry is named after, -1 for none.
    purity: float32 [E], the share of that part among the votes for the entry; NaN without a name.
    counts: int64 [E], the training registers of each entry.
    parts: names of part ids; ids without a name are shown as numbers.
    kind: "registers" or "regions", see `detectors.kind_of`. norm: "post" or "pre".
    unit: whether vectors are scaled to length 1 before the nearest entry is searched.
    regions: the number of regions of an image, for the kind "regions".
    about: what it was made from, as plain values: "model", "train", "resolution" and more.
    """

    entries: np.ndarray
    labels: np.ndarray
    purity: np.ndarray
    counts: np.ndarray
    parts: Mapping[int, str] = {}  # noqa: RUF012, nobody writes to it
    kind: str = "registers"
    norm: str = "post"
    unit: bool = False
    regions: int = 16
    about: Mapping[str, Any] = {}  # noqa: RUF012

    def name(self, entry: int) -> str | None:
        """The name of an entry; None if it has none."""
        label = int(self.labels[entry])
        return None if label < 0 else self.parts.get(label, f"part {label}")

    def check_fits(self, options: Options, *, flag: str = "--dictionary") -> None:
        """Raises UserError unless its entries are vectors of a backbone with these options."""
        if self.entries.shape[1] != options.width:
            raise UserError(
                f"{flag}: its entries have {self.entries.shape[1]} values, and the model's tokens "
                f"have {options.width}: give the dictionary of this model, or make one with "
                "rats dictionary"
            )
        if self.kind != (kind := kind_of(options)):
            raise UserError(
                f"{flag}: its entries are of {self.kind}, and this model has {kind}: give the "
                "dictionary of this model, or make one with rats dictionary"
            )

    def warn_of_another(self, model: str, resolution: int, *, flag: str = "--dictionary") -> None:
        """Says a line if it was made with another model, or at another resolution.

        model: the `origin` of a backbone.
        """
        texts = []
        for name, now in (("model", model), ("resolution", resolution)):
            if (made := self.about.get(name, now)) != now:
                texts.append(f"{name} {made}, now {now}")
        if texts:
            say(f"warning: {flag} was made with another model or resolution: {'; '.join(texts)}")


def save(folder: Path, dictionary: Dictionary) -> None:
    """Writes the two files into an existing folder."""
    arrays = {name: getattr(dictionary, name) for name in ("entries", "labels", "purity", "counts")}
    content = save_arrays({name: np.ascontiguousarray(x) for name, x in arrays.items()})
    write_whole(folder / ARRAYS, content)
    facts = {name: getattr(dictionary, name) for name in ("kind", "norm", "unit", "regions")}
    facts |= {
        "parts": {str(part): name for part, name in dictionary.parts.items()},
        "names": [dictionary.name(entry) for entry in range(len(dictionary.entries))],
        "about": dict(dictionary.about),
    }
    write_whole(folder / FACTS, json.dumps(facts, indent=2) + "\n")


def load(folder: str | os.PathLike, *, flag: str = "--dictionary") -> Dictionary:
    """Reads the dictionary in a folder that `rats dictionary` wrote. Raises UserError."""
    folder = Path(folder)
    named = f"{flag}={printable(str(folder))}"
    try:
        arrays = load_file(folder / ARRAYS)
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        found = Dictionary(
            **{name: arrays[name] for name in ("entries", "labels", "purity", "counts")},
            **{name: facts[name] for name in ("kind", "norm", "unit", "regions", "about")},
            parts={int(part): name for part, name in facts["parts"].items()},
        )
    except FileNotFoundError:
        raise UserError(
            f"{named} has no {ARRAYS} and {FACTS}: give the --output of rats dictionary"
        ) from None
    except OSError as error:
        raise UserError(f"{named} cannot be read ({error.strerror}): give another") from None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{named} is damaged: make it again with rats dictionary") from None
    count = len(found.entries)
    if found.entries.ndim != 2 or not count or any(len(x) != count for x in found[1:4]):
        raise UserError(f"{named} is damaged: make it again with rats dictionary")
    if not np.isfinite(found.entries).all():
        raise UserError(
            f"{named} has entries that are not finite: make it again with rats dictionary"
        )
    return found
