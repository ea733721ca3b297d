"""The model card, README.md of an export of Mask2Former."""

import json
from collections.abc import Mapping
from pathlib import Path

from rats_jax.finetuning.mask2former.model import Segmenter
from rats_jax.paths import printable

PAGE = """\
---
library_name: transformers
tags: [image-segmentation, mask2former, rats_jax]
---

# Mask2Former on {encoder}

{classes} classes; {queries}.

## Use it

```python
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation

processor = AutoImageProcessor.from_pretrained({name})
model = AutoModelForUniversalSegmentation.from_pretrained({name}, trust_remote_code=True)
image = Image.open("image.jpg").convert("RGB")
outputs = model(**processor(image, return_tensors="pt"))
size = [(image.height, image.width)]
processor.post_process_semantic_segmentation(outputs, target_sizes=size)
processor.post_process_instance_segmentation(outputs, target_sizes=size)
```

It needs torch, transformers (5.0 or later) and scipy; the code of the classes is in this folder.
Its scores are slightly different from those of `rats finetune`, for two reasons. Sides of images
must be multiples of {multiple}: the processor pads them, where `rats finetune` resizes the image,
each side to the nearest multiple. And transformers' post-processing resizes masks to 384 x 384 on
the way, where `rats finetune` resizes them to the image at once.

## Where it comes from

{about}

## Licence

The code in this folder is Apache-2.0, as rats_jax. The licence of the weights is chosen by those
who trained them, and may depend on the training images: **write it here before you publish them.**
"""


def write(folder: Path, *, name: str, model: Segmenter, about: Mapping[str, object]) -> None:
    """name: the final name of the folder."""
    config = model.network.config
    options = config.backbone_config.options
    from_registers = config.queries == "registers"
    page = PAGE.format(
        encoder=f"{options['architecture']}, width {options['width']}, depth {options['depth']}",
        classes=config.num_labels,
        queries=f"{config.num_queries} queries, "
        + ("each made of a register of the encoder" if from_registers else "learned"),
        name=json.dumps(name, ensure_ascii=False),
        multiple=model.multiple,
        about="\n".join(f"- {key}: {printable(str(value))}" for key, value in about.items()),
    )
    (folder / "README.md").write_text(page, encoding="utf-8")
