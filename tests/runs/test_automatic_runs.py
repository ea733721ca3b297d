"""Automatic settings of a run: chosen once, and read from config.json when it is resumed."""

import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from rats_jax.config import AUTO
from rats_jax.config.automatic import automatic_fields
from rats_jax.errors import UserError
from rats_jax.runs import automatic, loop
from rats_jax.runs.restore import restore_parts
from rats_jax.runs.workdir import load_automatic, load_config, open_workdir, write_config
from tests.runs.tiny import tiny_config


def config_with_auto(**fields) -> ConfigDict:
    given = {
        "optimizer__batch_size": AUTO,
        "optimizer__epochs": 2.0,
        "optimizer__warmup_epochs": AUTO,
        "dino__teacher_momentum": AUTO,
        "head__prototypes": AUTO,
        "run__checkpoint_every": AUTO,
    }
    return tiny_config(**given | fields)


def chosen(workdir: Path, config: ConfigDict, images: int) -> ConfigDict:
    return automatic.choose(config, str(workdir), images=images, memory=None)[0]


def has_saved(workdir: Path) -> None:
    (workdir / "checkpoints" / "3").mkdir(parents=True)


def test_a_run_keeps_what_its_first_start_chose(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loop.train(config_with_auto(run__stop_after=1), "run")
    told = capsys.readouterr().out
    assert "chosen automatically for 40 images" in told
    assert "(by hand: --config.optimizer.batch_size=8 and the like):" in told
    assert "  optimizer.batch_size" in told and " 8  5 steps per epoch" in told
    tree = json.loads(Path("run/config.json").read_text())
    assert tree["optimizer"]["batch_size"] == 8 and tree["head"]["prototypes"] == 1024
    assert tree["automatic"]["optimizer.batch_size"].startswith("5 steps per epoch")
    assert len(tree["automatic"]) == 5
    assert "automatic" not in load_config(Path("run"))
    assert automatic_fields(load_config(Path("run"))) == set()

    # More images would have a larger batch; the run has it no more.
    more = config_with_auto(run__stop_after=2, data__accept="")
    assert chosen(Path("elsewhere"), more, 400).optimizer.batch_size == 32
    assert chosen(Path("run"), more, 400).optimizer.batch_size == 8
    loop.train(more, "run")
    told = capsys.readouterr().out
    assert "automatic settings stay as they were at the first start: see config.json\n" in told
    assert "chosen" not in told and "optimizer.batch_size" not in told
    assert "the schedules change" not in told
    assert json.loads(Path("run/config.json").read_text())["automatic"] == tree["automatic"]
    assert restore_parts("run", ("teacher",)).step == 2


def test_before_the_first_checkpoint_it_is_chosen_again(tmp_path):
    for images, prototypes in ((2000, 1024), (50_000, 2048)):
        config, choices = automatic.choose(
            config_with_auto(), str(tmp_path), images=images, memory=None
        )
        assert config.head.prototypes == prototypes and not any(c.kept for c in choices)
        reasons = {choice.field: choice.reason for choice in choices}
        with open_workdir(str(tmp_path), config, automatic=reasons):
            write_config(tmp_path, config, automatic=reasons)
    by_hand = config.copy_and_resolve_references()
    by_hand.head.prototypes = 512
    with open_workdir(str(tmp_path), by_hand):
        pass
    has_saved(tmp_path)
    assert chosen(tmp_path, config_with_auto(), 2000).head.prototypes == 2048
    with pytest.raises(UserError, match=r"config\.head\.prototypes is 2048 there and 512 here"):
        open_workdir(str(tmp_path), by_hand, automatic=reasons).__enter__()


def test_what_is_set_by_hand_on_a_resume_counts(tmp_path, capsys):
    """And what follows from it; but not what sets the shape of the state."""
    config = chosen(tmp_path, config_with_auto(), 2000)
    write_config(tmp_path, config, automatic={"optimizer.batch_size": "because"})
    has_saved(tmp_path)
    by_hand = config_with_auto(optimizer__batch_size=16, optimizer__epochs=10.0)
    changed, choices = automatic.choose(by_hand, str(tmp_path), images=50_000, memory=None)
    assert changed.optimizer.batch_size == 16 and changed.optimizer.epochs == 10
    assert changed.optimizer.warmup_epochs == 1.0
    assert changed.head.prototypes == config.head.prototypes == 1024
    automatic.say_choices(choices, images=50_000)
    stay, again = capsys.readouterr().out.splitlines()
    assert stay.startswith("the other automatic settings stay as they were at the first start")
    assert again.startswith(
        "chosen again, because config.optimizer.batch_size and config.optimizer.epochs were "
        "changed: optimizer.warmup_epochs 1.0, dino.teacher_momentum 0.9"
    )
    assert again.endswith(", run.checkpoint_every 1000")
    write_config(tmp_path, changed)
    _, choices = automatic.choose(by_hand, str(tmp_path), images=2000, memory=None)
    assert all(choice.kept for choice in choices)  # as the last start had them


def test_parts_of_a_batch_are_of_this_start(tmp_path, capsys):
    """Kept, three parts would not divide another batch."""
    config = config_with_auto(optimizer__batch_size=9, optimizer__accumulation=3)
    write_config(tmp_path, chosen(tmp_path, config, 2000))
    has_saved(tmp_path)
    now = config_with_auto(optimizer__batch_size=16, optimizer__accumulation=AUTO)
    config, choices = automatic.choose(now, str(tmp_path), images=2000, memory=None)
    assert config.optimizer.accumulation == 1
    automatic.say_choices(choices, images=2000)
    assert "chosen automatically" not in capsys.readouterr().out


def test_a_run_without_reasons_keeps_its_values(tmp_path):
    """One that began without automatic settings."""
    write_config(tmp_path, tiny_config(head__prototypes=77))
    has_saved(tmp_path)
    same = config_with_auto(optimizer__epochs=8.0)
    config, choices = automatic.choose(same, str(tmp_path), images=40, memory=None)
    assert config.head.prototypes == 77 and config.optimizer.batch_size == 8
    assert {choice.reason for choice in choices} == {automatic.UNKNOWN}
    assert load_automatic(tmp_path) == {}
