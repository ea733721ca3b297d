"""Reading compiled programs: what counts as executed, and as moved."""

import pytest

from rats_jax.planning.hbm import hbm_bytes
from rats_jax.planning.hlo import read_program

TPU = """HloModule jit_step, is_scheduled=true

FileNames
1 "/home/me/rats_jax/models/block.py"
2 "/home/me/rats_jax/dino/step.py"

FunctionNames
1 "MLP.__call__"
2 "DINO.step"

FileLocations
1 {file_name_id=1 function_name_id=1 line=10 end_line=10 column=1 end_column=2}
2 {file_name_id=2 function_name_id=2 line=20 end_line=20 column=1 end_column=2}

StackFrames
1 {file_location_id=2 parent_frame_id=1}
2 {file_location_id=1 parent_frame_id=2}

%inner_body (p.1: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p.1 = (s32[], f32[8]) parameter(0)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  %x.1 = f32[8]{0} get-tuple-element(%p.1), index=1
  %y.1 = f32[8]{0} multiply(%x.1, %x.1), backend_config={"estimated_cycles":"5"}
  ROOT %t.1 = (s32[], f32[8]) tuple(%i.1, %y.1)
}

%inner_condition (p.2: (s32[], f32[8])) -> pred[] {
  %p.2 = (s32[], f32[8]) parameter(0)
  %limit = s32[]{:T(128)} constant(3)
  %i.2 = s32[] get-tuple-element(%p.2), index=0
  ROOT %less = pred[] compare(%i.2, %limit), direction=LT
}

%outer_body (p.3: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p.3 = (s32[], f32[8]) parameter(0)
  ROOT %w.1 = (s32[], f32[8]) while(%p.3), condition=%inner_condition, body=%inner_body
}

%outer_condition (p.4: (s32[], f32[8])) -> pred[] {
  %p.4 = (s32[], f32[8]) parameter(0)
  ROOT %true = pred[] constant(true)
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0:T(128)} parameter(0)
  %zero = s32[] constant(0)
  %t.2 = (s32[], /*index=1*/f32[8]) tuple(%zero, /*index=1*/%a)
  %w.2 = (s32[], f32[8]) while(%t.2), condition=%outer_condition, body=%outer_body, \
backend_config={"known_trip_count":{"n":"4"}}
  %x.2 = f32[8]{0} get-tuple-element(%w.2), index=1
  ROOT %z = f32[8]{0} add(f32[8]{0} %x.2, f32[8]{0} %x.2), metadata={op_name="jit(step)/add" \
stack_frame_id=2}, backend_config={"estimated_cycles":"7"}
}
"""


def test_a_loop_within_a_loop_turns_the_product_of_both_times():
    program = read_program(TPU)
    times = {instruction.name: times for instruction, times in program.executed()}
    assert times["z"] == 1
    assert times["w.1"] == 4  # as XLA knows
    assert times["y.1"] == 4 * 3  # as the condition compares
    assert program.estimated_cycles == 12 * 5 + 7


def test_bytes_of_a_loop_count_as_often_as_it_turns():
    of_multiply, of_add = 3 * 32, 3 * 32
    assert hbm_bytes(read_program(TPU)) == 12 * of_multiply + of_add


def test_an_instruction_knows_where_the_source_made_it():
    program = read_program(TPU)
    add = program.computations["ENTRY"][-1]
    assert add.operands == ("x.2", "x.2")  # where a text repeats their types as well
    assert program.frames(add) == [
        ("/home/me/rats_jax/models/block.py", "MLP.__call__"),
        ("/home/me/rats_jax/dino/step.py", "DINO.step"),
    ]
    assert program.frames(program.computations["ENTRY"][0]) == []


@pytest.mark.parametrize(
    ("array", "padded"),
    [
        ("f32[3,5]", 60),
        ("f32[3,5]{1,0:T(8,128)}", 8 * 128 * 4),
        ("f32[3,5]{0,1:T(8,128)}", 8 * 128 * 4),
        ("bf16[196,12,64]{0,2,1:T(8,128)(2,1)}", 256 * 64 * 12 * 2),
        ("bf16[196,12,64]{2,1,0:T(8,128)(2,1)}", 196 * 16 * 128 * 2),
        ("f32[200]{0:T(256)}", 1024),
        ("f32[]{:T(128)}", 4),
    ],
)
def test_tiles_pad_the_minor_dimensions(array, padded):
    program = read_program(f"ENTRY %e (p: f32[]) -> f32[] {{\n  %x = {array} parameter(0)\n}}")
    assert program.computations["ENTRY"][0].arrays[0].padded_bytes == padded


LAYER, STACK = 4 * 16, 4 * 16 * 12


@pytest.mark.parametrize(
    ("body", "call", "expected"),
    [
        # One layer's kernel out of a stack: the layer is read and, used up, written.
        (
            "  %s = f32[12,16] parameter(0)\n  %i = s32[] parameter(1)\n"
            "  ROOT %r = f32[1,16] dynamic-slice(%s, %i), dynamic_slice_sizes={1,16}",
            "f32[1,16] fusion(%stack, %index)",
            2 * LAYER + 4,
        ),
        # A layer's result into a stack, in place.
        (
            "  %s = f32[12,16] parameter(0)\n  %u = f32[1,16] parameter(1)\n"
            "  %i = s32[] parameter(2)\n"
            "  ROOT %r = f32[12,16] dynamic-update-slice(%s, %u, %i)",
            "f32[12,16] fusion(%stack, %layer, %index)",
            2 * LAYER + 4,
        ),
        # All of it.
        (
            "  %s = f32[12,16] parameter(0)\n  ROOT %r = f32[12,16] negate(%s)",
            "f32[12,16] fusion(%stack)",
            2 * STACK,
        ),
        # Out of the vector memory of a TPU, which is not HBM.
        (
            "  %s = f32[12,16] parameter(0)\n  ROOT %r = f32[12,16] negate(%s)",
            "f32[12,16] fusion(%near)",
            STACK,
        ),
    ],
)
def test_a_fusion_moves_what_it_reads_of_its_arguments(body, call, expected):
    program = f"""
%fused (s: f32[12,16]) -> f32[12,16] {{
{body}
}}

ENTRY %e (stack: f32[12,16]) -> f32[] {{
  %stack = f32[12,16]{{1,0}} parameter(0)
  %near = f32[12,16]{{1,0:T(8,128)S(1)}} parameter(1)
  %layer = f32[1,16]{{1,0}} parameter(2)
  %index = s32[] parameter(3)
  ROOT %f = {call}, kind=kLoop, calls=%fused
}}"""
    assert hbm_bytes(read_program(program)) == expected
