"""The values that automatic fields get: a function for each, which also gives a reason.

Most numbers here are published settings for ImageNet's 1,281,167 images, which the functions carry
over to other numbers of images. `rats_jax.config.automatic_rules` has the sources.
"""

import math

from rats_jax.config.automatic_facts import GIB, SAFE, Facts
from rats_jax.data.counted import counted

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
    return chosen, f"{counted(n // chosen, 'step')} per epoch" + (
        f", {counted(chosen // facts.devices, 'image')} to each of {facts.devices} devices"
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
    remat = facts.config.model.remat
    chosen = next((p for p in parts if facts.fits(accumulation=p, remat=remat)), None)
    if chosen is None:
        return share, f"not even one image at once fits in {_safe(facts)}"
    if chosen == 1:
        return 1, f"the whole batch fits in {_safe(facts)}"
    at_once = share // chosen
    fit = "fits" if at_once == 1 else "fit"
    return chosen, f"{counted(at_once, 'image')} at once {fit} in {_safe(facts)}"


def epochs(facts: Facts) -> tuple[float, str]:
    low, high = EPOCHS
    wanted = USUAL_EPOCHS * (AT_IMAGES / facts.images) ** 0.25
    chosen = min(max(_rounded(wanted, 2), low), high)
    steps = round(chosen * facts.steps_per_epoch)
    return float(chosen), f"{counted(steps, 'step')}; fewer images are seen more often"


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
    return chosen, f"{counted(chosen * facts.steps_per_epoch, 'step')}"


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
    return _rounded(steps / facts.steps_per_epoch, 3), counted(steps, "step") + of_run


def _interval(facts: Facts, count: int, most: int, what: str) -> tuple[int, str]:
    chosen = min(max(facts.steps // count, 1), most)
    return chosen, f"{counted(math.ceil(facts.steps / chosen), what)} in the run"


def _power_of_two(limit: float) -> int:
    """The largest power of two up to the limit; 0 below 1."""
    return 1 << (int(limit).bit_length() - 1) if limit >= 1 else 0


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _safe(facts: Facts) -> str:
    return f"{SAFE:.0%} of {(facts.memory or 0) / GIB:.1f} GiB"
