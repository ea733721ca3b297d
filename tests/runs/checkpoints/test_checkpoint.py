"""Checkpoints: what was saved comes back, which stay, and reading beside a run that trains."""

import shutil

import jax
import orbax.checkpoint as ocp
import pytest

from rats_jax.assemble import make_dino
from rats_jax.parallel.mesh import make_mesh
from rats_jax.runs.checkpoints import checkpoint
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.checkpoints.retention import Rules, staying
from rats_jax.runs.programs import abstract_state
from tests.runs.checkpoints.checkpoints import (
    ABOUT_READ,
    LIKE,
    abstract,
    assert_equal,
    files,
    make_state,
    save,
    truncate,
)
from tests.runs.tiny import tiny_config

RULES = Rules(newest=1, every=0, best=0, metric="loss", highest=False)


def test_a_whole_training_state_goes_on_on_another_mesh_to_the_bit(tmp_path):
    dino = make_dino(tiny_config(), images=40)
    like = abstract_state(dino, 0, make_mesh(data=2, fsdp=2))
    make = jax.jit(
        dino.init, static_argnums=0, out_shardings=jax.tree.map(lambda x: x.sharding, like)
    )
    state = make(0)
    with Checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 20, state)
    like = abstract_state(dino, 0, make_mesh(data=1, devices=jax.devices()[:1]))
    with Checkpoints(tmp_path) as checkpoints:
        found = checkpoints.restore(like)
    assert found.step == 20 and found.damaged == []
    assert found.about == ABOUT_READ
    assert_equal(found.state, state)
    shardings = [x.sharding for x in jax.tree.leaves(found.state)]
    assert shardings == [x.sharding for x in jax.tree.leaves(like)]


def test_the_state_may_be_donated_as_soon_as_save_returns(tmp_path):
    step = jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for i in (1, 2):
            state = make_state(i, size=300_000)
            checkpoints.save(i, state, about={}, metrics={})
            jax.block_until_ready(step(state))
        checkpoints.finish()
        expected = make_state(2, size=300_000)
        assert_equal(checkpoints.restore(abstract(expected)).state, expected)


def test_orbax_reads_it_without_us(workdir):
    with ocp.StandardCheckpointer() as reader:
        state = reader.restore((workdir / "checkpoints" / "30" / "state").absolute(), LIKE)
    assert_equal(state, make_state(30))


def test_a_step_that_is_there_stays_as_it_is(workdir):
    with Checkpoints(workdir, keep=3) as checkpoints:
        save(checkpoints, 30, make_state(5))
        assert_equal(checkpoints.restore(LIKE).state, make_state(30))


def test_without_a_checkpoint_there_is_none(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(LIKE) is None and checkpoints.latest() is None
    with Checkpoints(tmp_path / "nothing", read_only=True) as checkpoints:
        assert checkpoints.restore_part(LIKE) is None and checkpoints.steps() == []


def test_newest_every_and_best_stay_also_across_a_restart(tmp_path):
    losses = {10: 5.0, 20: 1.0, 30: float("nan"), 40: 3.0, 50: 2.0, 60: 4.0, 70: 9.0, 80: 9.0}
    for steps in ((10, 20, 30, 40), (50, 60, 70, 80)):
        with Checkpoints(tmp_path, keep=2, keep_every=35, keep_best=2) as checkpoints:
            for step in steps:
                save(checkpoints, step, loss=losses[step])
    assert checkpoints.steps() == [20, 40, 50, 70, 80]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == "20 40 50 70 80".split()


def test_the_best_is_measured_as_the_newest(tmp_path):
    settings = {"best_metric": "parts/m2o_2", "best_is": "highest"}
    found = []
    with Checkpoints(tmp_path, keep=2, keep_best=1, **settings) as checkpoints:
        for step, (images, value) in enumerate([(9, 0.4), (9, 0.3), (8, 0.9), (9, 0.2), (9, 0.3)]):
            on = {"evaluation": {"parts": {"images": images}, "knn": {"images": step}}}
            checkpoints.save(step, make_state(step), about=on, metrics={"parts/m2o_2": value})
            found.append(checkpoints.best())  # while it is being saved
    assert found == [(0, 0.4), (0, 0.4), (2, 0.9), (1, 0.3), (4, 0.3)]
    assert checkpoints.steps() == [3, 4]
    with Checkpoints(tmp_path, read_only=True, **settings) as reading:
        assert reading.best() == (4, 0.3)
    with Checkpoints(tmp_path, read_only=True) as reading:
        assert reading.best() is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"newest": 3}, {5, 6, 7}),
        ({"every": 2}, {2, 4, 6, 7}),
        ({"every": 100}, {7}),
        ({"best": 2}, {1, 4, 7}),
        ({"best": 2, "highest": True}, {3, 6, 7}),
        ({"best": 9}, {1, 2, 3, 4, 6, 7}),
    ],
)
def test_what_stays(settings, expected):
    values = {1: 0.0, 2: 2.0, 3: 8.0, 4: 1.0, 5: None, 6: 8.0, 7: 2.0}
    assert staying(list(values), values.get, RULES._replace(**settings)) == expected


def test_what_stays_for_good_is_the_first_at_or_after_each_multiple():
    left = []
    for step in range(10, 101, 10):
        left = sorted(staying([*left, step], lambda _: None, RULES._replace(every=25)))
    assert left == [30, 50, 80, 100]


def test_reading_alone_takes_parts_and_changes_nothing(workdir):
    shutil.copytree(workdir / "checkpoints" / "30", workdir / "checkpoints" / "40.removed")
    truncate(workdir / "checkpoints" / "30" / "meta" / "metadata")
    before = files(workdir)
    with Checkpoints(workdir, read_only=True) as checkpoints:
        found = checkpoints.restore_part({"teacher": LIKE["teacher"]})
    assert found.step == 20
    assert_equal(found.state, {"teacher": make_state(20)["teacher"]})
    assert files(workdir) == before


def test_one_that_is_removed_while_it_is_read_is_passed_over_in_silence(
    workdir, monkeypatch, capsys
):
    read = checkpoint.read_arrays

    def train_on(folder, like):
        if folder.name == "30":
            with Checkpoints(workdir, keep=1) as training:
                save(training, 40)
        return read(folder, like)

    monkeypatch.setattr(checkpoint, "read_arrays", train_on)
    with Checkpoints(workdir, read_only=True) as checkpoints:
        found = checkpoints.restore_part({"teacher": LIKE["teacher"]})
    assert (found.step, found.damaged) == (40, []) and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("settings", "judged", "due"),
    [
        ({"save_every": 4}, {}, [4, 8, 10]),
        ({"save_every": 4, "keep_every": 5}, {}, [4, 5, 8, 10]),
        ({"save_every": 20}, {"parts/m2o_4": 0.5}, [10]),
        (
            {"save_every": 20, "keep_best": 1, "best_metric": "parts/m2o_4"},
            {"parts/m2o_4": 0.5},
            [6, 10],
        ),
        (
            {"save_every": 20, "keep_best": 1, "best_metric": "parts/m2o_8"},
            {"parts/m2o_4": 0.5},
            [10],
        ),
    ],
)
def test_checkpoints_know_when_they_are_due(tmp_path, settings, judged, due):
    """At intervals, after the last step, and where step 6 may be the best."""
    with Checkpoints(tmp_path, **settings) as checkpoints:
        steps = [
            step
            for step in range(1, 11)
            if checkpoints.is_due(step, last=10, judged=judged if step == 6 else {})
        ]
    assert steps == due
