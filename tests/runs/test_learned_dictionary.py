"""Runs that learn a dictionary: resumed, exported, started from; and which configs are refused."""

import jax
import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.models.memory import training_bytes
from rats_jax.models.options import options_of
from rats_jax.runs.learned_dictionary import learned_entries
from rats_jax.runs.loop import train
from rats_jax.runs.restore import restore, restore_parts
from rats_jax.torch_export.run import export
from rats_jax.validation import validate
from tests.runs.initial.starts import assert_same, start
from tests.runs.test_loop import metrics
from tests.runs.tiny import tiny_config
from tests.runs.untrained import make_run

ENTRIES = {"dictionary__entries": 8}
pytestmark = pytest.mark.usefixtures("same_programs")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a run with a dictionary, whose weights are random; no test may change it."""
    return make_run(tmp_path_factory.mktemp("learned") / "run", **ENTRIES)


def test_a_resumed_run_is_the_uninterrupted_one_and_another_number_is_refused(tmp_path, capsys):
    def config(last: int, **fields):
        return tiny_config(run__checkpoint_every=2, run__stop_after=last, **ENTRIES | fields)

    whole = train(config(4), str(tmp_path / "whole"))
    line = next(line for line in capsys.readouterr().out.splitlines() if "step 4/" in line)
    assert "  dictionary " in line and "% used" in line
    resumed = train(config(2), str(tmp_path / "resumed"))
    for other in (0, 9):
        with pytest.raises(UserError, match=rf"dictionary\.entries is 8 there and {other} here"):
            train(config(4, dictionary__entries=other), str(resumed))
    train(config(4), str(resumed))
    assert metrics(resumed) == metrics(whole)
    assert 0 < metrics(whole)[-1]["dictionary_used"] <= 1
    states = [
        jax.device_get(restore_parts(folder, ["student", "teacher"]).state)
        for folder in (whole, resumed)
    ]
    assert_same(*states)
    entries, facts = learned_entries(whole)
    np.testing.assert_array_equal(entries, states[0]["teacher"]["dictionary"]["entries"])
    assert facts["step"] == 4


def test_entries_are_those_of_the_chosen_network(run, run_folder):
    state = jax.device_get(restore_parts(run, ["student", "teacher"], step=10).state)
    for weights in ("teacher", "student"):
        entries, facts = learned_entries(run / "checkpoints" / "10", weights=weights)
        assert entries.dtype == np.float32 and entries.shape == (8, 24)
        np.testing.assert_array_equal(entries, state[weights]["dictionary"]["entries"])
        assert facts["weights"] == weights and facts["step"] == 10 and facts["entries"] == 8
    with pytest.raises(UserError, match="has no learned dictionary: give a run with config"):
        learned_entries(run_folder)
    with pytest.raises(UserError, match="is not the workdir of a run"):
        learned_entries(run.parent)


def test_entries_that_are_not_finite_are_refused(run, monkeypatch):
    def broken(*args, **options):
        found = restore(*args, **options)
        found.params["dictionary"]["entries"] = np.full((8, 24), np.nan)
        return found

    monkeypatch.setattr("rats_jax.runs.learned_dictionary.restore", broken)
    with pytest.raises(UserError, match="has learned entries that are not finite"):
        learned_entries(run)


def test_exports_have_the_backbone_alone(run, tmp_path):
    export(str(run), tmp_path / "out", formats=["dino"], weights="teacher")
    assert (tmp_path / "out" / "checkpoint.pth").exists()


def test_a_start_from_a_run_takes_no_dictionary_and_says_so(run, run_folder):
    initial = start(run)[1]
    assert "not taken: its learned dictionary" in initial.lines
    assert not [name for name in initial.arrays if "dictionary" in name]
    for given in (run, run_folder):
        initial = start(given, **ENTRIES)[1]
        assert "new: entries of the dictionary (random)" in initial.lines
        assert "student/backbone/norm/bias" in initial.arrays


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"model__architecture": "vit"}, False),
        ({"model__architecture": "perceiver", "model__depth": 3}, False),
        ({"model__architecture": "vit", "model__plain_registers": 2}, True),
        ({}, True),
    ],
)
def test_a_model_without_registers_is_refused(fields, accepted):
    if accepted:
        return validate(tiny_config(**ENTRIES | fields))
    with pytest.raises(UserError, match=r"^config\.dictionary\.entries 8 needs registers in every"):
        validate(tiny_config(**ENTRIES | fields))


@pytest.mark.parametrize(
    ("field", "value"),
    [("entries", -1), ("weight", -1.0), ("beta", float("nan")), ("temperature", 0.0)],
)
def test_values_that_are_no_weights_are_refused(field, value):
    with pytest.raises(UserError, match=rf"config\.dictionary\.{field} is "):
        validate(tiny_config(**ENTRIES | {f"dictionary__{field}": value}))


def test_its_bytes_are_counted():
    options = options_of({"architecture": "rats", "width": 24, "depth": 2, "heads": 3})
    usual = {"hidden": 16, "bottleneck": 8, "prototypes": 32, "global_size": 16, "local_size": 8}
    usual |= {"local_crops": 2, "images": 8}
    without = training_bytes(options, **usual)
    small = training_bytes(options, **usual, entries=8, distances=8 * 12)
    assert small.state - without.state == 4 * 4 * 8 * 24  # student, teacher and two moments
    large = training_bytes(options, **usual, entries=8, distances=2**20)
    assert large.peak - without.peak > 8 * 2**20 * 4
