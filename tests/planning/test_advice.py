"""What is tried where a config does not fit, with a compiler of our own making."""

from types import SimpleNamespace

import jax
import pytest

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.planning.advice import find_what_fits
from rats_jax.planning.compiled import Compiled, state_bytes
from rats_jax.planning.hardware import TPUS
from rats_jax.runs.programs import abstract_state
from tests.runs.tiny import tiny_config

V5E = TPUS[1]
KEPT = {"none": 74, "dots": 22, "full": 7}  # bytes, of each image of a micro-batch


def hardware(memory: int) -> SimpleNamespace:
    return SimpleNamespace(
        devices=jax.devices()[:4], chip=V5E, memory=memory, slices=1, hosts=1, links=2
    )


def compiled(config, hardware) -> Compiled:
    """Takes the state and what images keep."""
    mesh = make_mesh(config, hardware.devices)
    state = abstract_state(make_dino(config, images=64), 0, mesh)
    images = config.optimizer.batch_size // 4 // config.optimizer.accumulation
    needs = sum(state_bytes(state).values()) + images * KEPT[config.model.remat]
    return Compiled(mesh=mesh, state=state, seconds=1.0, needs=needs)


def advise(room: float, **fields) -> list:
    """Tries, where `room` is left beside the state."""
    config = tiny_config(optimizer__batch_size=64, **fields)
    refused = compiled(config, hardware(0))
    state = sum(state_bytes(refused.state).values())
    machine = hardware(int(state + room))
    return list(find_what_fits(config, machine, refused, compile_step=compiled))


def test_the_last_try_fits_and_none_before_it_does():
    tries = advise(16 * 22)
    assert [found.fits for found in tries] == [False] * (len(tries) - 1) + [True]
    assert tries[-1].needs <= tries[0].needs


@pytest.mark.parametrize("room", [8 * 7, 8])
def test_what_is_ruled_out_would_not_have_fitted(room):
    """The lower bound by earlier tries is one: compile what was left out, and see."""
    config = tiny_config(optimizer__batch_size=64)
    machine = hardware(int(sum(state_bytes(compiled(config, hardware(0)).state).values()) + room))
    tries = advise(room)
    assert any(found.step is None for found in tries)
    for found in tries:
        if found.step is None:
            changed = config.copy_and_resolve_references()
            changed.update_from_flattened_dict(found.changes)
            assert compiled(changed, machine).needs > machine.memory


def test_splitting_the_state_is_tried_where_the_state_is_too_much_by_itself():
    tries = advise(-1)
    assert tries[-1].fits
    assert tries[-1].changes["mesh.fsdp"] == 4
    assert all(found.step is None for found in tries if "mesh.fsdp" not in found.changes)


def test_what_the_config_asks_for_already_is_kept():
    tries = advise(
        16 * 7 / 4, model__remat="full", optimizer__accumulation=2, mesh__data=2, mesh__fsdp=2
    )
    assert tries[-1].fits
    assert all("model.remat" not in found.changes for found in tries)
    assert all(found.changes.get("optimizer.accumulation", 4) % 2 == 0 for found in tries)
    for found in tries:
        if found.changes.get("mesh.fsdp"):
            assert found.changes["mesh.data"] * found.changes["mesh.fsdp"] == 4


def test_no_way_is_left_where_even_a_shard_of_the_state_is_too_much():
    config = tiny_config(optimizer__batch_size=64)
    refused = compiled(config, hardware(0))
    tries = list(find_what_fits(config, hardware(1000), refused, compile_step=compiled))
    assert tries and not any(found.fits or found.step for found in tries)
