"""One step of training: losses of the whole batch, gradient, clipping, AdamW."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from rats_jax.finetuning.mask2former.processes import Processes
from rats_jax.finetuning.mask2former.targets import Part

#: From the number of steps taken to the learning rate of the next one.
Rate = Callable[[int], float]

#: The parts of the loss, as the model names them -> as they are reported.
LOSSES = {"loss_class": "class_loss", "loss_mask": "mask_loss", "loss_dice": "dice_loss"}


class TrainStep:
    """Takes steps. The parts of a batch, over processes and within one, give the loss and gradient
    of the whole batch; only the random points of the losses depend on how it is divided.

    A step whose loss or gradient is not finite changes nothing and is counted.

    Attributes:
      model: as the processes run it. optimizer: AdamW.
      skipped, in_a_row: how many steps were not applied, in all and without a break.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[Mapping],
        processes: Processes,
        *,
        rate: Rate,
        peak: float,
        seed: int,
        clip: float,
        no_object: float,
    ):
        """groups: of parameters, with their "lr" at the highest rate of the schedule, `peak`. clip:
        the largest norm of the whole gradient; 0 for any. no_object: the weight of "no object" in
        the class loss."""
        self._processes, self._rate, self._seed = processes, rate, seed
        self._clip, self._no_object = clip or math.inf, no_object
        optimizer = torch.optim.AdamW(groups, fused=processes.device.type == "cuda")
        self._shares = [group["lr"] / peak for group in optimizer.param_groups]
        self.model, self.optimizer = processes.accelerator.prepare(model, optimizer)
        self.skipped = self.in_a_row = 0

    @property
    def bare_model(self) -> nn.Module:
        """The model without the wrapping for several processes."""
        return self._processes.accelerator.unwrap_model(self.model)

    def __call__(self, step: int, parts: Sequence[Part], counts: Sequence[int]) -> dict[str, float]:
        """Takes step number `step`, from 1, and returns its metrics.

        parts: of this process. counts: the number of masks of each image of the whole batch.
        """
        accelerator, rate = self._processes.accelerator, self._rate(step - 1)
        for group, share in zip(self.optimizer.param_groups, self._shares, strict=True):
            group["lr"] = rate * share
        self.optimizer.zero_grad()
        self.model.train()
        sums = torch.zeros(len(LOSSES), device=self._processes.device)
        for number, part in enumerate(parts):
            # Processes exchange gradients once, with the last part.
            last = number == len(parts) - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                self._seed_draws(step, number)
                class_logits, _, losses = self.model(part.images, part.targets)
                shares = self._shares_of_batch(losses, part, counts, class_logits.shape[1])
                accelerator.backward(shares.sum() * self._processes.count)  # they are averaged
            sums += shares.detach()
        norm = accelerator.clip_grad_norm_(self.model.parameters(), self._clip)
        sums = accelerator.reduce(sums, reduction="sum")
        *losses, norm = torch.cat([sums, norm.to(sums)[None]]).tolist()
        loss = math.fsum(losses)
        self._apply(math.isfinite(loss) and math.isfinite(norm))
        return {
            "loss": loss,
            **dict(zip(LOSSES.values(), losses, strict=True)),
            "gradient_norm": norm,
            "learning_rate": rate,
            "skipped_steps": self.skipped,
            "skipped_in_a_row": self.in_a_row,
        }

    def _seed_draws(self, step: int, part: int) -> None:
        """Random numbers of a part (points of the losses, drop path) depend on nothing else, so
        that a resumed run repeats them."""
        key = np.random.SeedSequence((self._seed, step, self._processes.number, part))
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def _shares_of_batch(
        self, losses: Mapping[str, Tensor], part: Part, counts: Sequence[int], queries: int
    ) -> Tensor:
        """The losses of a part, float32 [LOSSES]. The model divides by the masks and the weights of
        the part; divided by those of the whole batch, they add up to its loss."""
        own = [len(target.classes) for target in part.targets]
        masks = max(sum(own), 1) / max(sum(counts), 1)
        classes = self._class_weights(own, queries) / self._class_weights(counts, queries)
        return torch.stack(
            [losses[n].float() * (classes if n == "loss_class" else masks) for n in LOSSES]
        )

    def _class_weights(self, counts: Sequence[int], queries: int) -> float:
        """The sum of the weights of the class loss, by which it is divided: 1 for each query that
        has a mask, `no_object` for others."""
        matched = sum(min(count, queries) for count in counts)
        return matched + self._no_object * (len(counts) * queries - matched)

    def _apply(self, finite: bool) -> None:
        if self._processes.accelerator.scaler is not None:
            self.optimizer.step()  # the loss scale decides, and becomes smaller after an overflow
            finite = not self.optimizer.step_was_skipped
        elif finite:
            self.optimizer.step()
        self.in_a_row = 0 if finite else self.in_a_row + 1
        self.skipped += not finite
