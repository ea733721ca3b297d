"""Opens a backbone with its weights, from a run or from a file of weights."""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from rats_jax import demo_model
from rats_jax.assemble import backbone_options
from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD
from rats_jax.errors import UserError
from rats_jax.models import Features, Options, make_backbone
from rats_jax.paths import local_path, printable
from rats_jax.runs.find import Place, find_run, not_a_run
from rats_jax.runs.finetuned import Finetuned, is_finetuned, restore_finetuned
from rats_jax.runs.finetuned_in_torch import META
from rats_jax.runs.metric_names import formatted
from rats_jax.runs.restore import Restored, restore, untrained
from rats_jax.runs.workdir import load_config
from rats_jax.voice import say
from rats_jax.weights.files import read
from rats_jax.weights.layouts import recognise
from rats_jax.weights.names import from_torch
from rats_jax.weights.pickle_values import one_line
from rats_jax.weights.places import display_name, holds_weights, read_json
from rats_jax.weights.sets import grouped

MOST_LISTED = 8  # sets, or groups of tensors that were left out


class Backbone(NamedTuple):
    """A backbone with its weights.

    options: what `models.make_backbone` takes. graph, params: module and float32 weights.
    mean, std: for red, green and blue, to normalise images in 0..1.
    origin: a text for people that says what this is and where it comes from. title: the same
        without what was not read. left_out: the names of tensors of a file that were not read.
    workdir, step, config: of the run; None if it is not from a run. Of a run of rats finetune, only
        the step."""

    options: Options
    graph: nnx.GraphDef
    params: dict
    origin: str
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    workdir: Path | None = None
    step: int | None = None
    config: ConfigDict | None = None
    title: str = ""
    left_out: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"Backbone({self.origin})"

    def before_training(self) -> "Backbone":
        """The same model with random weights from the run's seed: those that the run started from,
        unless it started from given weights. Raises UserError if the backbone is not from a run,
        since the run's config is needed."""
        if self.config is None:
            raise UserError("an untrained twin needs a run, whose config says how it started")
        params = untrained(self.config).params["backbone"]
        return self._replace(params=params, origin=f"{self.origin}, before training", step=0)

    def features(self, images: jax.Array, **options) -> Features:
        """The features of normalised images [B, height, width, 3], computed in float32. Options are
        those of the module. Call it under jit."""
        return nnx.merge(self.graph, self.params)(images, **options)

    def looking(
        self, attention_of: Sequence[int] = (), layers_of: Sequence[int] = ()
    ) -> Callable[[np.ndarray], Features]:
        """The jitted function from uint8 images [B, height, width, 3] to features. These include
        the attention of the layers `attention_of` and the tokens of the layers `layers_of`. The
        function normalises the images, and is compiled once for each shape."""
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
        """The function from parameters and uint8 images [B, height, width, 3] to what `pick`
        returns for the features. Call it under jit: then the other features are not stored."""
        mean, std = (np.asarray(x, np.float32) for x in (self.mean, self.std))

        def taken(params: dict, images: jax.Array) -> Any:
            normalised = (images / np.float32(255) - mean) / std
            backbone = self._replace(params=params)
            return pick(
                backbone.features(normalised, attention_of=attention_of, layers_of=layers_of)
            )

        return taken


def open_backbone(
    checkpoint: str | os.PathLike, *, weights: str = "teacher", flag: str = "--weights"
) -> Backbone:
    """Loads the backbone in a checkpoint onto the first device.

    checkpoint: one of these:
        - the workdir of a run. If the run keeps a best checkpoint, the best intact one by
          `config.run.best_metric` is loaded, else the newest intact one;
        - the directory of one step (WORKDIR/checkpoints/STEP), or a copy of it;
        - a file of weights (.safetensors, .pth);
        - a folder written by transformers or rats_jax.export, or a model in the cache of a hub;
        - "demo", or the folder rats_jax/demo_model: the model in the package. A file or folder of
          the name demo takes precedence.
    weights: which set to load if there are several: "teacher" or "student" of a run; for a file
        see `weights.sets.choose`.
    flag: the flag that `weights` is given by, for messages.

    Raises:
      UserError: the backbone cannot be loaded. The message is one line that names the first reason.
    """
    path = local_path(checkpoint)
    try:
        if is_demo(checkpoint):
            return _of_package()
        is_part_of_run = (path / "checkpoints").is_dir() or (path / META).is_file()
        if holds_weights(path) and not is_part_of_run:
            return _of_file(path, weights, flag)
        if place := find_run(path):
            return _of_run(place, weights, flag)
        if not path.exists():
            given = os.fspath(checkpoint)
            name = given if "://" in given else path
            raise UserError(f"the checkpoint {name} does not exist: {_to_name(given)}")
        if reason := not_a_run(path):
            raise UserError(reason)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name another") from None
    return _of_file(path, weights, flag)


def is_demo(checkpoint: str | os.PathLike) -> bool:
    """Whether this names the model in the package, see `open_backbone`."""
    path = local_path(checkpoint)
    return os.path.realpath(path) == os.path.realpath(demo_model.FOLDER) or (
        os.fspath(checkpoint) == "demo" and not path.exists()
    )


