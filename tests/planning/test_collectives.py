"""Collectives of a compiled program: kind, axes, bytes, origin."""

import pytest

from rats_jax.planning.collectives import Traffic, collectives
from rats_jax.planning.hardware import Chip
from rats_jax.planning.hbm import hbm_bytes
from rats_jax.planning.hlo import read_program
from rats_jax.planning.roofline import bound

MESH = {"data": 2, "fsdp": 2, "tensor": 2}


def of(instruction: str, mesh=MESH, **options) -> list[Traffic]:
    text = f"ENTRY %e (x: f32[8]) -> f32[8] {{\n  %x = f32[8] parameter(0)\n  {instruction}\n}}"
    return collectives(read_program(text), mesh, **options)


@pytest.mark.parametrize(
    ("groups", "axes"),
    [
        ("replica_groups={{0,1},{2,3},{4,5},{6,7}}", ("tensor",)),
        ("replica_groups={{0,4},{1,5},{2,6},{3,7}}", ("data",)),
        ("replica_groups={}", ("data", "fsdp", "tensor")),
        ("replica_groups=[4,2]<=[8]", ("tensor",)),
        ("replica_groups=[4,2]<=[2,2,2]T(0,2,1)", ("fsdp",)),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", ("data", "fsdp")),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2] {'b'}", ("fsdp",)),
        ("replica_groups=mesh['a'=4,'b'=2] {'a'}", ("data", "fsdp")),
        ("replica_groups=mesh['a'=4,'b'=2] {'a':(1)2}", ("data",)),
        ("replica_groups=mesh['a'=4,'b'=2] {'a':(2)2}", ("fsdp",)),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}", ("tensor",)),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([0,4,1,5,2,6,3,7]) {'a'}", ("fsdp",)),
        # No whole axes: those that are crossed.
        ("replica_groups={{0,3},{1,2},{4,7},{5,6}}", ("fsdp", "tensor")),
    ],
)
def test_every_way_of_writing_groups_leads_to_the_axes_of_the_mesh(groups, axes):
    (row,) = of(f"ROOT %r = f32[8] all-reduce(%x), {groups}, to_apply=%add")
    assert row.axes == axes


@pytest.mark.parametrize(
    ("instruction", "kind", "size", "sent"),
    [
        ("f32[8] all-reduce(%x), replica_groups=[4,2]<=[8]", "all-reduce", 32, 32),
        ("f32[8] all-reduce-start(%x), replica_groups=[4,2]<=[8]", "all-reduce", 32, 32),
        ("f32[16] all-gather(%x), replica_groups=[4,2]<=[8]", "all-gather", 64, 32),
        ("(f32[8], f32[16]) all-gather-start(%x), replica_groups=[4,2]<=[8]", "all-gather", 64, 32),
        ("f32[4] reduce-scatter(%x), replica_groups=[4,2]<=[8]", "reduce-scatter", 32, 16),
        ("f32[8] all-to-all(%x), replica_groups=[2,4]<=[8]", "all-to-all", 32, 24),
        (
            "(f32[8], f32[8], u32[], u32[]) collective-permute-start(%x), "
            "source_target_pairs={{0,1},{1,0}}",
            "collective-permute",
            32,
            32,
        ),
    ],
)
def test_bytes_are_of_the_whole_array_and_what_is_sent_goes_by_rings(instruction, kind, size, sent):
    (row,) = of(f"%r = {instruction}\n  ROOT %d = f32[8] {kind}-done(%r)")
    assert (row.kind, row.count, row.bytes, row.sent) == (kind, 1, size, sent)


def test_a_collective_in_a_loop_or_a_fusion_counts_and_as_often_as_it_turns():
    text = """
%fused (p: bf16[8]) -> bf16[8] {
  %p = bf16[8] parameter(0)
  ROOT %r = bf16[8] all-reduce(%p), replica_groups={}, to_apply=%add
}

%body (p.1: (s32[], bf16[8])) -> (s32[], bf16[8]) {
  %p.1 = (s32[], bf16[8]) parameter(0)
  %i = s32[] get-tuple-element(%p.1), index=0
  %x = bf16[8] get-tuple-element(%p.1), index=1
  %f = bf16[8] fusion(%x), kind=kCustom, calls=%fused
  ROOT %t = (s32[], bf16[8]) tuple(%i, %f)
}

ENTRY %e (a: (s32[], bf16[8])) -> (s32[], bf16[8]) {
  %a = (s32[], bf16[8]) parameter(0)
  ROOT %w = (s32[], bf16[8]) while(%a), body=%body, backend_config={"known_trip_count":{"n":"5"}}
}
"""
    (row,) = collectives(read_program(text), MESH)
    assert (row.count, row.bytes, row.dtype) == (5, 5 * 16, "bf16")


