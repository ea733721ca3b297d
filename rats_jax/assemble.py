"""Makes the parts of a run from its config."""

import os
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.config import default_config, schedules
from rats_jax.config.automatic import Choice, resolve
from rats_jax.config.imported import imported_options
from rats_jax.data.crops import MultiCrop
from rats_jax.data.samples import Canvases, ExactCrops, FastCrops, Samples
from rats_jax.data.source_kinds import SOURCES
from rats_jax.data.sources import OfOtherKind, Source
from rats_jax.dino.codebook import Codebook, at_a_time
from rats_jax.dino.network import Network, make_network
from rats_jax.dino.optimizer import TakenRate
from rats_jax.dino.step import DINO
from rats_jax.errors import UserError
from rats_jax.models import DINOHead, make_backbone
from rats_jax.models.memory import TrainingBytes, training_bytes
from rats_jax.models.options import Options, options_class, options_of
from rats_jax.models.start import Scales, rescale
from rats_jax.parallel.mesh import batch_shards
from rats_jax.parallel.mesh import make_mesh as mesh_of
from rats_jax.paths import printable
from rats_jax.validation import validate_source
from rats_jax.voice import say

FEW = 5  # class names that one line shows
#: Fields of config.data that name images. Setting one that the source does not read is an error.
NAMES_IMAGES = ("path", "name", "split")


def make_source(config: ConfigDict) -> Source:
    """The training images. Reports what was found and what was skipped."""
    validate_source(config)
    data, kind = config.data, SOURCES[config.data.source]
    usual = default_config().data
    for field in NAMES_IMAGES:
        if data[field] != usual[field] and field not in kind.reads:
            raise UserError(
                f"config.data.{field} is {printable(data[field])}, which "
                f"config.data.source={data.source} does not use: choose the source that does, or "
                "leave the field out"
            )
    field = "config.data.path" if kind.reads == ("path",) else "config.data"
    try:
        source = kind.open(**{name: data[name] for name in kind.reads})
    except OfOtherKind as error:
        raise UserError(
            f"{field}: {error}, or read the {error.kind} with config.data.source={error.kind}"
        ) from error
    except UserError as error:
        raise UserError(f"{field}: {error}") from error
    if "path" not in kind.reads:
        return source
    classes = _in_classes(getattr(source, "classes", ()))
    say(f"found {len(source):,} images{classes} in {printable(data.path)}")
    for note in getattr(source, "notes", ()):
        say(note)
    if data.length and len(source) != data.length:
        raise UserError(
            f"config.data.path {printable(data.path)} holds {len(source)} images, not "
            f"{data.length}; complete it, or train on the images that it holds with "
            "--config.data.length=0"
        )
    return source


def _in_classes(classes: Sequence[str]) -> str:
    if len(classes) in (0, 1):
        return ""
    shown = ", ".join(printable(name) or "no folder" for name in classes[:FEW])
    return f" of {len(classes):,} classes ({shown}{', ...' if len(classes) > FEW else ''})"


def with_absolute_path(config: ConfigDict) -> ConfigDict:
    """The config with an absolute `data.path`, for config.json."""
    config, path = config.copy_and_resolve_references(), config.data.path
    kind = SOURCES.get(config.data.source)
    if path and "://" not in path and kind and "path" in kind.reads:
        given = os.path.join(os.getcwd(), os.path.expanduser(path))
        plain = os.path.normpath(given)  # without "..", unless a link makes that another path
        same = os.path.realpath(plain) == os.path.realpath(given)
        config.data.path = plain if same else given
    return config


def make_mesh(
    config: ConfigDict, devices: Sequence | None = None, *, heads: int | None = None
) -> Mesh:
    """The mesh of a run, by default over all available devices. heads: of the backbone, where the
    config does not have them.

    Raises UserError when the config does not fit the mesh.
    """
    mesh = _mesh_of_model(config, devices, heads)
    batch, parts = config.optimizer.batch_size, config.optimizer.accumulation
    multiple = batch_shards(mesh) * parts
    if batch % multiple:
        raise UserError(
            f"config.optimizer.batch_size {batch} is not divisible by {multiple} "
            f"({batch_shards(mesh)} parts of the mesh, config.optimizer.accumulation {parts}); the "
            f"nearest multiple is {max(round(batch / multiple), 1) * multiple}"
        )
    return mesh


