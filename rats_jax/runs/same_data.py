"""Checks that a resumed run has the images that it was trained on.

The number of images sets the schedules; number and order determine the images of a step. The config
has neither, so each checkpoint records them in about["data"].
"""

import hashlib
import json
from collections.abc import Mapping

from ml_collections import ConfigDict

from rats_jax.data.fingerprint import fingerprint
from rats_jax.data.pipeline import sample_order
from rats_jax.data.sources import Source
from rats_jax.errors import UserError
from rats_jax.paths import printable
from rats_jax.voice import say

FIRST = 64  # positions of the order that are compared


def data_facts(source: Source, *, seed: int) -> dict:
    """images: their number. fingerprint: of the images in their order; None if a source has no
    names. order: a digest of the first positions that are drawn, which libraries might change."""
    order, key = sample_order(len(source), seed)
    drawn = [int(order[k]) for k in range(FIRST)] + key.tolist()
    return {
        "images": len(source),
        "fingerprint": fingerprint(source),
        "order": _digest(drawn),
    }


def token(facts: Mapping) -> str:
    """The value of config.data.accept that accepts these images."""
    return _digest({name: facts[name] for name in ("images", "fingerprint", "order")})


def check_data(
    was: Mapping, now: Mapping, config: ConfigDict, *, step: int, effect: str, source: str
) -> bool:
    """Whether a checkpoint's images have changed and the change is accepted.

    was: about["data"] of the checkpoint. now: as `data_facts` returns. effect: how the new images
    change the schedules, "" for no change. source: config.data.source of the checkpoint; "" of
    fine-tuning.

    Raises:
      UserError: the images have changed, and `config.data.accept` does not accept the new ones.
    """
    if "images" not in was:
        say(
            "the checkpoint was written by a version that did not record the images of a run, so "
            f"they cannot be compared: the present {now['images']:,} images are recorded from now "
            "on"
        )
        return False
    change = _change(was, now, source, config.data.get("source", ""))
    if change is None:
        return False
    data = config.data
    field = "path" if "path" in data else "train"  # of pretraining, or of fine-tuning
    place = f" (config.data.{field} {printable(data[field])})" if data[field] else ""
    change = f"{change}{place}" + (f"; with the new images, {effect}" if effect else "")
    if data.accept != token(now):
        raise UserError(
            f"the images are not those of the checkpoint at step {step}: {change}. Put the images "
            "back, choose another --workdir for a new run, or accept the new images with "
            f"--config.data.accept={token(now)}"
        )
    say(f"warning: the images change at step {step}, as config.data.accept allows: {change}")
    return True


def _change(was: Mapping, now: Mapping, source_was: str, source: str) -> str | None:
    if was["images"] != now["images"]:
        return f"there were {was['images']:,} images, now there are {now['images']:,}"
    names = was["fingerprint"], now["fingerprint"]
    if source_was != source and (None in names or names[0] != names[1]):
        return (
            f"config.data.source was {source_was} and is {source}: there are {now['images']:,} "
            "images as before, but it cannot be checked whether they are the same in the same "
            "order"
        )
    if None not in names and names[0] != names[1]:
        if source == "procedural_parts":
            return (
                "these are different drawings, with another config.data.seed or size, or from "
                "another version of the code that draws them"
            )
        return (
            f"there are {now['images']:,} images as before, but at least one of them was "
            "replaced, renamed or moved in the order"
        )
    if was["order"] != now["order"]:
        return "the installed version of grain or NumPy draws them in another order"
    return None


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