def test_a_tpus_reduce_scatter_is_a_fusion_of_an_all_reduce():
    text = """
%all-reduce-scatter.1 (p: f32[8]) -> f32[4] {
  %p = f32[8] parameter(0)
  %r = f32[8] all-reduce(%p), replica_groups=[4,2]<=[8], to_apply=%add
  ROOT %s = f32[4] dynamic-slice(%r), dynamic_slice_sizes={4}
}

ENTRY %e (x: f32[8]) -> f32[4] {
  %x = f32[8] parameter(0)
  ROOT %f = f32[4] fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
}
"""
    (row,) = collectives(read_program(text), MESH)
    assert (row.kind, row.axes, row.bytes, row.sent) == ("reduce-scatter", ("tensor",), 32, 16)


def test_a_tpus_asynchronous_collective_counts_once_in_the_fusion_that_starts_it():
    gather = "%g = f32[16] all-gather(%p), replica_groups=[4,2]<=[8], channel_id=3"
    text = f"""
%start (p: f32[8]) -> f32[16] {{
  %p = f32[8] parameter(0)
  {gather}
  ROOT %s = f32[16] custom-call(%g), custom_call_target="AsyncCollectiveStart"
}}

%async_collective_fusion.7 (p: f32[8]) -> f32[16] {{
  %p = f32[8] parameter(0)
  ROOT {gather}
}}

%done (p: f32[8]) -> f32[16] {{
  %p = f32[8] parameter(0)
  {gather}
  ROOT %d = f32[16] custom-call(%g), custom_call_target="AsyncCollectiveDone"
}}

ENTRY %e (x: f32[8]) -> f32[16] {{
  %x = f32[8] parameter(0)
  %a = f32[16] fusion(%x), kind=kCustom, calls=%start
  %b = f32[16] fusion(%x), kind=kCustom, calls=%async_collective_fusion.7
  ROOT %c = f32[16] fusion(%x), kind=kCustom, calls=%done
}}
"""
    program = read_program(text)
    (row,) = collectives(program, MESH)
    assert (row.kind, row.count, row.bytes) == ("all-gather", 1, 64)
    assert hbm_bytes(program) == 32 + 64  # what the start reads, and the result


def test_origins_are_the_scopes_of_the_step_and_sums_of_gradients_are_told_by_their_size():
    reduce = "ROOT %r = f32[8] all-reduce(%x), replica_groups={}, "
    name = 'metadata={op_name="jit(step)/transpose(jvp(student))/backbone, local/while/body/dot"}'
    assert of(reduce + name)[0].origin == "backward, backbone"
    assert of(reduce + 'metadata={op_name="jit(step)/teacher/head/add"}')[0].origin == (
        "teacher, head"
    )
    assert of(reduce)[0].origin == "unknown"
    assert of(reduce + name, parameters={8})[0].origin == "gradients"
    tokens = (reduce + name).replace("f32", "bf16")
    assert of(tokens, parameters={8})[0].origin == "backward, backbone"


def test_the_bound_is_the_busiest_resource():
    chip = Chip(
        name="x", kind="x", flops=100.0, memory=1, bandwidth=10.0, link=2.0, network=1.0, wraps=4
    )
    row = Traffic("all-reduce", "f32", ("data",), "gradients", 1, 80, 140.0)
    options = {"flops": 500.0, "hbm_bytes": 60.0, "traffic": [row], "links": 4}
    one = bound(chip, **options, mesh_shape={"data": 8}, slices=1)
    assert vars(one) == {"products": 5.0, "memory": 6.0, "links": 140 / 8, "network": 0.0}
    assert (one.seconds, one.by) == (17.5, "links")
    # Between two slices of four chips, each chip passes on its fourth of what was summed.
    two = bound(chip, **options, mesh_shape={"data": 8}, slices=2)
    assert two.network == 2 * (1 / 2) * 80 / 4
