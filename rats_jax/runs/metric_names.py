"""What the names of a run's metrics say, and how people read them."""

from rats_jax.parts.region_metrics import HEADERS

#: Scores, without the number of regions or neighbours, as people call them.
SCORES = {f"parts/{name}": header for name, header in HEADERS.items()} | {"knn/top1": "k-NN top-1"}

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
    return metric.startswith(("parts/", "knn/"))


def measured_on(metric: str) -> str:
    """The images that an evaluation's metric is measured on: of "knn" or of "parts"."""
    return "knn" if metric.startswith("knn/") else "parts"


def called(metric: str) -> str:
    """ "M2O (K = 8)" of parts/m2o_8; of what is no score its name."""
    score, _, number = metric.rpartition("_")
    if score not in SCORES:
        return metric
    return f"{SCORES[score]} ({'k' if measured_on(metric) == 'knn' else 'K'} = {number})"


def told(metric: str, value: float) -> str:
    """A value: 27.1 % of a score, four digits of others."""
    return f"{100 * value:.1f} %" if is_score(metric) else f"{value:.4g}"
