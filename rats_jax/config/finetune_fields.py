"""Fields of fine-tuning for segmentation (`rats finetune`), section by section.

The defaults are those of Mask2Former on ADE20K, as MMSegmentation trains it. Declarations that
pretraining has too are taken from there.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rats_jax.config.checks import (
    CLASSES,
    POSITIVE,
    RANGE,
    SHARE,
    one_of,
)
from rats_jax.config.data_fields import DATA
from rats_jax.config.field import Field
from rats_jax.config.finetune_decoder_fields import DECODER, LOSS
from rats_jax.config.finetune_training_fields import EVALUATION, OPTIMIZER
from rats_jax.config.model_fields import MESH, MODEL, RUN_WIDE
from rats_jax.config.run_fields import GUARDS, RUN


def _reused(fields: Iterable[Field], **defaults: Any) -> tuple[Field, ...]:
    """Fields of pretraining, of which none is automatic here or older than a run.

    defaults: those that differ, by the name without its section.
    """
    return tuple(
        replace(
            field,
            default=defaults.get(field.name.rpartition(".")[2], field.default),
            automatic=False,
            old_runs=None,
        )
        for field in fields
    )


def _of(fields: Iterable[Field], names: str) -> list[Field]:
    """Those fields of a section that have one of these names, without the section."""
    by_name = {field.name.rpartition(".")[2]: field for field in fields}
    return [by_name[name] for name in names.split()]


_SEED, _DTYPE = _reused(RUN_WIDE)

_RUN_WIDE = (
    replace(
        _SEED,
        text="Seed of all random numbers of the run: new parameters, order of the images, crops "
        "and the points of the losses.",
    ),
    replace(
        _DTYPE,
        text="Type of activations and matrix products. Parameters and optimizer state are always "
        "float32. `float16`, with scaled losses, is for the decoder `mask2former` only.",
        check=one_of("bfloat16", "float32", "float16"),
    ),
    Field(
        "task",
        "semantic",
        "What is segmented: every pixel into classes (`semantic`), or each object by itself "
        "(`instance`).",
        check=one_of("semantic", "instance"),
        fixed=True,
    ),
)

(_REMAT,) = _reused(_of(MODEL, "remat"))

_MODEL = (
    Field(
        "model.checkpoint",
        "",
        "The weights of the backbone: anything that `--checkpoint` of other commands reads. Read "
        "at the first start only, never on a resume.",
        per_process=True,
        silent=True,
    ),
    Field(
        "model.weights",
        "",
        "Which set of weights to read, as `--weights` of other commands. Empty: `teacher` of a "
        "run.",
        silent=True,
    ),
    Field(
        "model.random",
        False,
        "Whether the backbone starts from random weights, with the architecture of the checkpoint: "
        "the control that shows what pretraining gains.",
        fixed=True,
    ),
    Field(
        "model.backbone",
        "",
        "The architecture of the backbone, as JSON, which the first start of a decoder in JAX sets "
        "from the checkpoint. Leave it empty.",
        fixed=True,
    ),
    Field(
        "model.parallel",
        "shared",
        "RATS: self-attention among the patches, added to register attention (Eq. 8 of the paper): "
        "with the projections of the block (`shared`), with its own (`separate`), or `none`. A "
        "RATS that was pretrained with one of the first two needs the same here. Other backbones "
        "ignore it.",
        check=one_of("shared", "separate", "none"),
        fixed=True,
    ),
    Field(
        "model.parallel_start",
        "copy",
        "How the own projections of `model.parallel=separate` start: as a copy of the block's "
        "(`copy`), or the same with an output projection of zeros (`zero`), so that the network "
        "starts as the pretrained one.",
        check=one_of("copy", "zero"),
        fixed=True,
    ),
    Field(
        "model.freeze",
        "none",
        "Whether the whole backbone keeps its weights (`backbone`) or is trained (`none`).",
        check=one_of("none", "backbone"),
        fixed=True,
    ),
    *_reused(_of(MODEL, "drop_path")),
    replace(
        _REMAT,
        text=f"{_REMAT.text} For the decoder `mask2former`, `dots` is the same as `full`.",
    ),
)

_DATA = (
    Field(
        "data.train",
        "",
        "The training images with their masks: KIND:PATH as for `--dataset` of `rats evaluate`, or "
        "drawings, such as `procedural_parts:1000`.",
        per_process=True,
    ),
    Field(
        "data.test",
        "",
        "The images that are scored during and after training, like `data.train`.",
        per_process=True,
    ),
    Field(
        "data.classes",
        (),
        "The classes to learn, by name or by id as text; `()` for all of the data set.",
        check=CLASSES,
        fixed=True,
    ),
    Field(
        "data.void",
        -1,
        "Folders of masks: the id of pixels that are neither trained nor scored; -1 for none.",
    ),
    Field("data.crop", 512, "Side of a training crop, in pixels.", check=POSITIVE),
    Field(
        "data.resize",
        "short_side",
        "How an image is resized before it is cropped, by a random factor from `data.scale`: its "
        "short side becomes that many times `data.crop` (`short_side`), or it is made to fit into "
        "a square of that side (`inside`).",
        check=one_of("short_side", "inside"),
    ),
    Field(
        "data.scale",
        (0.5, 2.0),
        "The smallest and the largest factor of this resizing.",
        check=RANGE,
    ),
    Field(
        "data.one_class",
        0.75,
        "Semantic: the largest share of a crop that one class may have. Crops beyond it are drawn "
        "again, ten times at most. 1 for no limit.",
        check=SHARE,
    ),
    Field("data.flip", 0.5, "Probability that a crop is flipped from left to right.", check=SHARE),
    Field(
        "data.color",
        True,
        "Whether brightness, contrast, saturation and hue are changed at random.",
    ),
    Field(
        "data.most_instances",
        100,
        "Instance: use at most this many objects of a crop, the largest.",
        check=POSITIVE,
    ),
    *_reused(_of(DATA, "workers threads prefetch max_unreadable accept")),
)

_DATA_AXIS, _FSDP, _TENSOR = _reused(MESH)
_MESH = (
    _DATA_AXIS,
    replace(
        _FSDP,
        text="Devices along the axis `fsdp`, which splits parameters and optimizer moments as well "
        "as the batch. -1 as for `mesh.data`.",
    ),
    replace(
        _TENSOR,
        text="Devices along the axis `tensor`, which splits heads with their registers, and MLPs. "
        "Must divide the heads of the backbone. -1 as for `mesh.data`.",
    ),
)

(_CACHE,) = _reused(_of(RUN, "compilation_cache"))
_RUN = (
    *_reused(_of(RUN, "stop_after log_every checkpoint_every keep_checkpoints")),
    *_reused(_of(RUN, "keep_best"), keep_best=1),
    Field(
        "run.best_metric",
        "semantic/miou",
        "The metric, by its name in `metrics.jsonl`, that the best checkpoints are chosen by. With "
        "a metric of an evaluation, such as `semantic/miou` or `instance/ap_mask`, the state is "
        "saved at every evaluation, and only these checkpoints are compared.",
    ),
    *_reused(_of(RUN, "best_is"), best_is="highest"),
    replace(_CACHE, text=f"{_CACHE.text} The decoders in JAX only."),
)

FINETUNE = (
    *(*_RUN_WIDE, *_MODEL, *DECODER, *LOSS, *_DATA, *OPTIMIZER, *EVALUATION, *_MESH, *_RUN),
    *_reused(_of(GUARDS, "nonfinite_steps stall_minutes")),
)
