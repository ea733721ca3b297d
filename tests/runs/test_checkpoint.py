"""Checkpoints: what is damaged is seen and passed over, what is good is never lost."""

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from rats_jax.assemble import make_dino
from rats_jax.errors import UserError
from rats_jax.parallel.mesh import make_mesh
from rats_jax.runs import checkpoint
from rats_jax.runs.checkpoint import Checkpoints
from rats_jax.runs.programs import abstract_state
from rats_jax.runs.retention import staying
from tests.runs.tiny import tiny_config

ROOT = Path(__file__).parents[2]
ABOUT = {"config": {"crops": (0.25, 1.0), "lr": 1e-5}, "code": "1", "data": {"position": 80}}
ABOUT_READ = {**ABOUT, "config": {"crops": [0.25, 1.0], "lr": 1e-5}}


def make_state(step: int, *, size: int = 1000) -> dict:
    """A small state; another one at every step."""
    key = jax.random.key(step)
    return {
        "step": jnp.int32(step),
        "teacher": {"kernel": jax.random.normal(key, (2, size)), "bias": jnp.zeros(7)},
        "optimizer": {"mu": jax.random.normal(key, (size,)), "half": jnp.ones(5, jnp.bfloat16)},
        "rng": jax.random.key_data(key),
    }


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


LIKE = abstract(make_state(0))


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def save(checkpoints: Checkpoints, step: int, state=None, **metrics: float) -> None:
    checkpoints.save(step, state or make_state(step), about=ABOUT, metrics=metrics)
    checkpoints.finish()


@pytest.fixture
def workdir(tmp_path) -> Path:
    """Of a run with checkpoints at steps 10, 20 and 30."""
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (10, 20, 30):
            save(checkpoints, step)
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def data_files(step: Path) -> list[Path]:
    """Those that hold arrays, the largest first."""
    return sorted((step / "state").rglob("d/*"), key=lambda p: -p.stat().st_size)


# What is kept.


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
    settings = {"newest": 1, "every": 0, "best": 0, "highest": False} | settings
    assert staying(list(values), values.get, **settings) == expected


def test_what_stays_for_good_is_the_first_at_or_after_each_multiple():
    stay = {"newest": 1, "every": 25, "best": 0, "highest": False}
    left = []
    for step in range(10, 101, 10):
        left = sorted(staying([*left, step], lambda _: None, **stay))
    assert left == [30, 50, 80, 100]


# What is not complete.


def test_what_a_kill_leaves_is_no_checkpoint_and_goes_at_the_next_start(workdir):
    folder = workdir / "checkpoints"
    for name in ("40.orbax-checkpoint-tmp", "40.orbax-checkpoint-tmp-123", "5.removed"):
        shutil.copytree(folder / "30", folder / name)
    shutil.copytree(folder / "30", folder / "30.mine")
    with Checkpoints(workdir, read_only=True) as checkpoints:
        assert checkpoints.steps() == [10, 20, 30]
    assert len(list(folder.iterdir())) == 7
    with Checkpoints(workdir, keep=3) as checkpoints:
        assert checkpoints.latest() == 30
    assert sorted(p.name for p in folder.iterdir()) == ["10", "20", "30", "30.mine"]


KILLED = """
import sys
from pathlib import Path
from tests.runs.test_checkpoint import Checkpoints, make_state

with Checkpoints(Path(sys.argv[1]), keep=2) as checkpoints:
    for step in range(1, 100):
        checkpoints.save(step, make_state(step, size=2_000_000), about={}, metrics={})
        print(step, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 0.05, 0.15])
def test_killed_while_it_saves_it_goes_on_from_a_complete_one(tmp_path, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.strip() == "3":
            break
    time.sleep(seconds)
    process.kill()
    process.wait()
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        found = checkpoints.restore(abstract(make_state(0, size=2_000_000)))
    assert found.step >= 2 and found.damaged == []
    assert_equal(found.state, make_state(found.step, size=2_000_000))


# What is damaged.


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


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
    assert found.damaged == [(30, "teacher/kernel: not what was saved")]


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
        (abstract(make_state(0) | {"new": jnp.zeros(1)}), r"new is nothing there and float32\[1\]"),
        ({"step": LIKE["step"]}, r"optimizer/half is bfloat16\[5\] there and nothing here"),
    ],
)
def test_another_models_state_is_no_damage(workdir, like, message):
    with (
        pytest.raises(UserError, match=f"30 is of another state: {message}"),
        Checkpoints(workdir, keep=3) as checkpoints,
    ):
        checkpoints.restore(like)
    assert checkpoints.steps() == [10, 20, 30] and not (workdir / "damaged").exists()


# Beside a run that trains.


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


# What cannot be saved.


@pytest.fixture
def no_large_files():
    """No file may grow over 100 kB: to write fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_save_that_fails_is_told_at_once_and_the_one_before_stays(workdir, no_large_files, capfd):
    message = "step 40 could not be saved in .*: File too large; the one at step 30 stays: "
    with Checkpoints(workdir, keep=1) as checkpoints:
        no_large_files()
        checkpoints.save(40, make_state(40, size=200_000), about={}, metrics={})
        deadline = time.monotonic() + 60
        with pytest.raises(UserError, match=message):
            while time.monotonic() < deadline:
                checkpoints.check()
                time.sleep(0.01)
        assert [p.name for p in (workdir / "checkpoints").iterdir() if p.name > "30"] == []
    assert checkpoints.steps() == [10, 20, 30]  # nothing was removed for it


