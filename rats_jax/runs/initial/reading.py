"""Reads the weights that a run starts from: of a run, or of a file."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from rats_jax.backbones import Backbone, open_backbone
from rats_jax.errors import UserError
from rats_jax.models.options import Options
from rats_jax.paths import local_path
from rats_jax.runs.initial.conversion import Arrays
from rats_jax.runs.restore import restore_parts
from rats_jax.weights.heads import has_student_and_teacher, not_taken, read_beside

FLAG = "--config.init.weights"
DEFAULT = "teacher"


class Side(NamedTuple):
    """A student or a teacher: the arrays of its backbone by path, and those of its head, always
    with gains; or a text that says why the head cannot be read; or None if there is none."""

    backbone: Arrays
    head: Arrays | str | None


class Given(NamedTuple):
    """Weights to start from.

    title: what they are, for messages. options: of the backbone. center: [G, K], or None.
    mean, std: by which their images are normalised. left_out: for messages, what else the
    checkpoint has. apart: whether student and teacher are two sets of weights.
    """

    title: str
    options: Options
    student: Side
    teacher: Side
    center: np.ndarray | None
    mean: Sequence[float]
    std: Sequence[float]
    left_out: list[str]
    apart: bool


def read_given(config: ConfigDict) -> Given:
    """The weights that `config.init.checkpoint` names. Raises UserError."""
    checkpoint, weights = config.init.checkpoint, config.init.weights
    try:
        backbone = open_backbone(checkpoint, weights=weights or DEFAULT, flag=FLAG)
        if backbone.config is None and backbone.step is not None:
            return _of_finetuned(backbone)
        of = _of_file if backbone.config is None else _of_run
        return of(backbone, checkpoint, weights)
    except UserError as error:
        raise UserError(f"config.init.checkpoint: {error}") from None


def _of_finetuned(backbone: Backbone) -> Given:
    """Of a run of rats finetune, which has no head of DINO."""
    side = Side(flat(backbone.params), None)
    normalisation = backbone.mean, backbone.std
    return Given(backbone.title, backbone.options, side, side, None, *normalisation, [], False)


def _of_run(backbone: Backbone, checkpoint: str, weights: str) -> Given:
    run = backbone.workdir or checkpoint  # without workdir: a checkpoint copied out of its run
    names = [weights] if weights else ["student", "teacher"]
    state = jax.device_get(restore_parts(run, [*names, "center"], step=backbone.step).state)
    sides = [side_of(state[name]) for name in names]
    return Given(
        backbone.title,
        backbone.options,
        sides[0],
        sides[-1],
        state["center"],
        backbone.mean,
        backbone.std,
        ["its learned dictionary"] if "dictionary" in state[names[0]] else [],
        not weights,
    )


def _of_file(backbone: Backbone, checkpoint: str, weights: str) -> Given:
    path = local_path(checkpoint)
    apart = not weights and has_student_and_teacher(path)
    names = ["student", "teacher"] if apart else [weights or DEFAULT]
    beside = read_beside(path, names)
    backbones = {names[-1]: backbone}
    if apart:
        backbones["student"] = open_backbone(checkpoint, weights="student", flag=FLAG)
    heads = {
        name: flat(head) if isinstance(head, dict) else head for name, head in beside.heads.items()
    }
    sides = [Side(flat(backbones[name].params), heads[name]) for name in names]
    left_out = not_taken(backbone.left_out, beside, beside.keys)
    left_out += [weights_of(name) for name in beside.not_chosen]
    return Given(
        backbone.title,
        backbone.options,
        sides[0],
        sides[-1],
        beside.center,
        backbone.mean,
        backbone.std,
        left_out,
        apart,
    )


def weights_of(name: str) -> str:
    """What messages call the set of weights of this name."""
    return f"the weights of {'the ' if name in ('student', 'teacher') else ''}{name}"


def side_of(params: Mapping) -> Side:
    """The parameters {"backbone", "head"} of a run's student or teacher."""
    backbone, head = flat(params["backbone"]), flat(params["head"])
    prototypes = head["last_layer/direction"].shape[1]
    return Side(backbone, {"last_layer/gain": np.ones(prototypes, np.float32)} | head)


def flat(tree: Mapping) -> Arrays:
    """The arrays of a tree of parameters by path, on the host."""
    leaves = traverse_util.flatten_dict(jax.device_get(dict(tree)), sep="/")
    return {name: np.asarray(array) for name, array in leaves.items()}
