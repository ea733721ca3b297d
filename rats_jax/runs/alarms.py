"""Alarms: what a run's scalars say has gone wrong, by name, and the first thing to do.

docs/operations.md explains each by its name.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

#: An alarm is raised when it has been seen in so many reports in a row, over so many steps.
REPORTS, STEPS = 3, 50
#: Loss and teacher entropy are at ln K from this share of it on.
AT_LN_K = 0.98
#: Nats from which on student and teacher differ, where images differ.
LEAST_KL = 0.05
#: Nats of teacher entropy below which a target is one prototype.
ONE_PROTOTYPE = 0.05
#: Prototypes in use, of those a batch could use.
LEAST_PROTOTYPES = 3.0
LEAST_FEATURE_STD = 0.05
LEAST_EFFECTIVE_RANK = 1.2
MOST_COPIES = 0.5
MOST_DEAD = 0.5
#: Share of time spent waiting for input.
MOST_INPUT_WAIT = 0.2


class Alarm(NamedTuple):
    """collapse: whether training on is of no use."""

    name: str
    message: str
    collapse: bool


class Rule(NamedTuple):
    """seen: from scalars (those of the run, `prototypes_used`, `ln_k`, `new_skipped`). message: is
    formatted with the same."""

    name: str
    collapse: bool
    seen: Callable[[dict], bool]
    message: str


RULES = (
    Rule(
        "loss_at_ln_k",
        True,
        lambda s: s["warm"] and s["loss"] > AT_LN_K * s["ln_k"],
        "loss {loss:.3f} is at ln K = {ln_k:.3f} after the warm-up: nothing is learned; lower "
        "config.dino.teacher_temperature",
    ),
    Rule(
        "uniform_targets",
        True,
        lambda s: s["thawed"] and s["teacher_entropy"] > AT_LN_K * s["ln_k"],
        "teacher entropy {teacher_entropy:.3f} is at ln K = {ln_k:.3f}: its targets are uniform; "
        "lower config.dino.teacher_temperature",
    ),
    Rule(
        "one_prototype",
        True,
        lambda s: (
            s["thawed"]
            and s["teacher_entropy"] < ONE_PROTOTYPE
            and s["prototypes_used"] < LEAST_PROTOTYPES
        ),
        "teacher entropy {teacher_entropy:.4f} is near 0 and a batch uses {prototypes_used:.1f} "
        "prototypes: all images have the same target; look at config.dino.center_momentum (0.9)",
    ),
    Rule(
        "no_kl",
        True,
        lambda s: s["thawed"] and s["kl"] < LEAST_KL,
        "KL {kl:.4f} is near 0: student and teacher say the same of every crop; look at "
        "config.dino.teacher_momentum and teacher_temperature",
    ),
    Rule(
        "few_prototypes",
        True,
        lambda s: s["thawed"] and s["prototypes_used"] < LEAST_PROTOTYPES,
        "a batch uses {prototypes_used:.1f} of {prototypes:,} prototypes; look at "
        "config.dino.center_momentum (0.9)",
    ),
    Rule(
        "features_alike",
        True,
        lambda s: s["thawed"] and s["feature_std"] < LEAST_FEATURE_STD,
        "feature std {feature_std:.4f} (1 is spread evenly): all images have nearly the same "
        "features; lower config.optimizer.learning_rate",
    ),
    Rule(
        "low_rank",
        True,
        lambda s: s["thawed"] and s["effective_rank"] < LEAST_EFFECTIVE_RANK,
        "effective rank {effective_rank:.2f}: features vary along one line; lower "
        "config.optimizer.learning_rate",
    ),
    Rule(
        "register_copies",
        False,
        lambda s: s["thawed"] and s.get("register_copies", 0) > MOST_COPIES,
        "{register_copies:.0%} of the registers are copies of another: try "
        "config.dino.loss_scope=head, or weaker photometrics",
    ),
    Rule(
        "registers_dead",
        False,
        lambda s: s["thawed"] and s.get("registers_dead", 0) > MOST_DEAD,
        "{registers_dead:.0%} of the registers do not depend on the image: fewer would do "
        "(config.model.registers_per_head)",
    ),
    Rule(
        "input_starved",
        False,
        lambda s: s.get("input_wait", 0) > MOST_INPUT_WAIT,
        "{input_wait:.0%} of the time goes into waiting for input: raise config.data.workers, or "
        "set config.data.cropping=canvas",
    ),
    Rule(
        "steps_skipped",
        False,
        lambda s: s["new_skipped"] > 0,
        "{skipped_steps:.0f} steps were not finite and not applied, {new_skipped:.0f} since the "
        "last report: lower config.optimizer.learning_rate or set config.optimizer.clip",
    ),
)


class Alarms:
    """Judges one report after another.

    prototypes: K. freeze_last_layer_steps, warmup_steps: of the schedules.
    """

    def __init__(self, *, prototypes: int, freeze_last_layer_steps: int, warmup_steps: int):
        self._prototypes = prototypes
        self._thaw = freeze_last_layer_steps
        self._warm = max(freeze_last_layer_steps, warmup_steps)
        self._skipped: float | None = None
        self._since: dict[str, list[int]] = {rule.name: [] for rule in RULES}
        self._raised: set[str] = set()

    def judge(self, step: int, scalars: Mapping[str, float]) -> list[Alarm]:
        """The alarms that this report raises: those seen long enough, which have not been raised
        since they were last clear."""
        raised, seen = [], self._with_context(step, scalars)
        for rule in RULES:
            steps = self._since[rule.name]
            if not rule.seen(seen):
                steps.clear()
                self._raised.discard(rule.name)
                continue
            steps.append(step)
            lasting = len(steps) >= REPORTS and step - steps[0] >= STEPS
            if lasting and rule.name not in self._raised:
                self._raised.add(rule.name)
                message = f"{rule.message.format(**seen)}: see docs/operations.md, {rule.name}"
                raised.append(Alarm(rule.name, message, rule.collapse))
        return raised

    def _with_context(self, step: int, scalars: Mapping[str, float]) -> dict:
        skipped = scalars.get("skipped_steps", 0)
        before, self._skipped = self._skipped, skipped
        return {
            **scalars,
            "prototypes": self._prototypes,
            "ln_k": math.log(self._prototypes),
            "prototypes_used": scalars["prototype_usage"] * self._prototypes,
            "thawed": step > self._thaw,
            "warm": step > self._warm,
            "new_skipped": 0 if before is None else skipped - before,
        }
