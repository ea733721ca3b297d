"""No start of a run removes a checkpoint that an earlier start kept, unless it asks for fewer."""

from pathlib import Path

import pytest

from rats_jax.errors import UserError
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.checkpoints.folder_names import check_folder
from rats_jax.runs.checkpoints.kept import KEPT
from rats_jax.runs.checkpoints.retention import Rules
from tests.runs.checkpoints.checkpoints import LIKE, make_state, save, truncate

LOSSES = {10: 4.0, 20: 1.0, 30: 3.0, 40: 2.0, 50: 5.0}
#: Of the start that made them: 50 is the newest, 20 the best, 30 the first of a period.
WAS = Rules(newest=1, every=30, best=1, metric="loss", highest=False)
STEPS = [20, 30, 50]


@pytest.fixture
def workdir(tmp_path) -> Path:
    with opened(tmp_path, WAS) as checkpoints:
        for step, loss in LOSSES.items():
            save(checkpoints, step, loss=loss, kl=-loss)
        assert checkpoints.steps() == STEPS
    return tmp_path


def opened(workdir: Path, rules: Rules) -> Checkpoints:
    return Checkpoints(
        workdir,
        keep=rules.newest,
        keep_every=rules.every,
        keep_best=rules.best,
        best_metric=rules.metric,
        best_is="highest" if rules.highest else "lowest",
    )


def after_another_start(workdir: Path, *, rejudged: bool = False, **rules) -> tuple:
    """What other rules than before say at the start, and what stays after three more saves, each
    better than all before."""
    now = WAS._replace(**rules)
    with opened(workdir, now) as checkpoints:
        said = checkpoints.keep_those_of(WAS, rejudged=rejudged)
        for step in (60, 61, 62):
            save(checkpoints, step, loss=0.5 - step / 1000, kl=10.0 * step)
        return said.kept, said.left, checkpoints.steps()


@pytest.mark.parametrize(
    ("changes", "kept", "stays"),
    [
        ({}, [], [30, 60, 62]),  # the ordinary way: 20 is the best no more, 50 not the newest
        ({"metric": "kl"}, [20], [20, 30, 50, 60, 62]),
        ({"highest": True}, [20], [20, 30, 50, 60, 62]),
        ({"metric": "nonsense"}, [20], [20, 30, 60, 62]),
        ({"best": 0}, [20], [20, 30, 60, 62]),
        ({"rejudged": True}, [20], [20, 30, 60, 62]),
        ({"every": 0}, [30], [30, 62]),
        ({"every": 1000}, [30], [30, 62]),
        ({"every": 0, "best": 0}, [20, 30], [20, 30, 62]),
        ({"every": 7, "best": 0}, [], [20, 30, 50, 60, 62]),
    ],
    ids=str,
)
def test_what_was_kept_stays(workdir, changes, kept, stays):
    said, left, steps = after_another_start(workdir, **changes)
    assert (said, left, steps) == (kept, [], stays)
    for step in kept:
        text = (workdir / f"checkpoints/{step}" / KEPT).read_text()
        reason = (
            "the best checkpoint by loss" if step == 20 else "previous value of config.run.keep_"
        )
        assert reason in text


def test_it_stays_over_further_starts_until_its_file_is_deleted(workdir):
    after_another_start(workdir, metric="kl")
    with opened(workdir, WAS._replace(metric="kl")) as checkpoints:
        assert checkpoints.keep_those_of(WAS._replace(metric="kl"), rejudged=False) == ([], [])
        save(checkpoints, 70)
        assert 20 in checkpoints.steps()
        (workdir / "checkpoints/20" / KEPT).unlink()
        save(checkpoints, 71)
        assert 20 not in checkpoints.steps()
        assert checkpoints.restore(LIKE).step == 71


def test_anyone_may_keep_one(workdir):
    (workdir / "checkpoints/50" / KEPT).touch()
    assert after_another_start(workdir)[2] == [30, 50, 60, 62]
    with Checkpoints(workdir, read_only=True) as checkpoints:
        assert checkpoints.restore_step(50, LIKE).step == 50


