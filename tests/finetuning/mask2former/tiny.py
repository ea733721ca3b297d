"""A model that trains in milliseconds, in the place of Mask2Former, and a run of it."""

import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import torch
from ml_collections import ConfigDict
from torch import nn
from torch.nn import functional as F

from rats_jax.config import finetune_config

CLASSES, QUERIES = 3, 6


class TinySegmenter(nn.Module):
    """Masks and classes of fixed queries from pixels: the signature and the normalisation of losses
    of `model.Segmenter`; query i is matched with mask i, and no random points are drawn."""

    multiple = 8

    def __init__(self, classes: int = CLASSES, no_object: float = 0.1):
        super().__init__()
        self.number = classes
        self.masks = nn.Conv2d(3, QUERIES, 8, stride=4, padding=2)
        self.classes = nn.Linear(QUERIES, QUERIES * (classes + 1))
        weight = torch.ones(classes + 1)
        weight[-1] = no_object
        self.register_buffer("weight", weight)

    def forward(self, images, targets=None):
        masks = self.masks(images / 255 - 0.5)
        logits = self.classes(masks.mean((2, 3))).reshape(-1, QUERIES, self.number + 1)
        return logits, masks, targets and self.losses(logits, masks, targets)

    def losses(self, logits, masks, targets):
        count = max(sum(len(classes) for _, classes in targets), 1)
        truth = torch.full(logits.shape[:2], self.number, device=logits.device)
        mask, dice = 0 * masks.sum(), 0 * masks.sum()
        for i, (of_image, classes) in enumerate(targets):
            n = min(len(classes), QUERIES)
            truth[i, :n] = classes[:n]
            if n:
                small = F.interpolate(of_image[None, :n].float(), masks.shape[2:])[0].flatten(1)
                found = masks[i, :n].flatten(1)
                each = F.binary_cross_entropy_with_logits(found, small, reduction="none")
                p = found.sigmoid()
                overlap = (2 * (p * small).sum(1) + 1) / (p.sum(1) + small.sum(1) + 1)
                mask, dice = mask + each.mean(1).sum(), dice + (1 - overlap).sum()
        cross = F.cross_entropy(logits.transpose(1, 2), truth, self.weight)
        return {"loss_class": cross, "loss_mask": mask / count, "loss_dice": dice / count}


def tiny_config(**fields) -> ConfigDict:
    """Eight steps on drawings, a report and a checkpoint after each two; `fields` are
    section__field=value."""
    config = finetune_config()
    config.compute_dtype = "float32"
    config.model.checkpoint = "demo"
    config.data.update(train="procedural_parts:40", test="procedural_parts:5@1", crop=32)
    config.data.update(workers=0, threads=1)
    config.optimizer.update(steps=8, batch_size=4, learning_rate=1e-2)
    config.evaluation.update(every_steps=4, short_side=32, long_side=64, pictures=2)
    config.run.update(log_every=1, checkpoint_every=2)
    for name, value in fields.items():
        section, field = name.split("__")
        config[section][field] = value
    return config


def tiny_parts() -> ExitStack:
    """While it is open, runs train a `TinySegmenter`."""
    from rats_jax.finetuning.mask2former import ending, run

    stack = ExitStack()
    made = lambda backbone, config, *, classes: TinySegmenter(len(classes))  # noqa: E731
    stack.enter_context(patch.object(run, "make_model", made))
    stack.enter_context(patch.object(run, "parameter_groups", _groups))
    stack.enter_context(patch.object(ending, "export", _export))
    return stack


def _groups(model: nn.Module, config: ConfigDict) -> list[dict]:
    rate = config.optimizer.learning_rate
    return [{"params": list(model.parameters()), "lr": rate, "weight_decay": 0.05}]


def _export(model: nn.Module, folder: Path, about: dict, **sides: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "about.txt").write_text(str(about))


def main(workdir: str, number: str = "", at: str = "0", rank: str = "0") -> None:
    """A run in a process of its own; process `rank` sends itself this signal in step `at`."""
    from rats_jax.command_line import run
    from rats_jax.finetuning.mask2former.run import finetune
    from rats_jax.finetuning.mask2former.step import TrainStep

    torch.set_num_threads(1)
    take = TrainStep.__call__

    def interrupted(self, step, *given):
        if number and (step, os.environ.get("RANK", "0")) == (int(at), rank):
            os.kill(os.getpid(), getattr(signal, number))
        return take(self, step, *given)

    sys.argv = sys.argv[:1]
    with tiny_parts(), patch.object(TrainStep, "__call__", interrupted):
        run(lambda: finetune(tiny_config(), workdir), out_of_memory="")


if __name__ == "__main__":
    main(*sys.argv[1:])
