"""Plans of GPUs that are not available, counted by hand."""

import dataclasses

import jax
import pytest

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.errors import UserError
from rats_jax.planning.advice import find_what_fits
from rats_jax.planning.by_hand import count_step, memory_traffic, traffic_by_hand
from rats_jax.planning.compiled import compile_step, state_bytes
from rats_jax.planning.figures import figures
from rats_jax.planning.hardware import GPUS
from rats_jax.planning.report import page
from rats_jax.planning.topology import FRACTION, RESERVE, Hardware
from rats_jax.runs.programs import abstract_state
from tests.runs.tiny import tiny_config

H100 = next(chip for chip in GPUS if chip.name == "h100")


def gpus(count: int = 1, *, nodes: int = 1, memory: int | None = None) -> Hardware:
    """H100s, or GPUs of which a count by hand may use `memory` bytes."""
    total = H100.total if memory is None else round(memory / FRACTION / (1 - RESERVE))
    return Hardware(
        description="GPUs",
        devices=tuple(jax.devices()[:count]),
        chip=dataclasses.replace(H100, total=total),
        slices=nodes,
        hosts=nodes,
        links=1,
        by_hand=True,
        fraction=FRACTION,
    )


def test_self_attention_among_patches_costs_parameters_and_operations():
    """config.model.parallel, Eq. 8. Of its own projections, each block has 4 D^2 + 4 D more."""
    plans = {}
    for parallel in ("none", "shared", "separate"):
        config = tiny_config(model__parallel=parallel)
        plans[parallel] = figures(config, gpus(), count_step(config, gpus()))
    size = {name: plan["parameters"]["backbone"] for name, plan in plans.items()}
    width, depth = config.model.width, config.model.depth
    assert size["none"] == size["shared"]
    assert size["separate"] - size["none"] == depth * 4 * (width**2 + width)
    none, shared, separate = (plan["flops_per_image"]["model"] for plan in plans.values())
    assert none < shared < separate


LARGER = {
    "model__width": 96,
    "model__depth": 4,
    "model__heads": 4,
    "crops__global_size": 64,
    "crops__local_size": 32,
    "crops__local_crops": 4,
    "head__hidden": 128,
    "head__bottleneck": 32,
    "head__prototypes": 1024,
    "optimizer__batch_size": 16,
    "data__size": 64,
}


@pytest.mark.parametrize(
    "fields",
    [
        {"model__remat": "none"},
        {"model__remat": "dots", "optimizer__accumulation": 4},
        pytest.param({"dictionary__entries": 2048}, marks=pytest.mark.slow),
        pytest.param({"model__architecture": "vit"}, marks=pytest.mark.slow),
        pytest.param({"model__remat": "full"}, marks=pytest.mark.slow),
    ],
)
def test_the_peak_by_hand_is_that_of_the_cpus_compiler_or_a_little_more(fields):
    config = tiny_config(**LARGER, **fields)
    simulated = dataclasses.replace(gpus(), chip=None, by_hand=False, fraction=None)
    compiled = compile_step(config, simulated)
    assert 1 <= count_step(config, gpus()).needs / compiled.needs <= 1.3


def test_the_state_is_that_of_the_arrays_also_where_it_is_split():
    config = tiny_config(mesh__fsdp=2, model__width=64, model__heads=4)
    hardware = gpus(4)
    step = count_step(config, hardware)
    state = abstract_state(make_dino(config, images=40), 0, make_mesh(config, hardware.devices))
    assert step.counted.state == sum(state_bytes(state).values())
    assert step.counted.state < step.counted.peak == step.needs


def test_each_part_of_a_batch_sums_all_gradients_over_all_devices():
    config = tiny_config(optimizer__accumulation=2)
    step = count_step(config, gpus(4))
    (row,) = traffic_by_hand(config, step)
    parameters = sum(x.size for x in jax.tree.leaves(step.state["student"]))
    assert (row.kind, row.axes, row.bytes) == ("all-reduce", ("data",), 2 * 4 * parameters)
    assert row.sent == 2 * row.bytes * 3 / 4
    assert traffic_by_hand(config, count_step(config, gpus(1))) == []


def test_fsdp_gathers_kernels_and_sums_a_share_of_the_gradients():
    config = tiny_config(mesh__fsdp=2, model__width=64, model__heads=4, model__remat="dots")
    rows = traffic_by_hand(config, count_step(config, gpus(4)))
    counts = {row.kind: (row.axes, row.count) for row in rows}
    assert counts == {
        "all-gather": (("fsdp",), 7),
        "reduce-scatter": (("fsdp",), 2),
        "all-reduce": (("data",), 1),
    }


def test_a_split_of_heads_is_refused():
    config = tiny_config(mesh__tensor=2, model__width=64, model__heads=4)
    with pytest.raises(UserError, match="tensor is 2.*use config.mesh.fsdp"):
        count_step(config, gpus(4))


def test_the_page_says_that_nothing_was_compiled_and_gives_a_range():
    config = tiny_config()
    hardware = gpus(4, nodes=2)
    plan = figures(config, hardware, count_step(config, hardware))
    text = "\n".join(page(plan))
    assert "counted by hand: not compiled for this GPU, and not measured" in text
    assert "JAX takes 75%" in text and "an assumption" in text
    low, high = plan["speed"]["realistic"]["days"]
    assert plan["speed"]["days"] < low < high
    assert plan["speed"]["busy_seconds"]["network"] > 0
    assert plan["by_hand"] and plan["fits"] and plan["hosts"] == 2


def test_float32_products_take_twice_the_time():
    seconds = {}
    for dtype in ("bfloat16", "float32"):
        config = tiny_config()
        config.compute_dtype = dtype
        plan = figures(config, gpus(), count_step(config, gpus()))
        seconds[dtype] = plan["speed"]["busy_seconds"]["products"]
    assert seconds["float32"] == 2 * seconds["bfloat16"]


def test_what_is_recomputed_is_moved_and_what_is_kept_is_not():
    moved = {}
    for remat in ("none", "dots", "full"):
        config = tiny_config(model__remat=remat)
        moved[remat] = memory_traffic(config, count_step(config, gpus()))
    assert moved["none"] < moved["dots"] < moved["full"]


def test_settings_that_fit_are_found_without_a_compiler():
    config = tiny_config(optimizer__batch_size=64, data__length=64)
    needs = count_step(config, gpus()).needs
    state = count_step(config, gpus()).counted.state
    hardware = gpus(memory=state + (needs - state) // 2)
    refused = count_step(config, hardware)
    assert not figures(config, hardware, refused)["fits"]
    tries = list(find_what_fits(config, hardware, refused, compile_step=count_step))
    assert tries[-1].fits
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(tries[-1].changes)
    plan = figures(changed, hardware, count_step(changed, hardware))
    assert plan["fits"] and plan["memory"]["peak"] == tries[-1].needs


def test_a_larger_share_of_the_memory_is_named_where_it_would_be_enough():
    config = tiny_config()
    needs = count_step(config, gpus()).needs
    hardware = gpus(memory=int(needs / 1.1))
    text = "\n".join(page(figures(config, hardware, count_step(config, hardware))))
    assert "does not fit" in text and "it fits with XLA_CLIENT_MEM_FRACTION=0.83" in text
    hardware = gpus(memory=int(needs / 1.5))
    text = "\n".join(page(figures(config, hardware, count_step(config, hardware))))
    assert "does not fit" in text and "MEM_FRACTION" not in text
