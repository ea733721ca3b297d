"""The rules by which automatic fields get their values, in the order in which they are applied.

docs/train_on_your_images.md has them as a table with values, made by docs/automatic_table.py.
"""

from collections.abc import Callable
from typing import NamedTuple

from rats_jax.config import automatic_values as values
from rats_jax.config.automatic_facts import Facts


class Rule(NamedTuple):
    """field: what it is for. choose: value and reason. text, source: for the table in the docs.
    reads: the fields that the value depends on, but for the speed and memory of a step."""

    field: str
    choose: Callable[[Facts], tuple[object, str]]
    text: str
    source: str
    reads: tuple[str, ...] = ()


STEPS = ("optimizer.batch_size", "optimizer.epochs")
TEMPERATURES = ("dino.teacher_temperature", "dino.teacher_temperature_start")


RULES = (
    Rule(
        "compute_dtype",
        values.compute_dtype,
        "float32 on CPUs, bfloat16 elsewhere",
        "the paper: bfloat16; the recipes for CPUs: float32; the speed on CPUs is not measured",
    ),
    Rule(
        "head.prototypes",
        values.prototypes,
        "the power of two at or below n / 16, from 1,024 to 65,536",
        "derived: ImageNet has 20 images to a prototype; close to lightly-train's steps",
    ),
    Rule(
        "optimizer.batch_size",
        values.batch_size,
        "the power of two at or below √n, from 32 to 1,024, and at most n / 4",
        "derived: an epoch has about as many steps as a batch has images, as for ImageNet in "
        "batches of 1,024 (DINO, RATS-B); not measured",
    ),
    Rule(
        "model.remat",
        values.remat,
        "`none` if the whole batch then fits in 80 % of the memory, else `dots`",
        "estimated bytes of a step (`rats_jax/models/memory.py`)",
    ),
    Rule(
        "optimizer.accumulation",
        values.accumulation,
        "the least number of parts that fit in 80 % of the memory",
        "estimated bytes of a step",
    ),
    Rule(
        "optimizer.epochs",
        values.epochs,
        "200 (100,000 / n)^¼, from 50 to 800",
        "DINO: 100 to 800 for ImageNet; lightly-train's docs: 100 to 300; the power is not "
        "measured",
    ),
    Rule(
        "optimizer.learning_rate",
        values.learning_rate,
        "5e-4 for 256 images; times √(256 / batch) below that",
        "DINO's linear rule above 256; below, the square root usual for Adam, which gives 2.5e-4 "
        "at 64, where the demo uses 2e-4",
        reads=STEPS[:1],
    ),
    Rule(
        "optimizer.warmup_epochs",
        values.warmup_epochs,
        "12,500 steps, at most 10 % of the run",
        "lightly-train; DINO: 10 epochs of 1,251 steps",
        reads=STEPS,
    ),
    Rule(
        "dino.freeze_last_layer_epochs",
        values.freeze_last_layer_epochs,
        "1,250 steps, at most 3 % of the run",
        "lightly-train: 1,250 steps; RATS-B: 30 % of the warm-up",
        reads=STEPS,
    ),
    Rule(
        "dino.teacher_temperature",
        values.teacher_temperature,
        "0.02 up to 20,000 images, 0.07 from 1,281,167, linear between",
        "lightly-train; 0.02 also in this project's runs on drawings",
    ),
    Rule(
        "dino.teacher_temperature_start",
        values.teacher_temperature_start,
        "0.02 where the end is 0.02, 0.04 where it is 0.07, linear between",
        "lightly-train; DINO: 0.04",
        reads=TEMPERATURES[:1],
    ),
    Rule(
        "dino.teacher_temperature_warmup_epochs",
        values.teacher_temperature_warmup_epochs,
        "37,500 steps, at most 30 % of the run",
        "lightly-train; DINO: 30 epochs of 1,251 steps",
        reads=STEPS + TEMPERATURES,
    ),
    Rule(
        "dino.teacher_momentum",
        values.teacher_momentum,
        "1 - 1 / s, where s is a 500th of the run, from 100 to 250 steps",
        "derived: 0.996 in DINO's 125,000 steps; 0.99 is lightly-train's for few images",
        reads=STEPS,
    ),
    Rule(
        "run.log_every",
        values.log_every,
        "a hundredth of the run, at most 50 steps",
        "enough reports for the alarms of a collapse",
        reads=STEPS,
    ),
    Rule(
        "run.checkpoint_every",
        values.checkpoint_every,
        "a twentieth of the run, at most 1,000 steps",
        "what an interruption may cost",
        reads=STEPS,
    ),
)
