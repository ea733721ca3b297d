"""The model card, README.md of an export: the model, how to load it, how it was trained."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from rats_jax.backbones import Backbone
from rats_jax.paths import printable

PAGE = """\
---
library_name: {library}
tags: [dino, self-supervised, image-feature-extraction, rats_jax]
---

# {title}

{origin}.

## Load it

{loading}

## Images

RGB, scaled to 0..1, then normalised by mean {mean} and standard deviation {std}.
The positions are those of {size} x {size} pixels. Any height and width that are
multiples of {patch} are accepted: the positions are resampled as in training.

## What it computes

{options}
{training}
## Checked

After writing, each format was loaded again and compared with the JAX model. Largest absolute
differences, float32:

{differences}

## Licence

The code in this folder is Apache-2.0, as rats_jax. The licence of the weights is chosen by
those who trained them, and may depend on the training images: **write it here before you publish
them.**
"""

TRAINING = """
## Training

DINO self-distillation, without labels, by rats_jax. {metrics}

The recipe, as fields of rats_jax:

{recipe}
"""

#: Format -> how to load it.
LOADING = {
    "safetensors": """\
PyTorch alone; `modeling_rats.py` needs nothing else of this folder and may be copied anywhere:

```python
import sys

sys.path.insert(0, {text})  # or wherever the copy is
from modeling_rats import load

model = load({text})  # every tensor must match
features = model(images)  # [B, 3, height, width], normalised as below
features.registers        # {registers}
features.patches          # [B, L, {width}], row by row
features.global_vector    # [B, {width}]
model(images, attention_of=[-1]).attention  # {{layer: attention over the patches}}
```
""",
    "dino": """\
The official DINO code: `checkpoint.pth` has its layout (student, teacher, head, center), and
`official_dino.py` runs its scripts unmodified, on a CPU too:

```
python {script} DINO/eval_knn.py --data_path IMAGENET
python {script} DINO/eval_linear.py --data_path IMAGENET{last_blocks}
python {script} DINO/visualize_attention.py --image_path IMAGE
```
""",
    "hf": """\
transformers:

```python
from transformers import AutoBackbone, AutoConfig, AutoImageProcessor, AutoModel

processor = AutoImageProcessor.from_pretrained({text})
model = AutoModel.from_pretrained({text}, trust_remote_code=True)
outputs = model(**processor(images, return_tensors="pt"))
outputs.last_hidden_state, outputs.pooler_output, outputs.registers

config = AutoConfig.from_pretrained({text}, trust_remote_code=True, out_indices={stages})
backbone = AutoBackbone.from_config(config, trust_remote_code=True)
backbone.encoder.load_state_dict(model.encoder.state_dict())
backbone(images).feature_maps  # of these stages, for detection, segmentation, ...
```

timm, where it is installed, with this folder on Python's path:

```python
import timm, timm_rats

model = timm.create_model("rats", pretrained=True)
```
""",
    "onnx": """\
onnxruntime, any batch and any size that is a multiple of {patch} (for other
sizes, the remainder at the right and at the bottom is ignored):

```python
session = onnxruntime.InferenceSession({onnx})
outputs = session.run(None, {{"images": images}})  # {outputs}
```
""",
}

#: Fields and metrics about paths and speed, which the card leaves out.
LEFT_OUT = ("data.path", "data.workers", "data.threads", "data.prefetch", "data.max_unreadable")
LEFT_OUT += ("time", "images_per_second", "input_wait", "seconds_left", "evaluation/seconds")


def write(
    folder: Path,
    *,
    name: str,
    formats: Sequence[str],
    backbone: Backbone,
    metrics: Mapping,
    differences: Mapping[str, float],
) -> None:
    """Writes README.md.

    name: the final name of the folder. metrics: the last report up to the exported step.
    differences: file or format -> its largest difference from the JAX model.
    """
    options, config = backbone.options, backbone.config
    registers, width, depth = options.registers, options.width, options.depth
    values = {
        "text": json.dumps(name, ensure_ascii=False),
        "onnx": json.dumps(f"{name}/model.onnx", ensure_ascii=False),
        "script": shlex.quote(f"{name}/official_dino.py"),
        "width": width,
        "patch": options.patch,
        "registers": f"[B, {registers}, {width}]" if registers else "none",
        "last_blocks": "" if depth >= 4 else f" --n_last_blocks {depth}",
        "stages": sorted({max(depth // 2, 1), depth}),
        "outputs": ("registers, " if registers else "") + "patches, global_vector",
    }
    page = PAGE.format(
        library="transformers" if "hf" in formats else "pytorch",
        title=f"{options.title}, width {width}, depth {depth}, {options.heads} heads",
        origin=re.sub("^the ", "The ", backbone.origin),  # the name of a file stays as it is
        loading="\n".join(LOADING[form].format(**values) for form in LOADING if form in formats),
        mean=list(backbone.mean),
        std=list(backbone.std),
        size=options.image_size,
        patch=options.patch,
        options=_table(options.asdict()),
        training="" if config is None else _training(config, metrics),
        differences="\n".join(f"- {what}: {far:.1e}" for what, far in differences.items()),
    )
    (folder / "README.md").write_text(page, encoding="utf-8")


def reported(workdir: Path, step: int) -> dict:
    """The last training report in a run's metrics.jsonl up to a step, with the metrics that were
    measured after it; {} if there is none."""
    file, last = workdir / "metrics.jsonl", {}
    for line in file.read_text("utf-8", errors="replace").splitlines() if file.exists() else ():
        try:
            report = json.loads(line)
        except ValueError:  # incomplete, since the run was killed
            continue
        if isinstance(report, dict) and report.get("step", step + 1) <= step:
            last = report if "loss" in report else last | report
    return last


def _training(config: ConfigDict, metrics: Mapping) -> str:
    recipe = {
        f"{section}.{name}": value
        for section in ("dino", "optimizer", "crops", "photometrics", "head", "data")
        for name, value in config[section].items()
    }
    report = f"The last training report up to this step:\n\n{_table(metrics)}" if metrics else ""
    return TRAINING.format(metrics=report, recipe=_table(recipe))


def _table(values: Mapping) -> str:
    rows = (
        f"| `{name}` | {_value(value)} |"
        for name, value in values.items()
        if name not in LEFT_OUT and value not in ("", None)
    )
    return "\n".join(["| | |", "|---|---|", *rows])


def _value(value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))