def test_lower_numbers_are_what_was_asked_for_and_are_said(tmp_path):
    rules = WAS._replace(newest=3, best=2, every=0)
    with opened(tmp_path, rules) as checkpoints:
        for step, loss in LOSSES.items():
            save(checkpoints, step, loss=loss)
        assert checkpoints.steps() == [20, 30, 40, 50]
    with opened(tmp_path, rules._replace(newest=1, best=1)) as checkpoints:
        assert checkpoints.keep_those_of(rules, rejudged=False) == ([], [30, 40])
        save(checkpoints, 60, loss=9.0)
        assert checkpoints.steps() == [20, 60]


def test_one_that_cannot_be_judged_at_the_moment_is_not_removed(workdir):
    metadata = workdir / "checkpoints/20/meta/metadata"
    away = metadata.rename(metadata.with_suffix(".away"))
    with opened(workdir, WAS) as checkpoints:
        save(checkpoints, 60, loss=3.0)
        assert checkpoints.steps() == [20, 30, 60]
        away.rename(metadata)
        save(checkpoints, 70, loss=3.0)
        assert checkpoints.steps() == [20, 30, 60, 70] and checkpoints.best() == (20, 1.0)


def test_copies_that_someone_made_are_no_checkpoints_and_stay(workdir):
    for name in ("020", "20.mine", "best", "\N{ARABIC-INDIC DIGIT THREE}"):
        (workdir / "checkpoints" / name).mkdir()
    *_, steps = after_another_start(workdir)
    assert steps == [30, 60, 62]
    assert len(list((workdir / "checkpoints").iterdir())) == 3 + 4


def test_a_disk_that_takes_no_file_ends_the_start_before_anything_is_lost(workdir, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(
        UserError, match=r"20/kept.txt, .*No space left on device\): free some space"
    ):
        after_another_start(workdir, metric="kl")


def test_damaged_ones_are_set_aside_and_stay_there(workdir):
    truncate(workdir / "checkpoints/50/meta/metadata")
    for step in (60, 70):
        with opened(workdir, WAS) as checkpoints:
            checkpoints.restore(LIKE)
            save(checkpoints, step, make_state(step), loss=9.0)
    assert [p.name for p in (workdir / "damaged").iterdir()] == ["50"]


ODD = [
    "with space",
    "100%20",
    "new\nline",
    "a#b",
    "wh?t",
    "gs:x",
    "x:",
    "a=b;c",
    "$x$",
    "日本",
    "~",
]


@pytest.mark.parametrize("name", [*ODD, "n" * 250], ids=lambda name: ascii(name)[:20])
def test_checkpoints_are_kept_under_any_name_that_is_not_refused(tmp_path, name):
    check_folder(tmp_path / name, "--workdir")
    (tmp_path / name).mkdir()
    with Checkpoints(tmp_path / name, keep=1) as checkpoints:
        save(checkpoints, 10)
        assert checkpoints.restore(LIKE).step == 10
    assert [p.name for p in (tmp_path / name / "checkpoints").iterdir()] == ["10"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run\udce9", r"--workdir .*run\\udce9 is not valid UTF-8"),
        ("a\\b", "contains a backslash, which is read as a slash"),
        ("run[1]", r"contains run\[1\], which is read as a pattern"),
        ("a/[x]y/run", r"contains \[x\]y, which is read as a pattern"),
        ("**", "read as a pattern"),
        ("gs:/run", "read as the address of a bucket"),
        ("n" * 200 + "/" + "n" * 200 + "/" + "x/" * 1800, "is longer than 3,800 bytes"),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_folders_in_which_no_checkpoint_can_be_kept_are_refused(tmp_path, name, message):
    with pytest.raises(UserError, match=message) as refused:
        check_folder(tmp_path / name, "--workdir")
    assert "\n" not in str(refused.value) and "rename it, or choose another path" in str(
        refused.value
    )


def test_a_pattern_can_still_be_read_from(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 10)
    moved = tmp_path / "run[1]"
    moved.mkdir()
    (tmp_path / "checkpoints").rename(moved / "checkpoints")
    with Checkpoints(moved, read_only=True) as checkpoints:
        assert checkpoints.restore_part(LIKE).step == 10
    with pytest.raises(UserError, match="read as a pattern"):
        Checkpoints(moved)
    with pytest.raises(UserError, match="contains a backslash"):
        Checkpoints(tmp_path / "a\\b", read_only=True)
