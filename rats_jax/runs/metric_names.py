"""What the names of a run's metrics say, and how people read them."""

from rats_jax.runs.online.evaluators import EVALUATORS

_OF_GROUP = {group: kind for kind in EVALUATORS.values() for group in kind.groups}
#: Scores, without the number of regions or neighbours, as people call them.
SCORES = {score: title for kind in EVALUATORS.values() for score, title in kind.scores.items()}
#: Of the other metrics of evaluations, those in the line to read.
SAID = {metric: title for kind in EVALUATORS.values() for metric, title in kind.said.items()}

#: Metrics of reports by what they are about: their groups in TensorBoard. Those of evaluations have
#: theirs in their names.
GROUPS = {
    "loss": ("loss", "teacher_entropy", "kl"),
    "teacher": (
        *("center_norm", "prototype_usage", "target_information", "student_distance"),
        *("feature_std", "effective_rank", "register_copies", "registers_dead"),
    ),
    "schedule": (
        *("epoch", "learning_rate", "weight_decay", "teacher_momentum", "teacher_temperature"),
    ),
    "steps": ("gradient_norm", "skipped_steps", "skipped_in_a_row"),
    "input": ("images_per_second", "input_wait", "seconds_left", "unreadable_images"),
}
#: Of reports, in the order of GROUPS.
OF_REPORTS = [name for names in GROUPS.values() for name in names]
_TAGS = {name: f"{group}/{name}" for group, names in GROUPS.items() for name in names}


def tag(metric: str) -> str:
    """A metric's name in TensorBoard, "GROUP/NAME": loss/kl of kl, parts/m2o_8 of parts/m2o_8."""
    return metric if "/" in metric else _TAGS.get(metric, f"other/{metric}")


def is_of_evaluation(metric: str) -> bool:
    """Metrics of evaluations have a group in their names, those of reports have none."""
    return "/" in metric


def is_score(metric: str) -> bool:
    """Scores are fractions, told in percent, and of two the higher is the better."""
    return metric.rpartition("_")[0] in SCORES


def measured_on(metric: str) -> str:
    """The images that an evaluation's metric is measured on, as `Evaluator.on` calls them."""
    kind = _OF_GROUP.get(metric.partition("/")[0])
    return kind.on if kind else "parts"


def numbered(metric: str, number: str) -> str:
    """ "K = 8" of a score's number, "k = 20" of one of neighbours."""
    return f"{_OF_GROUP[metric.partition('/')[0]].number} = {number}"


def display_name(metric: str) -> str:
    """ "M2O (K = 8)" of parts/m2o_8; of what is no score its name."""
    score, _, number = metric.rpartition("_")
    return f"{SCORES[score]} ({numbered(metric, number)})" if score in SCORES else metric


def formatted(metric: str, value: float) -> str:
    """A value: 27.1 % of a score, four digits of others."""
    return f"{100 * value:.1f} %" if is_score(metric) else f"{value:.4g}"
