"""One step of DINO self-distillation, on normalised crops.

The state is one tree, so that it can be created, donated, sharded and saved as a whole:

    step       int32, steps taken
    student    float32 parameters {"backbone", "head"}, and {"dictionary"} if one is learned
    teacher    the same tree, moving average of the student
    optimizer  Adam moments, see optimizer.py
    center     float32 [G, K], moving average of the teacher's logits
    rng        key data of the run's seed, constant: draws depend only on (seed, step)
    skipped    int32 [2], steps that were not applied: in total, and in a row up to now

A step whose loss or gradient is not finite is not applied: it changes only `step` and `skipped`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from rats_jax.dino.codebook import Assigned, Codebook, assign, codebook_loss, statistics
from rats_jax.dino.loss import dino_loss, update_center
from rats_jax.dino.network import Network
from rats_jax.dino.optimizer import TakenRate, init_optimizer, update_parameters
from rats_jax.dino.schedules import Schedules
from rats_jax.models.micro_batches import mean_over_parts
from rats_jax.models.step_key import step_key


@dataclass(frozen=True, kw_only=True)
class DINO:
    """The method: everything of a step that is not state or data."""

    network: Network
    init_network: Callable[[jax.Array], dict]
    schedules: Schedules
    clip: float
    student_temperature: float
    center_momentum: float
    #: Number of micro-batches that a batch is split into; they are computed one after another.
    accumulation: int = 1
    #: The learning rate of parameters that were taken from given weights.
    taken: TakenRate = TakenRate()
    #: The loss of a dictionary that is learned too; None without one.
    codebook: Codebook | None = None

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
            "skipped": jnp.zeros(2, jnp.int32),
        }

    def step(
        self,
        state: dict,
        batch: dict[str, jax.Array],
        *,
        make_crops: Callable[[dict], dict] = lambda crops: crops,
    ) -> tuple[dict, dict]:
        """(state, batch) -> new state, scalar metrics.

        Official order: teacher, student, loss, center, backward, clip, freeze, AdamW, teacher.

        batch: arrays [B, ...] from which `make_crops` makes normalised crops {"global":
        [B, 2, ...], "local": [B, V, ...]}; by default the batch is these crops. With
        `accumulation`, crops, losses and gradients are computed for one micro-batch at a time;
        center, clipping and all later operations use the whole batch, and so does the diversity of
        a learned dictionary. The metric "loss" is that of DINO alone.
        """
        step, schedules = state["step"], self.schedules
        temperature = schedules.teacher_temperature(step)
        learning_rate = schedules.learning_rate(step)
        weight_decay = schedules.weight_decay(step)
        keep = self.network.draw_drop_path(
            step_key(state, "drop path", DRAWS), jax.eval_shape(make_crops, batch)
        )

        parts = {"batch": batch, "keep": keep}
        soft = self._soft_assignment(state["student"], parts, make_crops)

        def of_part(part: dict):
            """Gradients, losses, mean teacher logits and assignment of one part of the batch."""
            with jax.named_scope("crops"):
                crops = make_crops(part["batch"])
            with jax.named_scope("teacher"):
                teacher_logits = self.network.logits(state["teacher"], {"global": crops["global"]})

            def objective(student: dict):
                with jax.named_scope("student"):
                    logits, registers = self.network.outputs(student, crops, keep=part["keep"])
                with jax.named_scope("loss"):
                    loss = dino_loss(
                        logits,
                        teacher_logits,
                        state["center"],
                        student_temperature=self.student_temperature,
                        teacher_temperature=temperature,
                    )
                if self.codebook is None:
                    return loss.loss, (loss, None)
                assert registers is not None  # there are global crops
                with jax.named_scope("dictionary"):
                    more, assigned = codebook_loss(
                        _by_image(registers, crops), _entries(student), self.codebook, mean=soft
                    )
                return loss.loss + more, (loss, assigned)

            gradients, (loss, assigned) = jax.grad(objective, has_aux=True)(state["student"])
            return gradients, loss, teacher_logits.mean((0, 1)), assigned

        gradients, loss, mean_logits, assigned = mean_over_parts(of_part, parts, self.accumulation)
        center = update_center(state["center"], mean_logits, momentum=self.center_momentum)
        with jax.named_scope("optimizer"):
            student, optimizer = update_parameters(
                state["student"],
                gradients,
                state["optimizer"],
                clip=self.clip,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                last_layer_frozen=schedules.last_layer_frozen(step),
                factor_of=self.taken.factors(step),
            )
        rate = schedules.teacher_rate(step)
        teacher = jax.tree.map(lambda t, s: t + rate * (s - t), state["teacher"], student)
        gradient_norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(loss.loss) & jnp.isfinite(gradient_norm)
        moved = {"student": student, "teacher": teacher, "optimizer": optimizer, "center": center}
        before = {name: state[name] for name in moved}
        total, in_a_row = state["skipped"]
        state = {
            **optax.tree.where(finite, moved, before),
            "step": step + 1,
            "rng": state["rng"],
            "skipped": jnp.where(finite, jnp.array([total, 0]), jnp.array([total, in_a_row]) + 1),
        }
        metrics = {
            **loss._asdict(),
            "center_norm": jnp.linalg.norm(state["center"]),
            "gradient_norm": gradient_norm,
            "skipped_steps": state["skipped"][0],
            "skipped_in_a_row": state["skipped"][1],
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "teacher_momentum": 1 - rate,
            "teacher_temperature": temperature,
        }
        return state, metrics | (statistics(assigned) if self.codebook else {})

    def _soft_assignment(self, student: dict, parts: dict, make_crops: Callable):
        """The mean soft assignment of the whole batch, if its parts need it: one forward pass more
        of the student's global crops. None if they do not."""
        codebook = self.codebook
        if codebook is None or not codebook.diversity or self.accumulation == 1:
            return None

        def of_part(part: dict) -> Assigned:
            with jax.named_scope("crops"):
                crops = make_crops(part["batch"])
            with jax.named_scope("dictionary, first pass"):
                keep = part["keep"].get("global")
                features = self.network.of_crops(student, crops["global"], keep)
                return assign(
                    _by_image(features.registers, crops),
                    _entries(student),
                    temperature=codebook.temperature,
                )

        return mean_over_parts(of_part, parts, self.accumulation).soft


def _by_image(registers: jax.Array, crops: dict[str, jax.Array]) -> jax.Array:
    """Registers of the global crops, [B * V, N, D], as [B, V * N, D]."""
    return registers.reshape(len(crops["global"]), -1, registers.shape[-1])


def _entries(params: dict) -> jax.Array:
    return params["dictionary"]["entries"]


#: The kinds of random draws in a step, see `step_key`.
DRAWS = ("photometrics", "drop path")
