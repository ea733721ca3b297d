"""The backbone that a run of fine-tuning starts from: read at its first start, and never again."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx, traverse_util
from ml_collections import ConfigDict

from rats_jax import demo_model
from rats_jax.backbones import Backbone, is_demo, open_backbone
from rats_jax.data.fingerprint import fingerprint_of_arrays
from rats_jax.errors import UserError
from rats_jax.models import make_backbone
from rats_jax.models.options import Options, options_of
from rats_jax.models.start import Scales, rescale
from rats_jax.parallel.distributed import agree
from rats_jax.paths import local_path, printable
from rats_jax.runs.initial.conversion import convert
from rats_jax.runs.initial.initial import Initial
from rats_jax.runs.initial.reading import flat
from rats_jax.runs.workdir import earlier_config, folder_of, load_config
from rats_jax.voice import say

IN_STATE = "student/backbone"


class Start(NamedTuple):
    """config: with what the first start sets. options: of the backbone as it is trained. backbone:
    the given weights; None on a resume. classes: of the run that is resumed, else None. scales: of
    random weights of the backbone, as arguments of `assembly.make_decoder`."""

    config: ConfigDict
    options: Options
    backbone: Backbone | None
    classes: tuple[str, ...] | None = None
    scales: Mapping[str, float] = {}  # noqa: RUF012, nobody writes to it


def open_start(config: ConfigDict, workdir: str) -> Start:
    """Reads the weights if this is the first start of the run. Raises UserError."""
    config, model = config.copy_and_resolve_references(), config.model
    if model.checkpoint and local_path(model.checkpoint).exists():
        config.model.checkpoint = _absolute(model.checkpoint)
    kept = agree(_kept(workdir) if jax.process_index() == 0 else None)
    if kept is not None:
        if not kept["backbone"]:
            raise UserError(
                f"--workdir {workdir} contains a run with the decoder {kept['decoder']}: choose "
                "another --workdir"
            )
        if model.checkpoint and _absolute(model.checkpoint) != _absolute(kept["checkpoint"]):
            say(
                f"config.model.checkpoint {printable(model.checkpoint)} is not read: the run "
                "resumes from its own checkpoint"
            )
        config.model.update(checkpoint=kept["checkpoint"], backbone=kept["backbone"])
        options = options_of(json.loads(kept["backbone"]))
        return Start(config, options, None, classes=tuple(kept["classes"]))
    backbone = open_backbone(
        model.checkpoint, weights=model.weights or "teacher", flag="--config.model.weights"
    )
    options = backbone.options
    if getattr(options, "parallel", None) == "none":
        options = replace(options, parallel=model.parallel)
    config.model.backbone = json.dumps(options.asdict())
    return Start(config, options, backbone, scales=starting_scales(backbone, model.checkpoint))


def starting_scales(backbone: Backbone, checkpoint: str) -> dict[str, float]:
    """Those that the weights were trained from, if their config says so: the control of
    `config.model.random` then starts as pretraining did."""
    trained = backbone.config
    if trained is None and is_demo(checkpoint):
        trained = load_config(demo_model.FOLDER)
    if trained is None:
        return {}
    names = [*Scales._fields, *(n for n in backbone.options.training if n.endswith("_std"))]
    return {name: trained.model[name] for name in names}


def random_backbone(
    options: Options, scales: Mapping[str, float], *, rngs: nnx.Rngs, **training: Any
) -> nnx.Module:
    """A backbone with random weights at these scales, see `starting_scales`. training: further
    arguments of the module."""
    of_module = {name: x for name, x in scales.items() if name in options.training}
    rest = Scales(**{name: x for name, x in scales.items() if name in Scales._fields})
    return rescale(make_backbone(options, **training, **of_module, rngs=rngs), rest)


def _kept(workdir: str) -> dict | None:
    """What config.json says of the first start, if the run has a checkpoint."""
    if (config := earlier_config(folder_of(workdir))) is None:
        return None
    model = config.model
    return {
        "checkpoint": model.checkpoint,
        "backbone": model.backbone,
        "decoder": config.decoder.name,
        "classes": list(config.data.classes),
    }


def _absolute(checkpoint: str) -> str:
    return os.path.abspath(local_path(checkpoint))


def initial_backbone(start: Start, state: dict) -> Initial | None:
    """What a new state takes from the weights of a first start; None on a resume.

    state: abstract.
    """
    backbone, model = start.backbone, start.config.model
    if backbone is None:
        return None
    lines = [f"starts from {backbone.title or backbone.origin}"]
    flat_state = traverse_util.flatten_dict(state["student"], sep="/")
    shapes = {
        name.removeprefix("backbone/"): x.shape
        for name, x in flat_state.items()
        if name.startswith("backbone/")
    }
    arrays: dict[str, np.ndarray] = {}
    if model.random:
        lines.append("taken: its architecture alone (config.model.random); new: all weights")
    else:
        converted = convert(
            flat(backbone.params),
            given=backbone.options,
            wanted=start.options,
            shapes=shapes,
            mean=backbone.mean,
            std=backbone.std,
        )
        arrays, notes = converted.arrays, converted.notes
        assert arrays.keys() == shapes.keys(), arrays.keys() ^ shapes.keys()
        is_new = start.options != backbone.options and model.parallel == "separate"
        if is_new and model.parallel_start == "zero":
            notes = [*notes, _without_output(arrays)]
        lines += [f"note: {note}" for note in notes]
        left_out = f"; not taken: {', '.join(converted.left_out)}" if converted.left_out else ""
        lines.append(f"taken: backbone{left_out}; new: decoder (random)")
    arrays = {f"{IN_STATE}/{name}": np.asarray(arrays[name], np.float32) for name in sorted(arrays)}
    return Initial(
        arrays,
        ["backbone"] if arrays else [],
        lines,
        fingerprint_of_arrays(arrays.values()),
        "model.checkpoint",
    )


def _without_output(arrays: dict[str, np.ndarray]) -> str:
    """Sets the output projection of the attention among patches to zero, in place."""
    for name in ("kernel", "bias"):
        path = f"blocks/patch_attn/out/{name}"
        arrays[path] = np.zeros_like(arrays[path])
    return (
        "its output projection is zero, so that the network starts as the pretrained one "
        "(config.model.parallel_start=zero)"
    )
