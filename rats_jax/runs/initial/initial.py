"""The parts of a new state that come from given weights."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options, make_model
from rats_jax.config.imported import imported_options, imported_text
from rats_jax.data.fingerprint import fingerprint_of_arrays
from rats_jax.data.sources import Source
from rats_jax.errors import UserError
from rats_jax.parallel.distributed import agree
from rats_jax.paths import printable
from rats_jax.runs.initial.conversion import Arrays, Converted, convert
from rats_jax.runs.initial.heads import fitting_center, fitting_heads
from rats_jax.runs.initial.mismatch import check_fits
from rats_jax.runs.initial.reading import Given, weights_of
from rats_jax.runs.initial.registers import new_registers
from rats_jax.runs.initial.report import report, starts_of


class Initial(NamedTuple):
    """arrays: by path in the state, such as "student/backbone/norm/bias". taken: starts of the
    paths of the parameters that were taken from the weights. lines: the report. fingerprint: of
    the arrays. field: of the config, that names the weights."""

    arrays: Arrays
    taken: list[str]
    lines: list[str]
    fingerprint: str
    field: str = "init.checkpoint"

    def into(self, state: dict) -> dict:
        """The state with these arrays, in its shardings. Raises UserError if processes have others.

        They are copies, since the first step donates its state.
        """
        if agree(self.fingerprint) != self.fingerprint:
            raise UserError(
                "the weights to start from are not those of process 0: give all processes "
                f"the same config.{self.field}"
            )
        flat = traverse_util.flatten_dict(state, sep="/")
        shardings = {name: flat[name].sharding for name in self.arrays}
        given = {
            name: jax.make_array_from_callback(
                array.shape, shardings[name], lambda index, array=array: array[index]
            )
            for name, array in self.arrays.items()
        }
        copied = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=shardings)(given)
        return traverse_util.unflatten_dict(flat | copied, sep="/")


def with_imported(config: ConfigDict, given: Given) -> ConfigDict:
    """The config with the options of the weights that only `config.model.imported` has."""
    text = imported_text(given.options, config.model.architecture)
    set_by_hand = config.model.imported
    if set_by_hand and imported_options(set_by_hand) != imported_options(text):
        raise UserError(
            "config.model.imported is not as config.init.checkpoint says: leave it out, and the "
            "first start sets it"
        )
    config = config.copy_and_resolve_references()
    config.model.imported = text
    return config


def initial_parts(config: ConfigDict, given: Given, source: Source) -> Initial:
    """What a run takes of given weights. config: as `with_imported` returns it. source: the
    training images. Raises UserError if the weights do not fit."""
    wanted = backbone_options(config)
    check_fits(given.options, wanted, config, checkpoint=printable(config.init.checkpoint))
    shapes = _shapes(config)
    backbone, head = (_under(shapes, f"student/{name}") for name in ("backbone", "head"))
    heads = fitting_heads(given, wanted, head)
    # Without their heads a new training begins: the student starts as the teacher.
    apart = given.apart and isinstance(heads, dict)
    convert_side = partial(
        convert,
        given=given.options,
        wanted=wanted,
        shapes=backbone,
        mean=given.mean,
        std=given.std,
    )
    teacher = convert_side(given.teacher.backbone)
    student = convert_side(given.student.backbone) if apart else teacher
    arrays = {f"student/backbone/{path}": array for path, array in student.arrays.items()}
    arrays |= {f"teacher/backbone/{path}": array for path, array in teacher.arrays.items()}
    of_heads, without = _heads_and_center(given, heads, shapes["center"])
    arrays |= of_heads
    taken, everything = (_under(of, "student") for of in (arrays, shapes))
    registers, how = _registers(config, backbone, teacher, source)
    arrays |= registers
    lines = report(
        config,
        title=given.title,
        taken=taken,
        everything=everything,
        center="center" in arrays,
        apart=apart,
        notes=teacher.notes,
        not_taken=[*teacher.left_out, *given.left_out, *without],
        how=how,
    )
    arrays = {name: np.asarray(arrays[name], np.float32) for name in sorted(arrays)}
    fingerprint = fingerprint_of_arrays(arrays.values())
    return Initial(arrays, starts_of(taken, everything), lines, fingerprint)


def _heads_and_center(
    given: Given, heads: dict[str, Arrays] | str | None, center_shape: tuple[int, ...]
) -> tuple[Arrays, list[str]]:
    """Heads and center by path in the state, and what of them is not taken, in words."""
    if not isinstance(heads, dict):
        others = {
            heads or "": heads is not None,
            "center": given.center is not None,
            weights_of("student"): given.apart,
        }
        return {}, [name for name, is_there in others.items() if is_there]
    arrays = {f"{side}/head/{p}": array for side, of in heads.items() for p, array in of.items()}
    center = fitting_center(given, center_shape)
    if isinstance(center, str):
        return arrays, [center]
    return arrays | {"center": center}, []


def _registers(
    config: ConfigDict, shapes: dict, converted: Converted, source: Source
) -> tuple[Arrays, dict[str, str]]:
    """New registers by path in the state, and how they start, if the weights have none."""
    if "registers" not in shapes or "registers" in converted.arrays:
        return {}, {}
    shape = shapes["registers"]
    new, how = new_registers(config, shape, converted.arrays, converted.cls, source)
    sides = () if new is None else ("student", "teacher")
    return {f"{side}/backbone/registers": new for side in sides}, {"backbone/registers": how}


def _shapes(config: ConfigDict) -> dict[str, tuple[int, ...]]:
    """The shapes of student, teacher and center in the state of a run, by path."""
    network, init = make_model(config)
    params = jax.eval_shape(init, jax.random.key(0))
    flat = traverse_util.flatten_dict({"student": params, "teacher": params}, sep="/")
    center = network.losses, config.head.prototypes
    return {name: x.shape for name, x in flat.items()} | {"center": center}


def _under(of: dict, start: str) -> dict:
    """What is under a path, by the rest of its path."""
    return {n.removeprefix(f"{start}/"): x for n, x in of.items() if n.startswith(f"{start}/")}
