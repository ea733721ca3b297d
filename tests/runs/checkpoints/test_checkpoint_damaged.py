"""Checkpoints that are damaged are seen and passed over, and nothing is lost."""

import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.runs.checkpoints import checkpoint
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from tests.runs.checkpoints.checkpoints import (
    ABOUT_READ,
    LIKE,
    abstract,
    assert_equal,
    data_files,
    files,
    make_state,
    save,
    truncate,
)


def flip(file: Path, place: float = 0.5) -> None:
    data = bytearray(file.read_bytes())
    data[int(len(data) * place)] ^= 4
    file.write_bytes(data)


def replace(file: Path, old: bytes, new: bytes) -> None:
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new))


DAMAGE = {
    "array truncated": lambda step: truncate(data_files(step)[0]),
    "array empty": lambda step: data_files(step)[0].write_bytes(b""),
    "array deleted": lambda step: data_files(step)[0].unlink(),
    "array flipped": lambda step: flip(data_files(step)[0]),
    "database truncated": lambda step: truncate(step / "state" / "manifest.ocdbt"),
    "database deleted": lambda step: (step / "state" / "manifest.ocdbt").unlink(),
    "meta truncated": lambda step: truncate(step / "meta" / "metadata"),
    "meta deleted": lambda step: (step / "meta" / "metadata").unlink(),
    "meta flipped": lambda step: flip(step / "meta" / "metadata"),
    "meta with another number": lambda step: replace(step / "meta" / "metadata", b": 80", b": 81"),
    "meta other JSON": lambda step: (step / "meta" / "metadata").write_text("[]"),
    "all deleted": lambda step: [shutil.rmtree(p) for p in step.iterdir() if p.is_dir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_named_passed_over_and_set_aside(workdir, damage, capfd):
    DAMAGE[damage](workdir / "checkpoints" / "30")
    what = files(workdir / "checkpoints" / "30")
    with Checkpoints(workdir, keep=3) as checkpoints:
        found = checkpoints.restore(LIKE)
        assert found.step == 20
        assert_equal(found.state, make_state(20))
        ((step, reason),) = found.damaged
        assert step == 30 and reason.startswith("meta/" if "meta" in damage else reason[:1])
        assert checkpoints.steps() == [10, 20]
        assert files(workdir / "damaged" / "30") == what
        save(checkpoints, 30)
        assert_equal(checkpoints.restore(LIKE).state, make_state(30))
    out, error = capfd.readouterr()
    assert f"the checkpoint at step 30 is damaged: {reason}\n" in out
    assert f"the damaged checkpoint at step 30 is kept in {workdir / 'damaged' / '30'}\n" in out
    assert out.count("\n") == 2 and error == ""


def test_whatever_byte_is_flipped_no_wrong_number_is_restored(workdir):
    clean = workdir.with_name("clean")
    shutil.copytree(workdir, clean)
    places = np.random.default_rng(0).uniform(size=6)
    fell_back = 0
    for file in files(workdir / "checkpoints" / "30"):
        if not (clean / "checkpoints" / "30" / file).stat().st_size:
            continue
        for place in places:
            shutil.rmtree(workdir)
            shutil.copytree(clean, workdir)
            flip(workdir / "checkpoints" / "30" / file, place)
            with Checkpoints(workdir, keep=3) as checkpoints:
                found = checkpoints.restore(LIKE)
            assert_equal(found.state, make_state(found.step))
            assert found.about == ABOUT_READ
            fell_back += found.step == 20
    assert fell_back >= 2 * len(places)  # at least those in the metadata and the arrays


def test_a_changed_number_is_found_in_its_tensor(workdir, monkeypatch):
    """As if the disk had given other bytes than were written, and the decoder had not seen it."""
    read = checkpoint.read_arrays

    def read_wrong(folder, like):
        state = read(folder, like)
        if folder.name == "30":
            kernel = state["teacher"]["kernel"]
            state["teacher"]["kernel"] = kernel.at[1, 500].set(jnp.nextafter(kernel[1, 500], 9.0))
        return state

    monkeypatch.setattr(checkpoint, "read_arrays", read_wrong)
    with Checkpoints(workdir, keep=3) as checkpoints:
        found = checkpoints.restore(LIKE)
    assert found.step == 20
    assert found.damaged == [(30, "teacher/kernel: differs from what was saved")]


def test_several_damaged_ones_are_all_passed_over_and_none_is_overwritten(workdir):
    for _ in range(2):
        for step in ("20", "30"):
            truncate(workdir / "checkpoints" / step / "meta" / "metadata")
        with Checkpoints(workdir, keep=3) as checkpoints:
            found = checkpoints.restore(LIKE)
            assert found.step == 10 and [step for step, _ in found.damaged] == [30, 20]
            save(checkpoints, 20)
            save(checkpoints, 30)
    kept = sorted(p.name for p in (workdir / "damaged").iterdir())
    assert kept == ["20", "20.1", "30", "30.1"]


def test_when_all_are_damaged_nothing_starts_anew_and_all_stay_where_they_are(workdir):
    for step in ("10", "20", "30"):
        truncate(workdir / "checkpoints" / step / "meta" / "metadata")
    before = files(workdir)
    with (
        pytest.raises(UserError, match=r"no checkpoint in .* can be restored \(step 30: meta"),
        Checkpoints(workdir, keep=1) as checkpoints,
    ):
        checkpoints.restore(LIKE)
    assert files(workdir) == before


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (
            abstract(make_state(0, size=8)),
            r"optimizer/mu is float32\[1000\] there and float32\[8\]",
        ),
        (abstract(make_state(0) | {"new": jnp.zeros(1)}), r"new is missing there and float32\[1\]"),
        ({"step": LIKE["step"]}, r"optimizer/half is bfloat16\[5\] there and missing here"),
    ],
)
def test_another_models_state_is_no_damage(workdir, like, message):
    with (
        pytest.raises(UserError, match=f"30 contains a different state: {message}"),
        Checkpoints(workdir, keep=3) as checkpoints,
    ):
        checkpoints.restore(like)
    assert checkpoints.steps() == [10, 20, 30] and not (workdir / "damaged").exists()
