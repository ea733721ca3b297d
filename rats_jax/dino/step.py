"""One step of DINO self-distillation, on normalised crops.

The state is one tree, so that it can be created, donated, sharded and saved as a whole:

    step       int32, steps taken
    student    float32 parameters {"backbone", "head"}
    teacher    the same tree, moving average of the student
    optimizer  Adam moments, see optimizer.py
    center     float32 [G, K], moving average of the teacher's logits
    rng        key data of the run's seed, constant: draws depend on (seed, step) alone
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from rats_jax.dino.loss import dino_loss, update_center
from rats_jax.dino.network import Network
from rats_jax.dino.optimizer import init_optimizer, update_parameters
from rats_jax.dino.schedules import Schedules


@dataclass(frozen=True, kw_only=True)
class DINO:
    """The method: everything of a step that is not state or data."""

    network: Network
    init_network: Callable[[jax.Array], dict]
    schedules: Schedules
    clip: float
    student_temperature: float
    center_momentum: float

    def init(self, seed: int) -> dict:
        """The state before the first step: the teacher starts as the student."""
        key = jax.random.key(seed)
        student = self.init_network(key)
        direction = student["head"]["last_layer"]["direction"]
        return {
            "step": jnp.int32(0),
            "student": student,
            "teacher": jax.tree.map(jnp.copy, student),
            "optimizer": init_optimizer(student),
            "center": jnp.zeros((self.network.losses, direction.shape[1])),
            "rng": jax.random.key_data(key),
        }

    def step(self, state: dict, crops: dict[str, jax.Array]) -> tuple[dict, dict]:
        """(state, {"global": [B, 2, ...], "local": [B, V, ...]}) -> new state, scalar metrics.

        Official order: teacher, student, loss, center, backward, clip, freeze, AdamW, teacher.
        """
        step, schedules = state["step"], self.schedules
        temperature = schedules.teacher_temperature(step)
        learning_rate = schedules.learning_rate(step)
        weight_decay = schedules.weight_decay(step)

        teacher_logits = self.network.logits(state["teacher"], {"global": crops["global"]})

        def objective(student: dict):
            logits = self.network.logits(student, crops, key=step_key(state, "drop path"))
            loss = dino_loss(
                logits,
                teacher_logits,
                state["center"],
                student_temperature=self.student_temperature,
                teacher_temperature=temperature,
            )
            return loss.loss, loss

        gradients, loss = jax.grad(objective, has_aux=True)(state["student"])
        center = update_center(state["center"], teacher_logits, momentum=self.center_momentum)
        student, optimizer = update_parameters(
            state["student"],
            gradients,
            state["optimizer"],
            clip=self.clip,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            last_layer_frozen=schedules.last_layer_frozen(step),
        )
        rate = schedules.teacher_rate(step)
        teacher = jax.tree.map(lambda t, s: t + rate * (s - t), state["teacher"], student)
        metrics = {
            **loss._asdict(),
            "center_norm": jnp.linalg.norm(center),
            "gradient_norm": optax.tree.norm(gradients),
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "teacher_momentum": 1 - rate,
            "teacher_temperature": temperature,
        }
        state = {
            "step": step + 1,
            "student": student,
            "teacher": teacher,
            "optimizer": optimizer,
            "center": center,
            "rng": state["rng"],
        }
        return state, metrics


#: What draws random numbers in a step; the place in this tuple is folded into the key.
DRAWS = ("photometrics", "drop path")


def step_key(state: dict, draw: str) -> jax.Array:
    """The key of one kind of draw (a name in `DRAWS`) at the state's step."""
    key = jax.random.wrap_key_data(state["rng"])
    return jax.random.fold_in(jax.random.fold_in(key, state["step"]), DRAWS.index(draw))
