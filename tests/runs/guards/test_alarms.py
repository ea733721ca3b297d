"""Which alarm a report raises, when, and how often."""

import math
import re
from pathlib import Path

import pytest

from rats_jax.runs.guards.alarms import COLLAPSE, REPORTS, RULES, STEPS, Alarms

K = 256
ENTRIES = 64
WARM = 100
#: What a healthy run reports, and the same run at its start.
HEALTHY = {
    "loss": 2.4,
    "teacher_entropy": 1.1,
    "kl": 1.3,
    "prototype_usage": 0.06,
    "target_information": 1.7,
    "student_distance": 0.02,
    "teacher_momentum": 0.996,
    "feature_std": 0.76,
    "effective_rank": 1.5,
    "register_copies": 0.0,
    "registers_dead": 0.0,
    "dictionary_usage": 0.4,
    "registers/attention_entropy": 0.97,
    "registers/distinct": 5.0,
    "input_wait": 0.01,
    "skipped_steps": 3.0,
}
START = HEALTHY | {
    "loss": 5.54,
    "teacher_entropy": 5.5,
    "kl": 0.04,
    "prototype_usage": 0.99,
    "target_information": 0.01,
    "student_distance": 0.0,
    "register_copies": 1.0,
}
SICK = {
    "loss_at_ln_k": {"loss": 5.53},
    "entropy_at_ln_k": {"teacher_entropy": 5.52},
    "entropy_at_0": {"teacher_entropy": 0.1, "target_information": 0.8},
    "few_prototypes": {"prototype_usage": 3.2 / K},
    "targets_alike": {"target_information": 0.05},
    "kl_at_0": {"kl": 0.004},
    "teacher_is_student": {"student_distance": 0.0},
    "features_alike": {"feature_std": 0.04},
    "rank_at_1": {"effective_rank": 1.02},
    "register_copies": {"register_copies": 0.5},
    "registers_dead": {"registers_dead": 1.0},
    "registers_average": {"registers/attention_entropy": 0.99, "registers/distinct": 5.0},
    "dictionary_collapse": {"dictionary_usage": 2.5 / ENTRIES},
    "input_starved": {"input_wait": 0.6},
}


def make_alarms() -> Alarms:
    return Alarms(prototypes=K, warm=WARM, heads=4, entries=ENTRIES)


def raised(reports: list[dict], *, every: int = 25, after: int = WARM) -> list[tuple[int, str]]:
    """(number of the report, alarm) of reports every so many steps, the first after `after`."""
    alarms = make_alarms()
    return [
        (i, alarm.name)
        for i, scalars in enumerate(reports)
        for alarm in alarms.judge(after + (i + 1) * every, scalars)
    ]


@pytest.mark.parametrize("name", SICK)
def test_each_alarm_is_raised_by_its_own_figure_and_by_no_other(name):
    assert raised([HEALTHY | SICK[name]] * 10) == [(REPORTS - 1, name)]


def test_a_dictionary_of_few_entries_is_no_collapse_while_half_of_them_are_used():
    for used, collapse in ((3.0, []), (1.4, [(0, "dictionary_collapse")])):
        alarms = Alarms(prototypes=K, warm=WARM, heads=4, entries=3)
        figures = HEALTHY | {"dictionary_usage": used / 3}
        found = [alarms.judge(WARM + 25 * i, figures) for i in range(10)]
        assert [(0, alarm.name) for alarm in sum(found, [])] == collapse


def test_a_teacher_that_is_the_last_step_is_the_student():
    sick = HEALTHY | {"teacher_momentum": 0.1}
    assert raised([sick] * 5) == [(REPORTS - 1, "teacher_is_student")]


def test_a_healthy_run_raises_none():
    assert raised([HEALTHY] * 10) == []


def test_what_a_start_looks_like_is_no_alarm_until_the_warm_up_is_over():
    assert raised([START] * 4, after=0) == []
    names = {name for _, name in raised([START] * 4)}
    assert {"loss_at_ln_k", "entropy_at_ln_k", "targets_alike", "register_copies"} <= names


def test_sharp_targets_are_no_alarm_while_images_have_different_ones():
    assert raised([HEALTHY | {"teacher_entropy": 0.05}] * 5) == []


def test_what_is_seen_for_short_is_no_alarm():
    sick = HEALTHY | SICK["kl_at_0"]
    assert raised(([sick] * (REPORTS - 1) + [HEALTHY]) * 4) == []


def test_frequent_reports_make_no_alarm_sooner():
    (report, name), *_ = raised([HEALTHY | SICK["kl_at_0"]] * (STEPS + 5), every=1)
    assert (report, name) == (STEPS, "kl_at_0")


def test_an_alarm_is_raised_once_and_again_after_it_was_clear():
    sick = [HEALTHY | SICK["features_alike"]] * 6
    first, second = raised([*sick, HEALTHY, *sick])
    assert first == (REPORTS - 1, "features_alike")
    assert second == (6 + REPORTS, "features_alike")


def test_skipped_steps_raise_an_alarm_while_they_go_on():
    rising = [HEALTHY | {"skipped_steps": 3.0 + i} for i in range(6)]
    assert raised(rising) == [(REPORTS, "steps_skipped")]


def test_what_is_not_reported_is_not_judged():
    for missing in HEALTHY:
        assert raised([{k: v for k, v in HEALTHY.items() if k != missing}] * 5) == []
    assert raised([{"loss": 5.54}] * 5) == [(REPORTS - 1, "loss_at_ln_k")]


def test_even_attention_alone_is_no_alarm_nor_are_few_registers_alone():
    for figures in (
        {"registers/attention_entropy": 0.99, "registers/distinct": 7.0},
        {"registers/attention_entropy": 0.7, "registers/distinct": 4.0},
    ):
        assert raised([HEALTHY | figures] * 5) == []
    one_a_head = Alarms(prototypes=K, warm=WARM)
    for i in range(5):
        assert one_a_head.judge(WARM + 50 * i, HEALTHY | SICK["registers_average"]) == []


def test_reports_between_evaluations_neither_count_for_registers_nor_against():
    plain = {k: v for k, v in HEALTHY.items() if not k.startswith("registers/")}
    sick = HEALTHY | SICK["registers_average"]
    one = [plain, sick, *[plain] * 8]
    assert raised(one) == []
    assert raised([sick, plain, plain, sick, plain, sick]) == [(5, "registers_average")]


def test_values_that_are_not_finite_raise_nothing_here():
    assert raised([dict.fromkeys(HEALTHY, math.nan)] * 5) == []


def test_a_message_is_one_line_with_the_figure_the_remedy_and_where_to_read_on():
    alarms = make_alarms()
    for i in range(REPORTS + 1):
        found = alarms.judge(WARM + 50 * i, HEALTHY | SICK["features_alike"])
        if found:
            break
    (alarm,) = found
    assert alarm.collapse
    assert "0.040" in alarm.message and "config.dino." in alarm.message
    assert "docs/operations.md" in alarm.message and "\n" not in alarm.message


def test_registers_input_and_skipped_steps_are_no_collapse():
    other = {rule.name for rule in RULES if rule.kind != COLLAPSE}
    assert other == {
        "register_copies",
        "registers_dead",
        "registers_average",
        "dictionary_collapse",
        "input_starved",
        "steps_skipped",
    }


def test_every_alarm_has_its_place_in_operations_md():
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    assert set(re.findall(r"^### (\w+)$", text, re.M)) == {rule.name for rule in RULES}
