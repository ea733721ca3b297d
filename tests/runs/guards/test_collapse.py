"""Runs that collapse on purpose raise the alarm that names it, soon; runs that learn raise none."""

import dataclasses
import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs.demo import get_config
from rats_jax.assemble import make_dino
from rats_jax.errors import UserError
from rats_jax.runs import loop

#: By the clock, on a machine that does other things as well.
OF_THE_MACHINE = {"input_starved"}
SOON = 200  # steps


def small_config(**fields) -> ConfigDict:
    """The demo made smaller, which learns; warm-up to step 25. `fields` as in `tiny_config`."""
    config = get_config()
    config.model.update(width=32, depth=2)
    config.head.update(hidden=64, prototypes=64)
    config.crops.update(global_size=32, local_size=16)
    config.optimizer.update(batch_size=8, epochs=8.0, warmup_epochs=1.0, learning_rate=8e-3)
    config.data.update(length=200, size=40)
    config.run.update(log_every=10, stop_after=SOON, keep_best=0)
    config.evaluation.every_epochs = 0.0
    for name, value in fields.items():
        section, field = name.split("__")
        config[section][field] = value
    return config


def alarms(workdir: Path) -> dict[str, int]:
    """The step at which each was first raised."""
    events = [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]
    found = [(e["name"], e["step"]) for e in events if e["event"] == "alarm"]
    return {name: step for name, step in reversed(found) if name not in OF_THE_MACHINE}


def run_that_stops(config: ConfigDict, workdir: Path) -> dict[str, int]:
    """The alarms of a run that the first collapse is to end."""
    config.guards.collapse = "stop"
    with pytest.raises(UserError, match=r"guards\.collapse=stop.*docs/operations\.md"):
        loop.train(config, str(workdir))
    found = alarms(workdir)
    assert max(found.values()) < SOON
    return found


def test_without_centering_a_batch_uses_hardly_more_than_one_prototype(tmp_path):
    config = small_config(dino__center_momentum=1.0)
    assert "few_prototypes" in run_that_stops(config, tmp_path)


def test_too_hot_a_teacher_has_uniform_targets_and_nothing_is_learned(tmp_path):
    config = small_config(dino__teacher_temperature=1.0, dino__teacher_temperature_start=1.0)
    assert "loss_at_ln_k" in run_that_stops(config, tmp_path)


def test_a_teacher_that_is_the_student_is_told(tmp_path, monkeypatch):
    def aliased(*args, **options):
        dino = make_dino(*args, **options)
        always = dataclasses.replace(dino.schedules, momentum_start=0.0, momentum_end=0.0)
        return dataclasses.replace(dino, schedules=always)

    monkeypatch.setattr(loop, "make_dino", aliased)
    assert "teacher_is_student" in run_that_stops(small_config(), tmp_path)


def test_a_run_that_learns_raises_none(tmp_path):
    config = small_config(run__stop_after=100)
    assert alarms(loop.train(config, str(tmp_path))) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"data__seed": 5},
        {"dino__loss_scope": "all"},
        {"dino__loss_scope": "all", "model__architecture": "vit", "model__plain_registers": 4},
    ],
)
def test_others_that_learn_raise_none(tmp_path, fields):
    assert alarms(loop.train(small_config(**fields), str(tmp_path))) == {}


@pytest.mark.slow
def test_alarms_that_do_not_stop_a_run_name_all_that_comes(tmp_path):
    config = small_config(dino__center_momentum=1.0)
    assert {"few_prototypes", "entropy_at_0"} <= set(alarms(loop.train(config, str(tmp_path))))
