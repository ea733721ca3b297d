"""A backbone with its weights, from whatever holds one: a run, or a file of weights."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options
from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD
from rats_jax.errors import UserError
from rats_jax.models import Features, make_backbone
from rats_jax.runs.metric_names import told
from rats_jax.runs.restore import restore
from rats_jax.runs.workdir import load_config
from rats_jax.weights.files import read, read_json
from rats_jax.weights.inert import one_line
from rats_jax.weights.layouts import recognise
from rats_jax.weights.names import from_torch


class Backbone(NamedTuple):
    """options: what `models.make_backbone` takes. graph, params: module and float32 weights.
    mean, std: by which images in 0..1 are normalised, for red, green and blue.
    origin: what this is and where from, for people. workdir, step, config: of the run, if one."""

    options: dict
    graph: nnx.GraphDef
    params: dict
    origin: str
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    workdir: Path | None = None
    step: int | None = None
    config: ConfigDict | None = None

    def features(self, images: jax.Array, **options) -> Features:
        """Of normalised images [B, height, width, 3], computed in float32; options as the module's.
        Jit it."""
        return nnx.merge(self.graph, self.params)(images, **options)

    def looking(
        self, attention_of: Sequence[int] = (), layers_of: Sequence[int] = ()
    ) -> Callable[[np.ndarray], Features]:
        """The jitted function from uint8 images [B, height, width, 3] to features, with the
        attention of some layers and the tokens of some. It normalises; compiled once for each
        shape."""
        features = jax.jit(
            self.taking(lambda found: found, attention_of=attention_of, layers_of=layers_of)
        )
        return lambda images: features(self.params, images)

    def taking(
        self,
        pick: Callable[[Features], Any],
        *,
        attention_of: Sequence[int] = (),
        layers_of: Sequence[int] = (),
    ) -> Callable[[dict, jax.Array], Any]:
        """The function from parameters and uint8 images [B, height, width, 3] to what `pick` takes
        of the features. To be jitted: the rest of them is then never kept."""
        mean, std = (np.asarray(x, np.float32) for x in (self.mean, self.std))

        def taken(params: dict, images: jax.Array) -> Any:
            normalised = (images / np.float32(255) - mean) / std
            backbone = self._replace(params=params)
            return pick(
                backbone.features(normalised, attention_of=attention_of, layers_of=layers_of)
            )

        return taken


def open_backbone(checkpoint: str, *, weights: str = "teacher") -> Backbone:
    """The backbone in a checkpoint, on the first device.

    checkpoint: the workdir of a run (of its good checkpoints the best by `config.run.best_metric`
        if the run keeps a best one, else the newest), one step's directory in it
        (WORKDIR/checkpoints/STEP), a file of weights (.safetensors, .pth), or a folder of
        transformers or of rats_jax.export.
    weights: "teacher" or "student", where both are there.

    Raises:
      UserError: in one line that names the first thing that is not as it must be.
    """
    path = Path(checkpoint).expanduser()
    if path.parent.name == "checkpoints" and path.name.isdecimal():
        return _of_run(path.parent.parent, int(path.name), weights)
    try:
        is_workdir, is_there = _is_workdir(path), path.exists()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name another") from None
    if not is_there:
        raise UserError(f"{path} is not there: name a run's workdir, or a file of weights")
    return _of_run(path, None, weights) if is_workdir else _of_file(path, weights)


def _is_workdir(path: Path) -> bool:
    """Also of a run that has no checkpoint yet."""
    config = path / "config.json"
    return config.is_file() and {"model", "optimizer"} <= read_json(config).keys()


def _of_run(workdir: Path, step: int | None, weights: str) -> Backbone:
    try:
        options = backbone_options(load_config(workdir))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = one_line(str(error))
        raise UserError(
            f"{workdir / 'config.json'} is not as a run writes it ({reason}): name another workdir"
        ) from None
    with _making(workdir):
        graph, _ = _abstract(options)
    found = restore(workdir, weights=weights, step=step, best=True)
    which = f"at step {found.step:,}"
    if found.best:
        metric, value = found.best
        which += f", the best of {metric} ({told(metric, value)})"
    return Backbone(
        options,
        graph,
        found.params["backbone"],
        f"the {weights} of the run in {workdir.resolve().name} {which}",
        workdir=workdir,
        step=found.step,
        config=found.config,
    )


def _of_file(path: Path, weights: str) -> Backbone:
    file = read(path, weights=weights)
    with _making(path):
        found = recognise(file.arrays, file.settings, source=str(path))
        graph, like = _abstract(found.options)
        params = jax.device_put(from_torch(found.arrays, like, source=str(path)))
    size = f"width {found.options['width']}, depth {found.options['depth']}"
    origin = f"{path.resolve().name}: {file.about}, {found.layout}, {size}"
    origin += "".join(f", {taken}" for taken in found.assumed)
    if found.left_out:
        more = ", ..." if len(found.left_out) > 3 else ""
        origin += f"; left out {', '.join(found.left_out[:3])}{more}"
    mean, std = _normalisation(path, file.settings or {})
    return Backbone(found.options, graph, params, origin, mean, std)


def _normalisation(path: Path, settings: Mapping) -> tuple[Sequence[float], Sequence[float]]:
    """Of our exports, transformers or timm, as far as they say; else ImageNet's."""
    beside = (path if path.is_dir() else path.parent) / "preprocessor_config.json"
    for given in (
        settings,
        read_json(beside) if beside.is_file() else {},
        settings.get("pretrained_cfg"),
    ):
        if not isinstance(given, Mapping):
            continue
        mean, std = (given.get(f"image_{name}", given.get(name)) for name in ("mean", "std"))
        if mean is None or std is None:
            continue
        for numbers in (mean, std):
            if not isinstance(numbers, list) or len(numbers) != 3:
                numbers = [None]
            if not all(type(x) in (int, float) and 0 <= x < math.inf for x in numbers):
                raise UserError(
                    f"{path}: images cannot be normalised by mean {mean} and std {std}: mend the "
                    "configuration beside it, three numbers each"
                )
        return mean, std
    return IMAGENET_MEAN, IMAGENET_STD


def _abstract(options: dict) -> tuple[nnx.GraphDef, dict]:
    """The module, and its parameters without numbers."""
    module = nnx.eval_shape(lambda: make_backbone(options, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(module)
    return graph, nnx.to_pure_dict(state)


@contextmanager
def _making(path: Path) -> Iterator[None]:
    """Options that no model can have are told in one line."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is of no model that can be made ({one_line(str(error))}): name another file, "
            "or mend its config.json"
        ) from None
