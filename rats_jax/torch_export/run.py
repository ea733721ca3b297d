"""Exports a backbone to a folder for other frameworks: writes it, loads it again and compares it
with the JAX model before the folder gets its final name."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rats_jax.backbones import Backbone, open_backbone
from rats_jax.errors import UserError
from rats_jax.paths import check_utf8, local_path, printable
from rats_jax.results_folder import free_folder, new_folder
from rats_jax.runs.restore import restore_parts
from rats_jax.runs.version import code_version
from rats_jax.torch_export import card, compare, dino_checkpoint, hugging_face, one_file, onnx_graph
from rats_jax.voice import say

#: Format -> the packages that are needed to write it and load it again.
FORMATS = {
    "safetensors": ("torch",),
    "dino": ("torch",),
    "hf": ("torch", "transformers"),
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
}
WRITTEN = {
    "safetensors": "model.safetensors",
    "dino": "checkpoint.pth",
    "hf": "AutoModel",
    "onnx": "model.onnx",
}


def export(
    checkpoint: str | os.PathLike,
    output: str | os.PathLike,
    *,
    formats: Sequence[str],
    weights: str = "teacher",
) -> None:
    """Makes the folder `output`, which must be new or empty. On failure nothing of it remains.

    checkpoint, weights: as in `open_backbone`. formats: keys of FORMATS; "safetensors" is always
    included.

    Raises:
      UserError: the checkpoint, the output or a format cannot be used, or the written model
        computes other results than the JAX model.
    """
    formats = _checked(formats)
    output = local_path(output)
    target = free_folder(output)
    check_utf8(target, "--output")  # some libraries that load the export again need it
    backbone = open_backbone(checkpoint, weights=weights)
    say(backbone.origin)
    if "dino" in formats and backbone.config is None:
        raise UserError(
            f"--format=dino needs the student, the heads and the center of a run; {checkpoint} "
            "contains only a backbone: choose safetensors, hf or onnx"
        )
    metrics = card.reported(backbone.workdir, backbone.step) if backbone.workdir else {}
    with new_folder(target) as folder:
        outputs = _write(
            folder, backbone, formats, checkpoint=checkpoint, weights=weights, metrics=metrics
        )
        references = list(compare.references(backbone))
        differences = {}
        for form in formats:
            what = WRITTEN[form]
            differences[what] = compare.difference(
                lambda images, form=form: outputs[form](folder, images), references, what=what
            )
            say(f"{what}: differs from the JAX model by at most {differences[what]:.1e}")
        card.write(
            folder,
            name=target.name,
            formats=formats,
            backbone=backbone,
            metrics=metrics,
            differences=differences,
        )
    say(f"results: {printable(str(output))} ({', '.join(sorted(os.listdir(target)))})")


def _write(
    folder: Path,
    backbone: Backbone,
    formats: Sequence[str],
    *,
    checkpoint: str | os.PathLike,
    weights: str,
    metrics: Mapping,
) -> dict:
    """Writes the files. Returns, for each format, the function that computes with these files."""
    about = {"origin": backbone.origin, "code": code_version()}
    if backbone.step is not None:
        about |= {"step": backbone.step, "weights": weights}
    one_file.write(
        folder,
        options=backbone.options,
        params=backbone.params,
        about=about,
        mean=backbone.mean,
        std=backbone.std,
    )
    if "hf" in formats:
        hugging_face.write(folder)
    if "dino" in formats:
        run = backbone.workdir or checkpoint  # without workdir: a checkpoint copied out of its run
        names = ("student", "teacher", "center")
        parts = restore_parts(run, names, step=backbone.step).state
        reported = metrics.get("step") or 1  # in this run, at or before the checkpoint
        epoch = int(backbone.step * metrics.get("epoch", 0) / reported + 1e-6)
        dino_checkpoint.write(folder, **parts, config=backbone.config, epoch=epoch)
    if "onnx" in formats:
        say("tracing the ONNX graph")
        onnx_graph.write(folder)
    return {
        "safetensors": one_file.outputs,
        "hf": hugging_face.outputs,
        "dino": dino_checkpoint.outputs,
        "onnx": onnx_graph.outputs,
    }


def _checked(formats: Sequence[str]) -> tuple[str, ...]:
    """The formats in the order of FORMATS, including "safetensors". Raises UserError."""
    for form in formats:
        if form not in FORMATS:
            raise UserError(f"--format={form}: choose from {', '.join(FORMATS)}")
    formats = tuple(form for form in FORMATS if form in formats or form == "safetensors")
    for form in formats:
        for package in FORMATS[form]:
            if importlib.util.find_spec(package) is None:
                raise UserError(
                    f"--format={form} needs {package}, which is not installed: "
                    "pip install -r requirements-export.txt (docs/weights.md has the command for "
                    "the CPU build of torch, without gigabytes of CUDA)"
                )
    return formats