FAILING = """
import resource, sys
from pathlib import Path
from rats_jax.errors import UserError
from tests.runs.test_checkpoint import Checkpoints, make_state

try:
    with Checkpoints(Path(sys.argv[1])) as checkpoints:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        state = {i: make_state(i, size=5000) for i in range(20)}
        checkpoints.save(1, state, about={}, metrics={})
except UserError:
    print("told")
"""


def test_a_save_that_fails_is_told_without_tracebacks(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", FAILING, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (told.stdout, told.stderr) == ("told\n", "")


def test_leaving_tells_of_the_last_save(workdir, no_large_files, capsys):
    large = make_state(40, size=200_000)
    with (
        pytest.raises(UserError, match="step 40 could not be saved"),
        Checkpoints(workdir, keep=1) as checkpoints,
    ):
        no_large_files()
        checkpoints.save(40, large, about={}, metrics={})
    with pytest.raises(ZeroDivisionError), Checkpoints(workdir, keep=1) as checkpoints:
        checkpoints.save(40, large, about={}, metrics={})
        raise ZeroDivisionError
    assert "warning: the checkpoint at step 40 could not be saved" in capsys.readouterr().out


def test_a_full_disk_is_named_with_its_remedy(workdir, monkeypatch):
    def full(*_, **__):
        text = "RESOURCE_EXHAUSTED: Failed to write: No space left on device [os_error_code='28']"
        raise ValueError(text)

    with Checkpoints(workdir, keep=1) as checkpoints:
        monkeypatch.setattr(checkpoints._writer, "save", full)
        with pytest.raises(UserError, match="No space left on device; .*: make room, and start"):
            save(checkpoints, 40)


def test_an_error_of_the_program_stays_what_it_is(workdir):
    with Checkpoints(workdir, keep=1) as checkpoints, pytest.raises(TypeError, match="not JSON"):
        checkpoints.save(40, make_state(40), about={"x": object()}, metrics={})


# Several processes.

HOST = """
import sys
from pathlib import Path
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from rats_jax.parallel.mesh import make_mesh

if __name__ == "__main__":
    host, address, workdir = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, host)
    from rats_jax.parallel.distributed import agree
    from rats_jax.runs.checkpoint import Checkpoints

    sharding = NamedSharding(make_mesh(data=1, fsdp=4), PartitionSpec("fsdp"))
    whole = NamedSharding(sharding.mesh, PartitionSpec())
    numbers = np.random.default_rng(0).normal(size=(8, 1000)).astype(np.float32)

    def state(step):
        split = jax.make_array_from_callback((8, 1000), sharding, lambda i: numbers[i] + step)
        same = jax.make_array_from_callback((), whole, lambda i: np.int32(step))
        return {"kernel": split, "step": same}

    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(0)
    )
    with Checkpoints(workdir, keep=3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step), about={"host": 0}, metrics={"loss": 1.0})
        checkpoints.finish()
        if host == 0:
            for file in (workdir / "checkpoints/3/state/ocdbt.process_1/d").iterdir():
                file.unlink()
            (workdir / "checkpoints/2/meta/metadata").write_text("")
        agree()
        found = checkpoints.restore(like)
        for shard in found.state["kernel"].addressable_shards:
            np.testing.assert_array_equal(shard.data, numbers[shard.index] + 1)
        print(found.step, found.damaged)
        checkpoints.save(3, state(3), about={}, metrics={})
        checkpoints.finish()
        found = checkpoints.restore(like)
        print(found.step, found.damaged, checkpoints.steps())
"""


def test_two_processes_pass_over_what_only_one_of_them_cannot_read(tmp_path):
    script, workdir = tmp_path / "host.py", tmp_path / "run"
    script.write_text(HOST)
    workdir.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(ROOT),
    }
    hosts = [
        subprocess.Popen(
            [sys.executable, script, str(i), address, workdir],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    told = [host.communicate(timeout=120) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], told
    lines = [[line for line in out.splitlines() if line[0].isdigit()] for out, _ in told]
    assert lines[0] == lines[1]
    assert lines[0][0].startswith("1 [(3, 'kernel: ") and "(2, 'meta/metadata: not" in lines[0][0]
    assert lines[0][1] == "3 [] [1, 3]"
    assert sorted(p.name for p in (workdir / "damaged").iterdir()) == ["2", "3"]
    # And on one device.
    numbers = np.random.default_rng(0).normal(size=(8, 1000)).astype(np.float32)
    like = {"kernel": jnp.zeros((8, 1000)), "step": jnp.int32(0)}
    with Checkpoints(workdir, read_only=True) as checkpoints:
        assert_equal(checkpoints.restore(abstract(like)).state["kernel"], numbers + 3)