def _mesh_of_model(config: ConfigDict, devices: Sequence | None, heads: int | None = None) -> Mesh:
    try:
        mesh = mesh_of(**config.mesh, devices=devices)
    except UserError as error:
        raise UserError(f"config.mesh: {error}") from error
    tensor, of = mesh.shape["tensor"], "config.model.heads"
    if heads is None:
        heads = config.model.heads
    else:
        of = "the number of heads of the backbone,"
    if heads % tensor:
        divisors = [str(n) for n in range(1, heads + 1) if heads % n == 0]
        raise UserError(
            f"{of} {heads} is not divisible by config.mesh.tensor {tensor}, which "
            f"splits the heads: choose one of {', '.join(divisors)}"
        )
    return mesh


def without_automatic(
    config: ConfigDict,
    *,
    images: int,
    memory: int | None,
    devices: Sequence | None = None,
    on_cpu: bool | None = None,
    kept: Iterable[Choice] = (),
) -> tuple[ConfigDict, list[Choice]]:
    """The config with a value for each automatic field, and what was chosen, see `resolve`.

    memory: bytes of one device; None if not known. devices: of the run, by default all available.
    on_cpu: whether they are CPUs; None if they say so themselves.
    """
    mesh = _mesh_of_model(config, devices)
    return resolve(
        config,
        images=images,
        memory=memory,
        step_bytes=lambda plain: step_bytes(plain, mesh).peak,
        devices=batch_shards(mesh),
        on_cpu=mesh.devices.flat[0].platform == "cpu" if on_cpu is None else on_cpu,
        kept=kept,
    )


def make_samples(config: ConfigDict) -> Samples:
    """The function of the host that turns an image into a sample."""
    crops = MultiCrop(**config.crops)
    if config.data.cropping == "canvas":
        return Canvases(crops, size=config.data.canvas)
    return {"fast": FastCrops, "exact": ExactCrops}[config.data.cropping](crops)


def backbone_options(config: ConfigDict) -> Options:
    """The options of the backbone in this config, as `models.make_backbone` takes them. Raises
    UserError for an architecture that does not exist."""
    model = config.model
    names = options_class(model.architecture).config_fields()
    options = {name: model[name] for name in names}
    options |= imported_options(model.imported)
    size = {"image_size": config.crops.global_size}
    return options_of({"architecture": model.architecture} | options | size)


def step_bytes(config: ConfigDict, mesh: Mesh) -> TrainingBytes:
    """The estimated bytes of a training step on one device of the mesh."""
    optimizer, head, crops = config.optimizer, config.head, config.crops
    options, entries = backbone_options(config), config.dictionary.entries
    return training_bytes(
        options,
        hidden=head.hidden,
        bottleneck=head.bottleneck,
        prototypes=head.prototypes,
        entries=entries,
        distances=entries and entries * at_a_time(2 * options.registers, entries),
        global_size=crops.global_size,
        local_size=crops.local_size,
        local_crops=crops.local_crops,
        images=-(-optimizer.batch_size // batch_shards(mesh)),
        accumulation=optimizer.accumulation,
        remat=config.model.remat,
        dtype=config.compute_dtype,
        losses=config.model.heads if config.dino.loss_scope == "head" else 1,
        shards=mesh.shape["fsdp"],
    )


def make_model(config: ConfigDict) -> tuple[Network, Callable[[jax.Array], dict]]:
    """Backbone and head, and the function that initialises their parameters from a key."""
    dtype = jnp.dtype(config.compute_dtype)
    options = backbone_options(config)
    training = {name: config.model[name] for name in options.training}
    scales = Scales(**{name: config.model[name] for name in Scales._fields})
    return make_network(
        lambda rngs: rescale(make_backbone(options, **training, dtype=dtype, rngs=rngs), scales),
        lambda rngs: DINOHead(width=config.model.width, **config.head, dtype=dtype, rngs=rngs),
        heads=config.model.heads,
        loss_scope=config.dino.loss_scope,
        entries=(entries, config.model.width) if (entries := config.dictionary.entries) else None,
    )


def make_dino(config: ConfigDict, *, images: int) -> DINO:
    """The training method, for a data set of `images` images."""
    network, init_network = make_model(config)
    steps, init = schedules(config, images=images), config.init
    epochs = init.learning_rate_epochs  # 0: the whole run
    return DINO(
        network=network,
        init_network=init_network,
        schedules=steps,
        clip=config.optimizer.clip,
        student_temperature=config.dino.student_temperature,
        center_momentum=config.dino.center_momentum,
        accumulation=config.optimizer.accumulation,
        codebook=make_codebook(config),
        taken=TakenRate(
            paths=tuple(init.taken.split()),
            factor=init.learning_rate,
            steps=max(round(epochs * steps.steps_per_epoch), 1) if epochs else 0,
        ),
    )


def make_codebook(config: ConfigDict) -> Codebook | None:
    """The loss of the learned dictionary; None without one."""
    settings = config.dictionary.to_dict()
    return Codebook(**settings) if settings.pop("entries") else None
