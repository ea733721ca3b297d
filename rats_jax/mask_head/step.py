"""One step of training for segmentation.

The state is one tree, so that it can be created, donated, sharded and saved as a whole:

    step       int32, steps taken
    student    float32 parameters {"backbone", "decoder"}
    optimizer  Adam moments of what is trained, see optimizer.py
    rng        key data of the run's seed, constant: draws depend only on (seed, step)
    skipped    int32 [2], steps that were not applied: in total, and in a row up to now

A step whose loss or gradient is not finite is not applied: it changes only `step` and `skipped`.
Images are those of the batch, see targets.py, not normalised.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from rats_jax.mask_head.losses import label_losses, losses_of_layers, totals_of
from rats_jax.mask_head.network import LinearNetwork, MaskNetwork, Network
from rats_jax.mask_head.optimizer import ADAM, update_parameters
from rats_jax.mask_head.options import LossOptions, OptimizerOptions
from rats_jax.mask_head.points import draw_points
from rats_jax.mask_head.targets import VOID, targets_of
from rats_jax.models.block import draw_drop_path
from rats_jax.models.micro_batches import mean_over_parts
from rats_jax.models.step_key import step_key


@dataclass(frozen=True, kw_only=True)
class Training(ABC):
    """Everything of a step that is not state or data; see `MaskTraining` and `LinearTraining`."""

    network: Network
    init_network: Callable[[jax.Array], dict]
    learning_rate: Callable[[jax.Array], jax.Array]  # of a step
    optimizer: OptimizerOptions = OptimizerOptions()
    #: Number of micro-batches that a batch is split into; they are computed one after another.
    accumulation: int = 1

    def init(self, seed: int) -> dict:
        """The state before the first step."""
        key = jax.random.key(seed)
        student = self.init_network(key)
        return {
            "step": jnp.int32(0),
            "student": student,
            "optimizer": ADAM.init(self._split(student)[0]),
            "rng": jax.random.key_data(key),
            "skipped": jnp.zeros(2, jnp.int32),
        }

    def step(self, state: dict, batch: dict[str, jax.Array]) -> tuple[dict, dict]:
        """(state, batch) -> new state, scalar metrics.

        With `accumulation`, losses and gradients are computed for one micro-batch at a time. They
        are divided by numbers of the whole batch, so results are the same beyond rounding.
        """
        learning_rate = self.learning_rate(state["step"])
        trained, frozen = self._split(state["student"])
        parts = {"batch": batch, "drawn": self._draw(state, len(batch["image"]))}
        totals = jax.tree.map(lambda x: x / self.accumulation, self._totals(batch))

        def of_part(part: dict) -> tuple[dict, dict]:
            def objective(trained: dict) -> tuple[jax.Array, dict]:
                return self._losses(frozen | trained, part, totals)

            return jax.grad(objective, has_aux=True)(trained)

        gradients, metrics = mean_over_parts(of_part, parts, self.accumulation)
        norm = optax.tree.norm(gradients)
        with jax.named_scope("optimizer"):
            after, optimizer = update_parameters(
                trained,
                gradients,
                state["optimizer"],
                norm=norm,
                learning_rate=learning_rate,
                depth=self.network.depth,
                options=self.optimizer,
            )
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
        after, optimizer = optax.tree.where(
            finite, (after, optimizer), (trained, state["optimizer"])
        )
        total, in_a_row = state["skipped"]
        skipped = jnp.where(finite, jnp.array([total, 0]), jnp.array([total, in_a_row]) + 1)
        state = {
            "step": state["step"] + 1,
            "student": frozen | after,
            "optimizer": optimizer,
            "rng": state["rng"],
            "skipped": skipped,
        }
        return state, metrics | {
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "skipped_steps": skipped[0],
            "skipped_in_a_row": skipped[1],
        }

    def _split(self, student: dict) -> tuple[dict, dict]:
        """The parameters that are trained, and the others. No gradient is computed for the others,
        so a frozen backbone has no backward pass."""
        frozen = ("backbone",) if self.optimizer.frozen else ()
        return (
            {name: part for name, part in student.items() if name not in frozen},
            {name: student[name] for name in frozen},
        )

    def _draw(self, state: dict, batch: int) -> dict:
        """The random numbers of a step, a tree of [B, ...]."""
        if self.network.drop_path == 0:
            return {}
        keep = draw_drop_path(
            step_key(state, "drop path", DRAWS),
            rate=self.network.drop_path,
            depth=self.network.depth,
            batch=batch,
        )
        return {"keep": jnp.moveaxis(keep, 2, 0)}

    @abstractmethod
    def _totals(self, batch: dict[str, jax.Array]):
        """What the losses of a batch are divided by."""

    @abstractmethod
    def _losses(self, student: dict, part: dict, totals) -> tuple[jax.Array, dict]:
        """The loss of a part of a batch, and metrics."""


@dataclass(frozen=True, kw_only=True)
class MaskTraining(Training):
    """Mask classification by registers. The loss is the sum over the supervised layers; the other
    metrics are those of the last layer."""

    network: MaskNetwork
    losses: LossOptions = LossOptions()

    def _draw(self, state: dict, batch: int) -> dict:
        points = draw_points(step_key(state, "points", DRAWS), batch, self.losses)
        return super()._draw(state, batch) | {"points": points}

    def _targets(self, batch: dict[str, jax.Array]):
        return targets_of(batch, classes=self.network.classes, queries=self.network.queries)

    def _totals(self, batch: dict[str, jax.Array]):
        return totals_of(self._targets(batch), queries=self.network.queries, options=self.losses)

    def _losses(self, student: dict, part: dict, totals) -> tuple[jax.Array, dict]:
        batch, drawn = part["batch"], part["drawn"]
        outputs = self.network.outputs(student, batch["image"], keep_of(drawn))
        losses = losses_of_layers(
            outputs, batch, self._targets(batch), drawn["points"], totals, self.losses
        )
        weights = self.losses
        loss = (
            weights.class_weight * losses.class_loss
            + weights.mask_weight * losses.mask_loss
            + weights.dice_weight * losses.dice_loss
        ).sum()
        return loss, {"loss": loss} | {name: x[-1] for name, x in losses._asdict().items()}


@dataclass(frozen=True, kw_only=True)
class LinearTraining(Training):
    """A linear layer on patches, semantic only: the mean cross-entropy of the pixels that count."""

    network: LinearNetwork

    def _totals(self, batch: dict[str, jax.Array]) -> jax.Array:
        return jnp.maximum(jnp.sum(batch["labels"] != VOID, dtype=jnp.float32), 1)

    def _losses(self, student: dict, part: dict, totals: jax.Array) -> tuple[jax.Array, dict]:
        batch = part["batch"]
        logits = self.network.label_logits(student, batch["image"], keep_of(part["drawn"]))
        with jax.named_scope("loss"):
            loss, right = (x / totals for x in label_losses(logits, batch["labels"]))
        return loss, {"loss": loss, "pixel_accuracy": right}


def keep_of(drawn: dict) -> jax.Array | None:
    """Drop path as the backbone takes it, [depth, 2, B]."""
    return jnp.moveaxis(drawn["keep"], 0, 2) if "keep" in drawn else None


#: The kinds of random draws in a step, see `step_key`.
DRAWS = ("drop path", "points")
