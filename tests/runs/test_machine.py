"""What a step takes of a machine, said before anything is compiled."""

import re
import resource

import jax
import pytest

from rats_jax.assemble import make_mesh, step_bytes
from rats_jax.config import schedules
from rats_jax.errors import UserError
from rats_jax.models.options import OPTIONS
from rats_jax.runs import machine, memory
from rats_jax.runs.machine import CLEARLY, check_memory, slow_steps
from tests.runs.tiny import tiny_config

WORDS = r"a training step needs about [\d.]+ GiB of memory by estimate, and [\d.]+ GiB may be used "


def one_device(config):
    return make_mesh(config, jax.devices()[:1])


def test_a_step_that_fits_is_not_mentioned(capsys):
    config = tiny_config()
    mesh = one_device(config)
    check_memory(config, mesh, step_bytes(config, mesh).peak)
    check_memory(config, mesh, None)
    assert capsys.readouterr().out == ""


def test_a_step_that_may_not_fit_is_a_warning_and_one_that_cannot_an_error(capsys):
    config = tiny_config(optimizer__batch_size=256)
    mesh = one_device(config)
    needs = step_bytes(config, mesh).peak
    check_memory(config, mesh, int(needs / CLEARLY) + 1)
    line = capsys.readouterr().out
    assert re.match(f"warning: {WORDS}here: set --config.model.remat=dots", line)
    assert line.endswith(", or lower config.optimizer.batch_size\n") and line.count("\n") == 1
    with pytest.raises(UserError, match=f"^{WORDS}here: set .*--config.optimizer.accumulation=4,"):
        check_memory(config, mesh, needs // 3)
    with pytest.raises(UserError, match="not even one image at once fits; take a smaller model"):
        check_memory(config, mesh, 1000)


@pytest.mark.parametrize("architecture", OPTIONS)
def test_what_is_advised_fits(architecture):
    config = tiny_config(optimizer__batch_size=96, model__architecture=architecture)
    config.model.depth = 3
    mesh = one_device(config)
    has = step_bytes(config, mesh).peak // 2
    with pytest.raises(UserError) as error:
        check_memory(config, mesh, has)
    for name, given in re.findall(r"--config\.(\S+)=(\w+)", str(error.value)):
        kind = int if given.isdigit() else str
        config.update_from_flattened_dict({name: kind(given)})
    assert step_bytes(config, mesh).peak <= has


def test_a_slow_cpu_is_told_how_long_it_would_take(monkeypatch):
    config = tiny_config()
    mesh, s = one_device(config), schedules(config, images=40)
    monkeypatch.setattr(machine, "cpu_rate", lambda _: 1e9)
    assert slow_steps(config, mesh, s) == []  # a step of a few operations is not even timed
    monkeypatch.setattr(machine, "step_flops", lambda _: 6e12)
    (line,) = slow_steps(config, mesh, s)
    assert line.startswith("a step takes about 1.7 hours on this CPU by estimate, if nothing else ")
    assert (
        " uses it, and the 40 steps 2.8 days: " in line
        and "--config=demo" in line
        and "model.size=Ti" in line
    )
    monkeypatch.setattr(machine, "cpu_rate", lambda _: 2e11)
    assert slow_steps(config, mesh, s) == []


def test_the_rate_of_this_cpu_is_measured():
    assert 1e8 < machine.cpu_rate("float32") < 1e14


def test_the_rate_is_that_of_the_fastest_product(monkeypatch):
    """Another program slowed the first and the last one down."""
    times = iter((0.0, 0.0, 0.15, 0.15, 0.16, 0.16, 0.25, 0.25))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(machine.jax, "jit", lambda function: lambda a, b: a)
    best = machine.REACHED * 2 * machine.SIDE**3 / 0.01
    assert machine.cpu_rate("float32") == pytest.approx(best)


def test_the_memory_of_a_cpu_is_the_least_of_its_limits(monkeypatch):
    assert 0 < memory.least_memory() < 2**45
    limits = (10 * 2**40, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    assert 2**40 < memory._address_space() < 10 * 2**40
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 1000))
    assert memory._address_space() == 0 == memory.least_memory()
    with pytest.raises(
        UserError, match="^ulimit -v leaves 0.0 GiB of address space, and JAX takes"
    ):
        memory.check_address_space()


@pytest.mark.parametrize(
    ("line", "top", "limit", "used", "cache"),
    [
        ("0::{}", "", "memory.max", "memory.current", "inactive_file"),
        (
            "4:cpu,memory:{}",
            "memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ],
)
def test_a_container_leaves_what_no_group_uses(tmp_path, line, top, limit, used, cache):
    groups, inner = tmp_path / "cgroup", tmp_path / top / "outer" / "inner"
    inner.mkdir(parents=True)

    def left(path: str = "/outer/inner") -> int | None:
        groups.write_text(f"9:cpuset:/outer\n{line.format(path)}\n")
        return memory._container(str(tmp_path), str(groups))

    def fill(folder, most: str, now: int) -> None:
        (folder / limit).write_text(f"{most}\n")
        (folder / used).write_text(f"{now}\n")

    assert left() is None
    fill(inner, "max", 1000)
    assert left() is None
    fill(inner, "5000", 1000)
    assert left() == 4000
    (inner / "memory.stat").write_text(f"anon 1\nx{cache} 7\n{cache} 600\n")
    assert left() == 4600  # the page cache is given back
    fill(inner.parent, "3000", 1000)
    assert left() == 2000  # the group around it
    fill(tmp_path / top, "1500", 1000)
    assert left() == 500 == left("/a/path/of/the/host")
