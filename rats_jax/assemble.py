"""From a config to the parts of a run."""

import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.config import schedules
from rats_jax.data.crops import MultiCrop
from rats_jax.data.records import Records
from rats_jax.data.samples import Canvases, ExactCrops, FastCrops, Samples
from rats_jax.data.sources import ImageFolder, Source
from rats_jax.data.tars import Tars
from rats_jax.data.tfds_source import TFDS
from rats_jax.dino.network import Network, make_network
from rats_jax.dino.step import DINO
from rats_jax.errors import UserError
from rats_jax.models import DINOHead, make_backbone
from rats_jax.models.options import Options, options_class, options_of
from rats_jax.models.start import Scales, rescale
from rats_jax.parallel.mesh import batch_shards
from rats_jax.parallel.mesh import make_mesh as mesh_of
from rats_jax.paths import printable
from rats_jax.procedural_parts import ProceduralParts
from rats_jax.validation import HOLDERS, validate_source
from rats_jax.voice import say

FEW = 5  # names of classes in a line


def make_source(config: ConfigDict) -> Source:
    """The training images. Says what was found, and what was passed over."""
    validate_source(config)
    data = config.data
    unread = {
        "path": data.path and data.source == "procedural_parts",
        "name": data.name and data.source != "tfds",
        "split": data.split != "train" and data.source != "tfds",
    }
    for field in (field for field, given in unread.items() if given):
        raise UserError(
            f"config.data.{field} is {printable(data[field])}, which config.data.source="
            f"{data.source} does not read: name the source that does, or leave it out"
        )
    if data.source == "procedural_parts":
        return ProceduralParts(size=data.size, length=data.length, seed=data.seed)
    try:
        source = {
            "image_folder": lambda: ImageFolder(data.path),
            "records": lambda: Records(data.path),
            "tar": lambda: Tars(data.path),
            "tfds": lambda: TFDS(data.name, data.split, data.path),
        }[data.source]()
    except UserError as error:
        field = "config.data" if data.source == "tfds" else "config.data.path"
        raise UserError(f"{field}: {error}") from error
    say(f"found {len(source):,} images{_in_classes(source.classes)} in {printable(data.path)}")
    for note in source.notes:
        say(note)
    if data.length and len(source) != data.length:
        raise UserError(
            f"config.data.path {printable(data.path)} holds {len(source)} images, not "
            f"{data.length}; complete it, or train on what is there with --config.data.length=0"
        )
    return source


def _in_classes(classes: Sequence[str]) -> str:
    if len(classes) in (0, 1):
        return ""
    shown = ", ".join(printable(name) or "no folder" for name in classes[:FEW])
    return f" of {len(classes):,} classes ({shown}{', ...' if len(classes) > FEW else ''})"


def with_absolute_path(config: ConfigDict) -> ConfigDict:
    """The config with a `data.path` that means the same in any folder, for config.json."""
    config, path = config.copy_and_resolve_references(), config.data.path
    if path and "://" not in path and config.data.source in HOLDERS:
        given = os.path.join(os.getcwd(), os.path.expanduser(path))
        plain = os.path.normpath(given)  # without "..", unless a link makes that another place
        same = os.path.realpath(plain) == os.path.realpath(given)
        config.data.path = plain if same else given
    return config


def make_mesh(config: ConfigDict, devices: Sequence | None = None) -> Mesh:
    """The mesh of a run, by default of all devices there are.

    Raises UserError when the config does not fit on it.
    """
    mesh = mesh_of(**config.mesh, devices=devices)
    tensor, heads = mesh.shape["tensor"], config.model.heads
    if heads % tensor:
        divisors = [str(n) for n in range(1, heads + 1) if heads % n == 0]
        raise UserError(
            f"config.model.heads {heads} does not divide by config.mesh.tensor {tensor}, which "
            f"splits them: choose one of {', '.join(divisors)}"
        )
    batch, parts = config.optimizer.batch_size, config.optimizer.accumulation
    multiple = batch_shards(mesh) * parts
    if batch % multiple:
        raise UserError(
            f"config.optimizer.batch_size {batch} does not divide by {multiple} "
            f"({batch_shards(mesh)} parts of the mesh, config.optimizer.accumulation {parts}); "
            f"the nearest that does is {max(round(batch / multiple), 1) * multiple}"
        )
    return mesh


def make_samples(config: ConfigDict) -> Samples:
    """What the host makes of an image."""
    crops = MultiCrop(**config.crops)
    if config.data.cropping == "canvas":
        return Canvases(crops, size=config.data.canvas)
    return {"fast": FastCrops, "exact": ExactCrops}[config.data.cropping](crops)


def backbone_options(config: ConfigDict) -> Options:
    """What `models.make_backbone` takes: the backbone in this config. Raises UserError for an
    architecture that does not exist."""
    model = config.model
    names = options_class(model.architecture).config_fields()
    options = {name: model[name] for name in names}
    size = {"image_size": config.crops.global_size}
    return options_of({"architecture": model.architecture} | options | size)


def make_model(config: ConfigDict) -> tuple[Network, Callable[[jax.Array], dict]]:
    """Backbone and head, and the function that makes their parameters from a key."""
    dtype = jnp.dtype(config.compute_dtype)
    options = backbone_options(config)
    training = {name: config.model[name] for name in options.training}
    scales = Scales(**{name: config.model[name] for name in Scales._fields})
    return make_network(
        lambda rngs: rescale(make_backbone(options, **training, dtype=dtype, rngs=rngs), scales),
        lambda rngs: DINOHead(width=config.model.width, **config.head, dtype=dtype, rngs=rngs),
        heads=config.model.heads,
        loss_scope=config.dino.loss_scope,
    )


def make_dino(config: ConfigDict, *, images: int) -> DINO:
    """The method, for a data set of so many images."""
    network, init_network = make_model(config)
    return DINO(
        network=network,
        init_network=init_network,
        schedules=schedules(config, images=images),
        clip=config.optimizer.clip,
        student_temperature=config.dino.student_temperature,
        center_momentum=config.dino.center_momentum,
        accumulation=config.optimizer.accumulation,
    )