def open_with_twin(checkpoint: str, *, weights: str, untrained: bool) -> dict[str, Backbone]:
    """The values of --checkpoint, --weights and --untrained of a command: "model", and "untrained"
    if requested. Reports what they are. Raises UserError."""
    backbone = open_backbone(checkpoint, weights=weights)
    say(backbone.origin)
    if not untrained:
        return {"model": backbone}
    if backbone.config is None and backbone.step is not None:
        raise UserError(
            "--untrained needs a run of rats train, and this is one of rats finetune, which starts "
            "from weights: leave it out, and score those weights instead"
        )
    if backbone.config is None:
        raise UserError("--untrained needs a run, whose config defines the untrained model")
    return {"model": backbone, "untrained": backbone.before_training()}


def _to_name(missing: str) -> str:
    """What to name instead of a path that does not exist."""
    if "://" in missing:
        return "download the weights, and name the file"
    if re.fullmatch(r"[\w-]+/[\w.-]+", missing):
        return (
            "name a run's workdir, or a file of weights; a model of the Hugging Face hub must be "
            f"downloaded first (hf download {missing})"
        )
    return "name a run's workdir, or a file of weights"


def _of_run(place: Place, weights: str, flag: str) -> Backbone:
    if place.workdir is None:
        of = f"a run, in its copy {printable(place.folder.name)},"
    elif is_finetuned(place.workdir):
        if weights != "teacher":
            say(f"{flag}={weights} has no effect: a run of rats finetune has one set of weights")
        return _of_finetuned(place.workdir, place.step)
    else:
        _check_config(place.workdir)
        of = f"the run in {printable(place.workdir.resolve().name)}"
    found = restore(place.folder, weights=weights, best=True, flag=flag)
    options = backbone_options(found.config)
    graph, _ = _abstract(options)
    origin = f"the {weights} of {of} {_at_step(found)}"
    return Backbone(
        options,
        graph,
        found.params["backbone"],
        origin,
        title=origin,
        workdir=place.workdir,
        step=found.step,
        config=found.config,
    )


def _of_finetuned(workdir: Path, step: int | None) -> Backbone:
    found = restore_finetuned(workdir, step=step)
    graph, _ = _abstract(found.options)
    name = printable(workdir.resolve().name)
    origin = f"the backbone of the run of rats finetune in {name} {_at_step(found)}"
    backbone = Backbone(found.options, graph, found.params, origin, title=origin, step=found.step)
    if not found.normalisation:
        return backbone
    mean, std = found.normalisation
    return backbone._replace(mean=mean, std=std)


def _at_step(found: Restored | Finetuned) -> str:
    if not found.best:
        return f"at step {found.step:,}"
    metric, value = found.best
    return f"at step {found.step:,}, the best of {metric} ({formatted(metric, value)})"


def _check_config(workdir: Path) -> None:
    """Raises UserError unless a model can be made from the config of the run."""
    try:
        options = backbone_options(load_config(workdir))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = one_line(str(error))
        raise UserError(
            f"{workdir / 'config.json'} is not as a run writes it ({reason}): name another workdir"
        ) from None
    with _making(workdir):
        _abstract(options)


def _of_package() -> Backbone:
    options = backbone_options(load_config(demo_model.FOLDER))
    graph, _ = _abstract(options)
    params = jax.device_put(demo_model.load()["backbone"])
    about = f"after {demo_model.steps():,} steps on drawings"
    return Backbone(options, graph, params, f"the demo model in the package, {about}")


def _of_file(path: Path, weights: str, flag: str) -> Backbone:
    file = read(path, weights=weights, flag=flag)
    with _making(file.file):
        found = recognise(file.tensors, file.settings)
        graph, like = _abstract(found.options)
        params = jax.device_put(from_torch(found.arrays, like, source=str(file.file)))
    size = f"width {found.options.width}, depth {found.options.depth}"
    title = f"{display_name(file.file)}: {file.about}, {found.layout}, {size}"
    title += "".join(f", {taken}" for taken in found.assumed)
    origin = title
    if file.not_chosen:
        origin += f"; not chosen: {_listed(file.not_chosen)}"
    if found.left_out:
        origin += f"; left out {_listed(grouped(found.left_out, file.tensors.prefix))}"
    mean, std = _normalisation(file.file, file.settings or {})
    return Backbone(
        found.options,
        graph,
        params,
        origin,
        mean,
        std,
        title=title,
        left_out=found.left_out,
    )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _normalisation(path: Path, settings: Mapping) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and std as our exports, transformers or timm store them; else ImageNet's."""
    beside = path.with_name("preprocessor_config.json")
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
        if not (_three_numbers(mean) and min(mean) >= 0 and _three_numbers(std) and min(std) > 0):
            raise UserError(
                f"{path}: images cannot be normalised by mean {mean} and std {std}: fix the "
                "configuration beside it, three numbers each, std above 0"
            )
        return mean, std
    return IMAGENET_MEAN, IMAGENET_STD


def _three_numbers(given: object) -> bool:
    return (
        isinstance(given, list)
        and len(given) == 3
        and all(type(x) in (int, float) and math.isfinite(x) for x in given)
    )


def _abstract(options: Options) -> tuple[nnx.GraphDef, dict]:
    """The module, and the shapes and dtypes of its parameters."""
    module = nnx.eval_shape(lambda: make_backbone(options, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(module)
    return graph, nnx.to_pure_dict(state)


@contextmanager
def _making(path: Path) -> Iterator[None]:
    """Reports options that no model can have as a UserError of one line."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is of no model that can be made ({one_line(str(error))}): name another file, "
            "or fix its config.json"
        ) from None
