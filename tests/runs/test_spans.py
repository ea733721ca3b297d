"""Spans that a run is too short for are said, with their steps and the field to set."""

import pytest

from rats_jax.config import schedules
from rats_jax.runs.guards.alarms import REPORTS, STEPS, Alarms, warm_steps
from rats_jax.runs.spans import span_warnings
from tests.runs.guards.test_alarms import HEALTHY, SICK
from tests.runs.tiny import tiny_config

#: Of 100 steps of 10 to the epoch: all in good order.
GOOD = {
    "optimizer__epochs": 10.0,
    "optimizer__warmup_epochs": 1.0,
    "dino__freeze_last_layer_epochs": 1.0,
    "dino__teacher_temperature_warmup_epochs": 5,
    "run__log_every": 10,
    "run__checkpoint_every": 50,
    "evaluation__every_epochs": 2.0,
    "run__keep_every_epochs": 3.0,
    "run__stop_after": 20,  # on the schedules of the whole run
}
#: A start from weights that keeps what was taken as it is.
FROZEN = {"init__learning_rate": 0.0, "init__checkpoint": "vit.pth"}


def warnings(**fields) -> list[str]:
    config = tiny_config(**(GOOD | fields))
    return span_warnings(config, schedules(config, images=80))


def test_a_run_in_good_order_has_none():
    assert warnings() == []
    assert warnings(dino__freeze_last_layer_epochs=0.0, optimizer__warmup_epochs=0.0) == []
    assert warnings(dino__teacher_temperature_warmup_epochs=0) == []
    assert warnings(evaluation__every_epochs=0.0, run__keep_every_epochs=0.0) == []
    assert warnings(**FROZEN) == warnings(**FROZEN, init__learning_rate_epochs=10.0) == []
    assert warnings(init__learning_rate_epochs=30.0) == []  # of a run without weights


WARNINGS = [
    (
        {"dino__freeze_last_layer_epochs": 10.0},
        "freeze_last_layer_epochs=10 is 100 steps and the run has 100 steps: the last layer of the "
        "head stays frozen to the end; set it below config.optimizer.epochs=10, such as to 1",
    ),
    (
        {"dino__freeze_last_layer_epochs": 30.0},
        "freeze_last_layer_epochs=30 is 300 steps and the run has 100 steps",
    ),
    (
        {"dino__freeze_last_layer_epochs": 0.04},
        "freeze_last_layer_epochs=0.04 is less than a step (10 per epoch): the last layer of the"
        " head is never frozen; set it to 0.1 or more, or to 0",
    ),
    ({"optimizer__warmup_epochs": 9.96}, "warmup_epochs=9.96 is 100 steps and the run has 100"),
    ({"optimizer__warmup_epochs": 0.04}, "warmup_epochs=0.04 is less than a step"),
    (
        {"dino__teacher_temperature_warmup_epochs": 30},
        "teacher_temperature_warmup_epochs=30 is 300 steps and the run has 100 steps: the teacher's"
        " temperature ends at 0.0493 and never reaches config.dino.teacher_temperature=0.07; set "
        "the warm-up to at most 10",
    ),
    ({"dino__teacher_temperature_warmup_epochs": 11}, "set the warm-up to at most 10"),
    (
        {**FROZEN, "init__learning_rate_epochs": 30.0},
        "init.learning_rate_epochs=30 is 300 steps and the run has 100 steps: what was taken from "
        "the weights stays frozen to the end; lower it, or set it to 0 for the whole run",
    ),
    ({"run__stop_after": 101}, "stop_after=101 is beyond the end: the run has 100 steps"),
    (
        {"evaluation__every_epochs": 10.0},
        "evaluation.every_epochs=10 is 100 steps and the run has 100 steps: the teacher is measured"
        " before the first step and after the last, and not between them",
    ),
    ({"evaluation__every_epochs": 0.04}, "the teacher is measured after every step; raise it"),
    (
        {"run__keep_every_epochs": 11.0},
        "keep_every_epochs=11 is 110 steps and the run has 100 steps: no checkpoint is kept",
    ),
    ({"run__keep_every_epochs": 0.01}, "every step is saved and kept for good; raise it"),
    (
        {"run__checkpoint_every": 101, "run__keep_every_epochs": 0.0},
        "checkpoint_every=101 and the run has 100 steps: nothing is saved before the end",
    ),
    (
        {"run__log_every": 101},
        "log_every=101 and the run has 100 steps: there is one report, after "
        "the last step, and no alarm of a collapse; lower it",
    ),
    (
        {"run__log_every": 60},
        "it takes 3 reports over 50 steps after the warm-up, and steps 11 to 100 have 2; set "
        "config.run.log_every to at most 30",
    ),
    ({"dino__freeze_last_layer_epochs": 6.0}, "steps 61 to 100 have 4; train longer"),
]


@pytest.mark.parametrize(("fields", "message"), WARNINGS, ids=[str(f) for f, _ in WARNINGS])
def test_a_span_that_does_not_fit_is_named_once(fields, message):
    (line,) = warnings(**fields)
    assert message in line and "\n" not in line


def test_what_is_advised_ends_the_warning():
    assert warnings(run__log_every=30) == []
    assert warnings(dino__teacher_temperature_warmup_epochs=10) == []
    assert warnings(dino__freeze_last_layer_epochs=0.1) == []
    assert warnings(optimizer__warmup_epochs=0.1) == []


def test_the_temperature_arrives_where_no_warning_says_that_it_does_not():
    for images, epochs in ((80, 3.0), (80, 2.5), (80, 1.0), (8, 3.0)):
        for warmup in range(7):
            fields = {"optimizer__epochs": epochs, "optimizer__warmup_epochs": 0.0}
            config = tiny_config(**fields, dino__teacher_temperature_warmup_epochs=warmup)
            s = schedules(config, images=images)
            arrives = abs(float(s.teacher_temperature(s.steps - 1)) - 0.07) < 1e-6
            said = any("teacher_temperature" in line for line in span_warnings(config, s))
            assert arrives != said, (images, epochs, warmup)


def test_several_at_once():
    """The recipes' defaults on one epoch."""
    lines = warnings(
        optimizer__epochs=1.0,
        optimizer__warmup_epochs=0.1,
        dino__teacher_temperature_warmup_epochs=30,
        run__checkpoint_every=1000,
        run__log_every=50,
        run__stop_after=0,
    )
    fields = "freeze_last_layer teacher_temperature_warmup evaluation.every keep_every checkpoint"
    for line, field in zip(lines, [*fields.split(), "log_every"], strict=True):
        assert field in line


def test_a_span_that_never_ends_does_not_silence_the_alarms():
    config = tiny_config(**GOOD | {"dino__freeze_last_layer_epochs": 10.0})
    s = schedules(config, images=80)
    assert warm_steps(s) == 10  # the warm-up of the learning rate
    alarms = Alarms(prototypes=256, warm=warm_steps(s))
    report = HEALTHY | SICK["entropy_at_ln_k"]
    steps = range(20, 20 + STEPS + 1, STEPS // (REPORTS - 1))
    assert [a.name for step in steps for a in alarms.judge(step, report)] == ["entropy_at_ln_k"]
    config.optimizer.warmup_epochs = 9.99
    assert warm_steps(schedules(config, images=80)) == 0
    config.dino.freeze_last_layer_epochs = 9.9
    assert warm_steps(schedules(config, images=80)) == 99
