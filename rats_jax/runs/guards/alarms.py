"""Alarms: problems that show in a run's scalars, each with a name and the first thing to do.

docs/operations.md explains each alarm under its name.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rats_jax.dino.schedules import Schedules
from rats_jax.models.options import Options

#: An alarm is raised when seen in at least REPORTS reports in a row, over at least STEPS steps.
REPORTS, STEPS = 3, 50
#: Loss and teacher entropy count as at ln K above this fraction of it, ...
AT_LN_K = 0.98
#: ... and the entropy counts as at 0 below this fraction.
AT_0 = 0.05
#: Nats. Runs that learn had 0.6 to 1.5.
LEAST_KL = 0.05
#: Information of targets about images, in nats. Sharp targets (entropy at 0) have less than the
#: second value only if most images share one target.
LEAST_INFORMATION, LEAST_SHARP_INFORMATION = 0.1, 1.0
#: Prototypes in use by a batch of 16 images or more.
LEAST_PROTOTYPES = 4.0
#: Relative distance. A teacher that is a copy of the student has 0, or float32 rounding (1e-7).
LEAST_DISTANCE = 1e-6
#: Below it the teacher is close to the student of this step or the last, not a mean of many.
LEAST_MOMENTUM = 0.5
LEAST_FEATURE_STD = 0.1
LEAST_RANK = 1.1
#: Fractions of the registers.
MOST_COPIES = MOST_DEAD = 0.25
#: Entries of a learned dictionary in use by a batch.
LEAST_ENTRIES = 4.0
#: In an evaluation: attention spread evenly over the patches; distinct registers per head.
AT_EVEN, FEW_TO_A_HEAD = 0.98, 1.5
#: Fraction of the time.
MOST_INPUT_WAIT = 0.2


class Alarm(NamedTuple):
    """message: one line. collapse: whether further training is useless."""

    name: str
    message: str
    collapse: bool


COLLAPSE, REGISTERS, DICTIONARY, MACHINE = "collapse", "registers", "dictionary", "machine"


class Rule(NamedTuple):
    """kind: MACHINE rules are judged from the first report on, others after the warm-up.
    seen: a condition on the scalars and what `Alarms` adds; a missing one is NaN, for which every
        comparison is false.
    message: a format string for the same scalars: the value, its meaning, the first thing to do.
    needs: a scalar of evaluations; reports without it are ignored, so that reports in a row are
        evaluations in a row.
    """

    name: str
    kind: str
    seen: Callable[[Mapping[str, float]], bool]
    message: str
    needs: str = ""


#: The first thing to do if targets no longer depend on the image: sharpening against centering.
BALANCE = "see config.dino.teacher_temperature and center_momentum, and the learning rate"

INPUT_STARVED = Rule(
    "input_starved",
    MACHINE,
    lambda s: s["input_wait"] > MOST_INPUT_WAIT,
    "{input_wait:.0%} of the time is spent waiting for input: raise config.data.workers",
)
STEPS_SKIPPED = Rule(
    "steps_skipped",
    MACHINE,
    lambda s: s["newly_skipped"] > 0,
    "{skipped_steps:.0f} steps have not been applied, {newly_skipped:.0f} since the last "
    "report: lower config.optimizer.learning_rate, or set config.optimizer.clip",
)

#: A rule that may be the cause of others comes before them.
RULES = (
    Rule(
        "teacher_is_student",
        COLLAPSE,
        lambda s: s["student_distance"] < LEAST_DISTANCE or s["teacher_momentum"] < LEAST_MOMENTUM,
        "student and teacher are {student_distance:.0e} apart, teacher momentum "
        "{teacher_momentum:.3f}: the teacher equals the student; set config.dino.teacher_momentum "
        "(0.996)",
    ),
    Rule(
        "loss_at_ln_k",
        COLLAPSE,
        lambda s: s["loss"] > AT_LN_K * s["ln_k"],
        "loss {loss:.3f} is at ln K = {ln_k:.3f} though the warm-up is over: nothing is learned; "
        + BALANCE,
    ),
    Rule(
        "entropy_at_ln_k",
        COLLAPSE,
        lambda s: s["teacher_entropy"] > AT_LN_K * s["ln_k"],
        "teacher entropy {teacher_entropy:.3f} is at ln K = {ln_k:.3f}: targets are uniform; lower "
        "config.dino.teacher_temperature",
    ),
    Rule(
        "entropy_at_0",
        COLLAPSE,
        lambda s: (
            s["teacher_entropy"] < AT_0 * s["ln_k"]
            and s["target_information"] < LEAST_SHARP_INFORMATION
        ),
        "teacher entropy {teacher_entropy:.3f} is near 0, and targets carry "
        "{target_information:.2f} nats of information about the image: most images have the same "
        "prototype; lower config.dino.center_momentum (0.9), or raise teacher_temperature",
    ),
    Rule(
        "few_prototypes",
        COLLAPSE,
        lambda s: s["prototypes_used"] < LEAST_PROTOTYPES,
        "a batch uses {prototypes_used:.1f} of {prototypes:,} prototypes: most images have the "
        "same one; lower config.dino.center_momentum (0.9), or raise teacher_temperature",
    ),
    Rule(
        "targets_alike",
        COLLAPSE,
        lambda s: s["target_information"] < LEAST_INFORMATION,
        "targets carry {target_information:.3f} nats of information about the image: they are the "
        "same for all images; " + BALANCE,
    ),
    Rule(
        "kl_at_0",
        COLLAPSE,
        lambda s: s["kl"] < LEAST_KL,
        "KL {kl:.4f} is near 0: the student has nothing left to learn from the teacher; " + BALANCE,
    ),
    Rule(
        "features_alike",
        COLLAPSE,
        lambda s: s["feature_std"] < LEAST_FEATURE_STD,
        "feature std {feature_std:.3f} (of 1): the features of all images are nearly the same; "
        + BALANCE,
    ),
    Rule(
        "rank_at_1",
        COLLAPSE,
        lambda s: s["effective_rank"] < LEAST_RANK,
        "effective rank {effective_rank:.2f}: features vary along one line; " + BALANCE,
    ),
    Rule(
        "register_copies",
        REGISTERS,
        lambda s: s["register_copies"] > MOST_COPIES,
        "{register_copies:.0%} of the registers are copies of another: start again with "
        "a larger config.model.register_std, fewer registers, or config.dino.loss_scope=head",
    ),
    Rule(
        "registers_dead",
        REGISTERS,
        lambda s: s["registers_dead"] > MOST_DEAD,
        "{registers_dead:.0%} of the registers do not depend on the image: try fewer registers",
    ),
    Rule(
        "registers_average",
        REGISTERS,
        lambda s: (
            s["registers/attention_entropy"] > AT_EVEN
            and s["registers/distinct"] < FEW_TO_A_HEAD * s["heads"]
        ),
        "{registers/distinct:.1f} distinct registers in {heads} heads, attention entropy "
        "{registers/attention_entropy:.2f}: registers of a head all read the mean of the image; "
        "start again with a larger config.model.register_std, kernel_std and query_key_gain",
        needs="registers/attention_entropy",
    ),
    Rule(
        "dictionary_collapse",
        DICTIONARY,
        lambda s: s["entries_used"] < min(LEAST_ENTRIES, s["entries"] / 2),
        "the registers of a batch use {entries_used:.1f} of {entries:,} entries of the dictionary: "
        "nearly all have the same one; lower config.dictionary.temperature, or raise diversity",
    ),
    INPUT_STARVED._replace(message=INPUT_STARVED.message + ", or set config.data.cropping=canvas"),
    STEPS_SKIPPED,
)


def warm_steps(schedules: Schedules) -> int:
    """The steps of the freeze and the warm-up, after which most rules are judged. A span that is
    as long as the run never ends and is ignored."""
    spans = schedules.freeze_last_layer_steps, schedules.warmup_steps
    return max((span for span in spans if span < schedules.steps), default=0)


def heads_with_registers(options: Options) -> int | None:
    """The number of heads, if each owns two registers or more; None otherwise."""
    heads = options.owning_heads
    return heads if heads and options.registers > heads else None


class Alarms:
    """Judges one report after another.

    prototypes: K. warm: as `warm_steps`. heads: as `heads_with_registers`. entries: of the learned
        dictionary; 0 without one. rules: those that are judged; of a method without prototypes,
        only rules that do not need them.
    """

    def __init__(
        self,
        *,
        prototypes: float = math.nan,
        warm: int = 0,
        heads: int | None = None,
        entries: int = 0,
        rules: Sequence[Rule] = RULES,
    ):
        self._prototypes, self._heads, self._entries = prototypes, heads, entries
        self._warm, self._rules = warm, rules
        self._skipped = math.nan
        self._seen_at: dict[str, list[int]] = {rule.name: [] for rule in rules}
        self._raised: set[str] = set()

    def judge(self, step: int, scalars: Mapping[str, float]) -> list[Alarm]:
        """The alarms that this report raises: those seen long enough and not yet raised since they
        were last clear. scalars: of the report, and of evaluations since the previous report."""
        raised, figures = [], self._figures(scalars)
        for rule in self._rules:
            if rule.needs and rule.needs not in scalars:
                continue
            steps = self._seen_at[rule.name]
            judged = rule.kind == MACHINE or step > self._warm
            if not (judged and rule.seen(figures)):
                steps.clear()
                self._raised.discard(rule.name)
                continue
            steps.append(step)
            lasting = len(steps) >= REPORTS and step - steps[0] >= STEPS
            if lasting and rule.name not in self._raised:
                self._raised.add(rule.name)
                message = f"{rule.message.format_map(figures)} (docs/operations.md: {rule.name})"
                raised.append(Alarm(rule.name, message, rule.kind == COLLAPSE))
        return raised

    def _figures(self, scalars: Mapping[str, float]) -> Mapping[str, float]:
        figures = defaultdict(lambda: math.nan, scalars)
        figures["prototypes"] = self._prototypes
        figures["heads"] = math.nan if self._heads is None else self._heads
        figures["ln_k"] = math.log(self._prototypes)
        figures["prototypes_used"] = figures["prototype_usage"] * self._prototypes
        figures["entries"] = self._entries or math.nan
        figures["entries_used"] = figures["dictionary_usage"] * figures["entries"]
        figures["newly_skipped"] = figures["skipped_steps"] - self._skipped
        self._skipped = figures["skipped_steps"]
        return figures
