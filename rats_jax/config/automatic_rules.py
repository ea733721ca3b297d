"""The rules by which automatic fields get their values, in the order in which they are applied.

docs/train_on_your_images.md has them as a table with values, made by docs/automatic_table.py. Most
are published settings for ImageNet's 1,281,167 images, carried over to other numbers of images.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ml_collections import ConfigDict

#: Share of a device's memory that the estimated bytes of a step may take, when settings are chosen.
SAFE = 0.8
GIB = 2**30

IMAGES_TO_A_PROTOTYPE = 16
PROTOTYPES = (1024, 65_536)

STEPS_TO_AN_EPOCH = 4
BATCH = (32, 1024)
USUAL_BATCH, LEARNING_RATE = 256, 5e-4

USUAL_EPOCHS, AT_IMAGES = 200, 100_000
EPOCHS = (50, 800)

WARMUP_STEPS, WARMUP_SHARE = 12_500, 0.1
FREEZE_STEPS, FREEZE_SHARE = 1250, 0.03
TEMPERATURE_STEPS, TEMPERATURE_SHARE = 37_500, 0.3

FEW_IMAGES, IMAGENET = 20_000, 1_281_167
TEMPERATURE = (0.02, 0.07)
START_TEMPERATURE = (0.02, 0.04)

TEACHER_SHARE = 500
TEACHER_STEPS = (100, 250)

REPORTS, MOST_BETWEEN_REPORTS = 100, 50
CHECKPOINTS, MOST_BETWEEN_CHECKPOINTS = 20, 1000


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rules depend on.

    config: fields that come earlier in RULES have their values. images: of the data set. devices:
    that the batch is split over. memory: bytes of one device; None if not known. step_bytes: the
    estimated bytes of a training step on one device; None if they cannot be estimated. on_cpu:
    whether the devices are CPUs.
    """

    config: ConfigDict
    images: int
    devices: int
    memory: int | None
    step_bytes: Callable[[ConfigDict], int] | None
    on_cpu: bool

    @property
    def steps_per_epoch(self) -> int:
        return max(self.images // self.config.optimizer.batch_size, 1)

    @property
    def steps(self) -> int:
        return max(round(self.config.optimizer.epochs * self.steps_per_epoch), 1)

    def fits(self, *, accumulation: int, remat: str) -> bool:
        """Whether a step is safe with these values, by estimate; True if that is not known."""
        if self.memory is None or self.step_bytes is None:
            return True
        config = self.config.copy_and_resolve_references()
        config.optimizer.accumulation, config.model.remat = accumulation, remat
        return self.step_bytes(config) <= SAFE * self.memory

    @property
    def too_large(self) -> bool:
        """Whether a step does not fit, by estimate; False if that is not known."""
        if self.memory is None or self.step_bytes is None:
            return False
        return self.step_bytes(self.config) > self.memory


class Rule(NamedTuple):
    """field: what it is for. choose: value and reason. text, source: for the table in the docs."""

    field: str
    choose: Callable[[Facts], tuple[object, str]]
    text: str
    source: str


def compute_dtype(facts: Facts) -> tuple[str, str]:
    if facts.on_cpu:
        return "float32", "what most CPUs compute in"
    return "bfloat16", "as the paper"


def prototypes(facts: Facts) -> tuple[int, str]:
    low, high = PROTOTYPES
    chosen = min(max(_power_of_two(facts.images / IMAGES_TO_A_PROTOTYPE), low), high)
    if chosen == low:
        return chosen, "the fewest, for few images"
    return chosen, f"{facts.images / chosen:.0f} images to a prototype; ImageNet has 20"


def batch_size(facts: Facts) -> tuple[int, str]:
    n, (low, high) = facts.images, BATCH
    target = min(max(_power_of_two(math.sqrt(n)), low), high)
    target = min(target, max(_power_of_two(n / STEPS_TO_AN_EPOCH), 1))
    parts = facts.devices * max(facts.config.optimizer.accumulation, 1)  # AUTO is less
    chosen = max(target // parts, 1) * parts
    return chosen, f"{_count(n // chosen, 'step')} to the epoch" + (
        f", {_count(chosen // facts.devices, 'image')} to each of {facts.devices} devices"
        if facts.devices > 1
        else ""
    )


def remat(facts: Facts) -> tuple[str, str]:
    if facts.memory is None or facts.step_bytes is None:
        return "dots", "the memory of the device is not known"
    parts = max(facts.config.optimizer.accumulation, 1)
    if facts.fits(accumulation=parts, remat="none"):
        return "none", f"the whole batch fits in {_safe(facts)}"
    return "dots", f"without it, a step takes more than {_safe(facts)}"


def accumulation(facts: Facts) -> tuple[int, str]:
    if facts.memory is None or facts.step_bytes is None:
        return 1, "the memory of the device is not known"
    share = max(facts.config.optimizer.batch_size // facts.devices, 1)
    parts = [parts for parts in range(1, share + 1) if share % parts == 0]
    chosen = next(
        (p for p in parts if facts.fits(accumulation=p, remat=facts.config.model.remat)), share
    )
    if chosen == 1:
        return 1, f"the whole batch fits in {_safe(facts)}"
    return chosen, f"{_count(share // chosen, 'image')} at once fit in {_safe(facts)}"


def epochs(facts: Facts) -> tuple[float, str]:
    low, high = EPOCHS
    wanted = USUAL_EPOCHS * (AT_IMAGES / facts.images) ** 0.25
    chosen = min(max(_rounded(wanted, 2), low), high)
    steps = round(chosen * facts.steps_per_epoch)
    return float(chosen), f"{_count(steps, 'step')}; fewer images are seen more often"


def learning_rate(facts: Facts) -> tuple[float, str]:
    batch = facts.config.optimizer.batch_size
    factor = max(USUAL_BATCH / batch, 1) ** 0.5
    peak = LEARNING_RATE * factor * batch / 256
    how = "linear" if batch >= USUAL_BATCH else "square root"
    return _rounded(LEARNING_RATE * factor, 3), f"{peak:.2g} at this batch size, by the {how} rule"


def warmup_epochs(facts: Facts) -> tuple[float, str]:
    return _span(facts, WARMUP_STEPS, WARMUP_SHARE)


def freeze_last_layer_epochs(facts: Facts) -> tuple[float, str]:
    return _span(facts, FREEZE_STEPS, FREEZE_SHARE)


def teacher_temperature(facts: Facts) -> tuple[float, str]:
    low, high = TEMPERATURE
    share = (facts.images - FEW_IMAGES) / (IMAGENET - FEW_IMAGES)
    chosen = round(low + (high - low) * min(max(share, 0), 1), 3)
    if chosen == high:
        return chosen, "as DINO for ImageNet"
    return chosen, "few images: sharp targets do not become uniform"


def teacher_temperature_start(facts: Facts) -> tuple[float, str]:
    end, (low, high) = facts.config.dino.teacher_temperature, START_TEMPERATURE
    share = (end - TEMPERATURE[0]) / (TEMPERATURE[1] - TEMPERATURE[0])
    chosen = min(round(low + (high - low) * min(max(share, 0), 1), 3), end)
    return chosen, "the temperature is constant" if chosen == end else "rises from here"


def teacher_temperature_warmup_epochs(facts: Facts) -> tuple[int, str]:
    dino = facts.config.dino
    if dino.teacher_temperature_start == dino.teacher_temperature:
        return 0, "the temperature is constant"
    steps = min(TEMPERATURE_STEPS, TEMPERATURE_SHARE * facts.steps)
    chosen = int(steps / facts.steps_per_epoch)
    return chosen, f"{_count(chosen * facts.steps_per_epoch, 'step')}"


def teacher_momentum(facts: Facts) -> tuple[float, str]:
    low, high = TEACHER_STEPS
    window = min(max(facts.steps / TEACHER_SHARE, low), high)
    return _rounded(1 - 1 / window, 4), f"a mean over {window:.0f} steps, of {facts.steps:,}"


def log_every(facts: Facts) -> tuple[int, str]:
    return _interval(facts, REPORTS, MOST_BETWEEN_REPORTS, "report")


def checkpoint_every(facts: Facts) -> tuple[int, str]:
    return _interval(facts, CHECKPOINTS, MOST_BETWEEN_CHECKPOINTS, "checkpoint")


def _span(facts: Facts, most: int, share: float) -> tuple[float, str]:
    """A span of `most` steps, but of at most this share of the run; 0 if that is less than a step.
    In epochs."""
    steps = int(min(most, share * facts.steps))
    of_run = "" if steps == most else f", {share:.0%} of the run"
    return _rounded(steps / facts.steps_per_epoch, 3), _count(steps, "step") + of_run


def _interval(facts: Facts, count: int, most: int, what: str) -> tuple[int, str]:
    chosen = min(max(facts.steps // count, 1), most)
    return chosen, f"{_count(math.ceil(facts.steps / chosen), what)} in the run"


def _power_of_two(limit: float) -> int:
    """The largest power of two up to the limit; 0 below 1."""
    return 1 << (int(limit).bit_length() - 1) if limit >= 1 else 0


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _safe(facts: Facts) -> str:
    return f"{SAFE:.0%} of {(facts.memory or 0) / GIB:.1f} GiB"


RULES = (
    Rule(
        "compute_dtype",
        compute_dtype,
        "float32 on CPUs, bfloat16 elsewhere",
        "the paper: bfloat16; the recipes for CPUs: float32; the speed on CPUs is not measured",
    ),
    Rule(
        "head.prototypes",
        prototypes,
        "the power of two at or below n / 16, from 1,024 to 65,536",
        "derived: ImageNet has 20 images to a prototype; close to lightly-train's steps",
    ),
    Rule(
        "optimizer.batch_size",
        batch_size,
        "the power of two at or below √n, from 32 to 1,024, and at most n / 4",
        "derived: an epoch has about as many steps as a batch has images, as for ImageNet in "
        "batches of 1,024 (DINO, RATS-B); not measured",
    ),
    Rule(
        "model.remat",
        remat,
        "`none` if the whole batch then fits in 80 % of the memory, else `dots`",
        "estimated bytes of a step (`rats_jax/models/memory.py`)",
    ),
    Rule(
        "optimizer.accumulation",
        accumulation,
        "the least number of parts that fit in 80 % of the memory",
        "estimated bytes of a step",
    ),
    Rule(
        "optimizer.epochs",
        epochs,
        "200 (100,000 / n)^¼, from 50 to 800",
        "DINO: 100 to 800 for ImageNet; lightly-train's docs: 100 to 300; the power is not "
        "measured",
    ),
    Rule(
        "optimizer.learning_rate",
        learning_rate,
        "5e-4 for 256 images; times √(256 / batch) below that",
        "DINO's linear rule above 256; below, the square root usual for Adam, which gives 2.5e-4 "
        "at 64, where the demo uses 2e-4",
    ),
    Rule(
        "optimizer.warmup_epochs",
        warmup_epochs,
        "12,500 steps, at most 10 % of the run",
        "lightly-train; DINO: 10 epochs of 1,251 steps",
    ),
    Rule(
        "dino.freeze_last_layer_epochs",
        freeze_last_layer_epochs,
        "1,250 steps, at most 3 % of the run",
        "lightly-train: 1,250 steps; RATS-B: 30 % of the warm-up",
    ),
    Rule(
        "dino.teacher_temperature",
        teacher_temperature,
        "0.02 up to 20,000 images, 0.07 from 1,281,167, linear between",
        "lightly-train; 0.02 also in this project's runs on drawings",
    ),
    Rule(
        "dino.teacher_temperature_start",
        teacher_temperature_start,
        "0.02 where the end is 0.02, 0.04 where it is 0.07, linear between",
        "lightly-train; DINO: 0.04",
    ),
    Rule(
        "dino.teacher_temperature_warmup_epochs",
        teacher_temperature_warmup_epochs,
        "37,500 steps, at most 30 % of the run",
        "lightly-train; DINO: 30 epochs of 1,251 steps",
    ),
    Rule(
        "dino.teacher_momentum",
        teacher_momentum,
        "1 - 1 / s, where s is a 500th of the run, from 100 to 250 steps",
        "derived: 0.996 in DINO's 125,000 steps; 0.99 is lightly-train's for few images",
    ),
    Rule(
        "run.log_every",
        log_every,
        "a hundredth of the run, at most 50 steps",
        "enough reports for the alarms of a collapse",
    ),
    Rule(
        "run.checkpoint_every",
        checkpoint_every,
        "a twentieth of the run, at most 1,000 steps",
        "what an interruption may cost",
    ),
)
