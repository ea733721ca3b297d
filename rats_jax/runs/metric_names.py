"""What the names of a run's metrics mean, and how they are displayed."""

from rats_jax.runs.online.evaluators import EVALUATORS
from rats_jax.segmentation.instance_scores import InstanceScorer
from rats_jax.segmentation.semantic_scores import SemanticScorer

_SAID_OF_INSTANCES = ("instance/ap_mask", "instance/ap50_mask", "instance/ap_box")
_OF_GROUP = {group: kind for kind in EVALUATORS.values() for group in kind.groups}
#: Score, without the number of regions or neighbours -> display name.
SCORES = {score: title for kind in EVALUATORS.values() for score, title in kind.scores.items()}
#: Scores of fine-tuning, which have no number -> display name.
PLAIN = {**SemanticScorer.headers, **InstanceScorer.headers}
#: Those of them that are not in the log line of an evaluation.
UNSAID = {score for kind in EVALUATORS.values() for score in kind.unsaid}
UNSAID |= {
    name for name in PLAIN if name.startswith("instance/") and name not in _SAID_OF_INSTANCES
}
#: Other metrics of evaluations that are in the log line -> display name.
SAID = {metric: title for kind in EVALUATORS.values() for metric, title in kind.said.items()}

#: TensorBoard group -> metrics of reports. Metrics of evaluations have the group in their names.
GROUPS = {
    "loss": ("loss", "teacher_entropy", "kl"),
    "teacher": (
        *("center_norm", "prototype_usage", "target_information", "student_distance"),
        *("feature_std", "effective_rank", "register_copies", "registers_dead"),
    ),
    "dictionary": (
        *("dictionary_loss", "dictionary_entropy", "dictionary_usage", "dictionary_used"),
    ),
    "schedule": (
        *("epoch", "learning_rate", "weight_decay", "teacher_momentum", "teacher_temperature"),
    ),
    "steps": ("gradient_norm", "skipped_steps", "skipped_in_a_row"),
    "input": ("images_per_second", "input_wait", "seconds_left", "unreadable_images"),
}
#: Metrics of reports, in the order of GROUPS.
OF_REPORTS = [name for names in GROUPS.values() for name in names]
_TAGS = {name: f"{group}/{name}" for group, names in GROUPS.items() for name in names}


def tag(metric: str) -> str:
    """A metric's name in TensorBoard, "GROUP/NAME": loss/kl for kl, parts/m2o_8 for parts/m2o_8."""
    if "/" in metric:
        return metric
    group = "loss" if metric.endswith("_loss") else "other"  # losses of fine-tuning
    return _TAGS.get(metric, f"{group}/{metric}")


def is_said(metric: str) -> bool:
    """Whether a score is in the log line of an evaluation."""
    return metric not in UNSAID and metric.rpartition("_")[0] not in UNSAID


def is_of_evaluation(metric: str) -> bool:
    """Whether a metric is of evaluations: their names contain a group, those of reports do not."""
    return "/" in metric


def is_score(metric: str) -> bool:
    """Whether a metric is a score: a fraction, shown in percent, where higher is better."""
    return metric in PLAIN or metric.rpartition("_")[0] in SCORES


def measured_on(metric: str) -> str:
    """The images that an evaluation metric is measured on, as named by `Evaluator.on`."""
    group = metric.partition("/")[0]
    if metric in PLAIN:
        return group
    kind = _OF_GROUP.get(group)
    return kind.on if kind else "parts"


def numbered(metric: str, number: str) -> str:
    """ "K = 8" for a number of regions, "k = 20" for a number of neighbours."""
    return f"{_OF_GROUP[metric.partition('/')[0]].number} = {number}"


def display_name(metric: str) -> str:
    """ "M2O (K = 8)" for parts/m2o_8; the name itself if the metric is not a score."""
    if metric in PLAIN:
        return PLAIN[metric]
    score, _, number = metric.rpartition("_")
    return f"{SCORES[score]} ({numbered(metric, number)})" if score in SCORES else metric


def formatted(metric: str, value: float) -> str:
    """A value as text: 27.1 % for a score, four digits for others."""
    return f"{100 * value:.1f} %" if is_score(metric) else f"{value:.4g}"
