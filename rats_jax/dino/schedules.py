"""The schedules of DINO v1 (official `cosine_scheduler` and `DINOLoss`), as functions of the step.

Written so that float32 keeps its relative precision to the last step: (1 + cos x) / 2 is computed
as sin^2((pi - x) / 2) of an exact integer difference. Steps are int32 scalars, traced or not.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp


def cosine(step: jax.Array, *, start: float, end: float, steps: int) -> jax.Array:
    """Half a cosine from `start` at step 0 towards `end` at `steps`; `end` after that."""
    left = jnp.maximum(steps - step, 0)
    return end + (start - end) * jnp.sin(jnp.pi / 2 * left / steps) ** 2


def warmup_cosine(
    step: jax.Array, *, peak: float, end: float, warmup_steps: int, steps: int
) -> jax.Array:
    """Linear from 0 at step 0 to `peak` at step `warmup_steps` - 1 (numpy's inclusive linspace),
    then a cosine that starts at `peak` again and ends at `steps`."""
    rise = peak * step / max(warmup_steps - 1, 1)
    fall = cosine(step - warmup_steps, start=peak, end=end, steps=steps - warmup_steps)
    return jnp.where(step < warmup_steps, rise, fall)


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """Everything that depends on the step. Lengths are in steps, except for the teacher
    temperature, which changes once per epoch."""

    steps: int
    steps_per_epoch: int
    peak_learning_rate: float
    end_learning_rate: float
    warmup_steps: int
    weight_decay_start: float
    weight_decay_end: float
    momentum_start: float
    momentum_end: float
    temperature_start: float
    temperature_end: float
    temperature_warmup_epochs: int
    freeze_last_layer_steps: int

    def learning_rate(self, step: jax.Array) -> jax.Array:
        return warmup_cosine(
            step,
            peak=self.peak_learning_rate,
            end=self.end_learning_rate,
            warmup_steps=self.warmup_steps,
            steps=self.steps,
        )

    def weight_decay(self, step: jax.Array) -> jax.Array:
        return cosine(
            step, start=self.weight_decay_start, end=self.weight_decay_end, steps=self.steps
        )

    def teacher_rate(self, step: jax.Array) -> jax.Array:
        """1 - momentum of the teacher: this keeps its precision as the momentum approaches 1."""
        return cosine(
            step, start=1 - self.momentum_start, end=1 - self.momentum_end, steps=self.steps
        )

    def teacher_temperature(self, step: jax.Array) -> jax.Array:
        """numpy's linspace over the warm-up epochs, then constant; it is constant in each epoch."""
        start, end = self.temperature_start, self.temperature_end
        warmup = self.temperature_warmup_epochs
        epoch = step // self.steps_per_epoch
        # linspace of one point is its start.
        rise = start + (end - start) * epoch / max(warmup - 1, 1)
        return jnp.where(epoch < warmup, rise, end).astype(jnp.float32)

    def values(self, step: int) -> dict[str, jax.Array]:
        """Display name -> value at a step."""
        at = jnp.int32(step)
        return {
            "the learning rate": self.learning_rate(at),
            "the weight decay": self.weight_decay(at),
            "the teacher momentum": 1 - self.teacher_rate(at),
            "the teacher temperature": self.teacher_temperature(at),
        }

    def ends(self) -> dict[str, int]:
        """Display name of a span -> the step at which it ends."""
        return {
            "the warm-up": self.warmup_steps,
            "the freeze of the last layer": self.freeze_last_layer_steps,
        }

    def last_layer_frozen(self, step: jax.Array) -> jax.Array:
        return step < self.freeze_last_layer_steps
