"""A resumed run trains on the images that it was trained on, or says so and asks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rats_jax.config import schedules
from rats_jax.errors import UserError
from rats_jax.runs import loop, resuming, same_data
from rats_jax.runs.loop import train
from rats_jax.runs.same_data import check_data, data_facts, token
from rats_jax.runs.schedule_changes import schedule_changes
from rats_jax.runs.version import package_versions
from tests.data.test_fingerprint import Own
from tests.runs.tiny import tiny_config

AT_7 = {"step": 7, "effect": "", "source": "procedural_parts"}
NAMES = [f"{i:02}.png" for i in range(40)]


def own(*, length: int = 40, **attributes) -> Own:
    return Own(length, **({"files": NAMES[:length]} | attributes))


def checked(was, now, **fields) -> bool:
    facts = data_facts(was, seed=0), data_facts(now, seed=0)
    config = tiny_config(**fields)
    effect = "the run has 9 steps"
    return check_data(*facts, config, step=7, effect=effect, source=config.data.source)


def test_the_same_images_are_nothing_to_speak_of(capsys):
    assert checked(own(), own()) is False
    assert capsys.readouterr().out == ""


OTHERS = {
    "more": (own(length=40), own(length=41, files=[*NAMES, "new"]), "40 images, now there are 41"),
    "fewer": (own(), own(length=9), "there were 40 images, now there are 9"),
    "replaced": (own(), own(files=[*NAMES[:-1], "new"]), "40 images as before, but at least one"),
    "order": (own(), own(files=NAMES[::-1]), "renamed or moved in the order"),
    "no names": (own(files=None), own(length=39, files=None), "40 images, now there are 39"),
}


@pytest.mark.parametrize(("was", "now", "change"), OTHERS.values(), ids=OTHERS.keys())
def test_other_images_are_refused_until_they_are_accepted(was, now, change, capsys):
    with pytest.raises(UserError, match=f"checkpoint at step 7: .*{change}") as refused:
        checked(was, now, data__source="image_folder", data__path="a/b")
    message = str(refused.value)
    assert "(config.data.path a/b); with the new images, the run has 9 steps" in message
    assert "\n" not in message
    accept = message.rpartition("--config.data.accept=")[2]
    assert accept == token(data_facts(now, seed=0))
    with pytest.raises(UserError, match=f"accept={accept}"):  # what was accepted is these alone
        checked(was, now, data__accept=token(data_facts(was, seed=0)))
    assert checked(was, now, data__accept=accept) is True
    assert "warning: the images change at step 7" in capsys.readouterr().out


def test_another_kind_of_source_is_not_said_to_have_other_images():
    """Names of files, of members and of records do not compare."""
    facts = [data_facts(own(files=names), seed=0) for names in (NAMES, [f"a/{x}" for x in NAMES])]
    config = tiny_config(data__source="records", data__path="a/b")
    with pytest.raises(UserError) as refused:
        check_data(*facts, config, step=7, effect="", source="image_folder")
    message = str(refused.value)
    assert "config.data.source was image_folder and is records" in message
    assert (
        "cannot be checked whether they are the same" in message
        and "another" not in message.partition("Put the")[0]
    )
    config.data.accept = token(facts[1])
    assert check_data(*facts, config, step=7, effect="", source="image_folder")


def test_drawings_of_another_world_are_named():
    with pytest.raises(
        UserError, match="these are different drawings, with another config.data.seed"
    ):
        checked(own(fingerprint=lambda: "a"), own(fingerprint=lambda: "b"))


def test_another_order_of_the_same_images_is_refused(monkeypatch):
    before = data_facts(own(), seed=0)
    draw = same_data.sample_order

    def another_version(length, seed):
        _, key = draw(length, seed)
        return range(same_data.FIRST), key

    monkeypatch.setattr(same_data, "sample_order", another_version)
    now = data_facts(own(), seed=0)
    with pytest.raises(UserError, match="grain or NumPy draws them in another order"):
        check_data(before, now, tiny_config(), **AT_7)
    assert check_data(before, now, tiny_config(data__accept=token(now)), **AT_7)


def test_names_that_only_one_side_has_are_not_compared():
    assert checked(own(files=None), own()) is False


def test_a_checkpoint_from_before_this_record_is_resumed_and_says_so(capsys):
    was, now = {"seed": 0, "batch_size": 8, "position": 56}, data_facts(own(), seed=0)
    assert check_data(was, now, tiny_config(), **AT_7) is False
    assert "did not record the images of a run" in (said := capsys.readouterr().out)
    assert "the present 40 images are recorded from now on" in said


def test_what_changes_in_the_schedules_is_said_in_numbers():
    config = tiny_config(dino__freeze_last_layer_epochs=2.0)
    was, now = (schedules(config, images=n) for n in (40, 96))
    assert schedule_changes(was, was, step=7) == ""
    said = schedule_changes(was, now, step=7)
    assert "the run has 96 steps, 12 per epoch (before: 40, 5)" in said
    assert "step 7 is epoch 0.58 (1.40)" in said
    rates = [float(s.learning_rate(7)) for s in (now, was)]
    assert f"the learning rate is {rates[0]:.4g} ({rates[1]:.4g})" in said
    assert "the freeze of the last layer ends at step 24 (10)" in said


def test_a_longer_run_is_said_in_numbers():
    was, now = (schedules(tiny_config(optimizer__epochs=e), images=40) for e in (8.0, 16.0))
    said = schedule_changes(was, now, step=20)
    assert said.startswith("the run has 80 steps, 5 per epoch (before: 40, 5), the learning")
    assert "is epoch" not in said and "ends at step" not in said


def save_images(folder: Path, count: int) -> None:
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (count, 20, 24, 3), dtype=np.uint8)
    for i, image in enumerate(noise):
        Image.fromarray(image).save(folder / f"{i:02}.png")


def events(workdir: Path, name: str) -> list[dict]:
    lines = (workdir / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


def recorded(workdir: Path, step: int) -> dict:
    meta = json.loads((workdir / f"checkpoints/{step}/meta/metadata").read_text())
    return meta["about"]["data"]


def test_a_run_whose_images_change(tmp_path, capsys, monkeypatch):
    save_images(tmp_path / "images", 40)
    run = tmp_path / "run"

    def start(**fields) -> None:
        fields = {"data__path": str(tmp_path / "images"), "data__length": 0, **fields}
        train(tiny_config(data__source="image_folder", **fields), str(run))

    start(run__stop_after=1)
    assert recorded(run, 1)["images"] == 40
    (tmp_path / "images/05.png").rename(tmp_path / "images/zz.png")
    before = (run / "config.json").read_bytes()
    with pytest.raises(UserError, match="40 images as before") as refused:
        start(run__stop_after=2, run__log_every=7)
    assert (run / "config.json").read_bytes() == before  # of the last start that was one
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["1"]
    accept = str(refused.value).rpartition("=")[2]
    start(run__stop_after=2, data__accept=accept)
    (event,) = events(run, "data_changed")
    assert event["step"] == 1 and event["was"] == recorded(run, 1)
    assert event["now"].items() <= recorded(run, 2).items()
    assert json.loads((run / "config.json").read_text())["run"]["stop_after"] == 2

    # The same images at another place, and the flag no more: nothing has changed.
    (tmp_path / "images").rename(tmp_path / "moved")
    monkeypatch.setattr(loop, "take_steps", lambda *_, **__: None)
    capsys.readouterr()
    start(data__path=str(tmp_path / "moved"))
    said = capsys.readouterr().out
    assert "config.data.path was" in said and "the images" not in said
    assert "config.data.accept" not in said

    # A run of fewer images may be over.
    for file in list((tmp_path / "moved").iterdir())[8:]:
        file.unlink()
    fields = {"data__path": str(tmp_path / "moved"), "optimizer__epochs": 1.0}
    fields |= {"optimizer__warmup_epochs": 0.0}
    with pytest.raises(UserError, match="there were 40 images, now there are 8") as refused:
        start(**fields)
    start(**fields, data__accept=str(refused.value).rpartition("=")[2])
    said = capsys.readouterr().out
    assert "already at step 2, and the run now ends at step 1 (config.optimizer.epochs=1): " in said


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A run after its first step, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return train(tiny_config(run__stop_after=1), str(tmp_path_factory.mktemp("trained")))


def test_fields_that_move_the_schedules_say_so_on_resume(run, capsys, monkeypatch):
    monkeypatch.setattr(loop, "take_steps", lambda *_, **__: None)
    train(tiny_config(optimizer__epochs=9.0, optimizer__batch_size=20), str(run))
    said = capsys.readouterr().out
    assert "config.optimizer.epochs was 8.0 and is 9.0 from now on" in said
    assert "warning: the schedules change at step 1: the run has 18 steps, 2 per" in said
    assert "the order of the images continues at image 20 instead of 8: 12 images are left" in said


def test_other_fields_and_other_images_have_a_sentence_each(run, capsys, monkeypatch):
    """What fewer epochs do is not said of the images."""
    monkeypatch.setattr(loop, "take_steps", lambda *_, **__: None)
    config = tiny_config(optimizer__epochs=5.0, data__length=48, run__stop_after=2)
    with pytest.raises(UserError) as refused:
        train(config, str(run))
    assert "with the new images, the run has 30 steps, 6 per epoch (before: 25, 5)" in str(
        refused.value
    )
    config.data.accept = str(refused.value).rpartition("=")[2]
    train(config, str(run))
    said = capsys.readouterr().out
    assert "schedules change at step 1: the run has 25 steps, 5 per epoch (before: 40, 5" in said


def test_a_run_without_its_config_json_is_compared_with_its_checkpoint(run):
    (run / "config.json").unlink()
    config = tiny_config(run__stop_after=2)
    config.seed = 1
    with pytest.raises(
        UserError, match=r"contains a different run: config\.seed is 0 there and 1 here"
    ):
        train(config, str(run))


def test_other_drawings_do_not_continue_a_run(run):
    for fields in ({"data__seed": 1}, {"data__size": 18}):
        with pytest.raises(UserError, match="these are different drawings"):
            train(tiny_config(**fields), str(run))
    with pytest.raises(UserError, match="there were 40 images, now there are 48"):
        train(tiny_config(data__length=48), str(run))


def test_packages_that_compute_or_decode_are_compared(run, capsys, monkeypatch):
    now = package_versions()
    assert {"jax", "numpy", "grain", "pillow"} <= now.keys()
    monkeypatch.setattr(loop, "take_steps", lambda *_, **__: None)
    monkeypatch.setattr(resuming, "package_versions", lambda: now | {"pillow": "99.0"})
    train(tiny_config(), str(run))
    assert f"was written by pillow {now['pillow']}; this is pillow 99.0" in capsys.readouterr().out
