"""Stacks that a loop over the blocks keeps for the backward pass."""

import pytest

from rats_jax.planning.activations import kept_stacks
from rats_jax.planning.hlo import read_program

LOOP = """
%condition (c: (s32[], bf16[3,8,16], bf16[3,4,32], f32[3,128])) -> pred[] {{
  %c = (s32[], bf16[3,8,16], bf16[3,4,32], f32[3,128]) parameter(0)
  ROOT %l = pred[] constant(true)
}}

%body (p: (s32[], bf16[3,8,16], bf16[3,4,32], f32[3,128])) -> (s32[], bf16[3,8,16]) {{
  %p = (s32[], bf16[3,8,16], bf16[3,4,32], f32[3,128]) parameter(0)
  ROOT %t = (s32[], bf16[3,8,16], bf16[3,4,32], f32[3,128]) tuple(%p, %p, %p, %p)
}}

ENTRY %e (a: (s32[], bf16[3,8,16], bf16[3,4,32], f32[3,128])) -> (s32[], bf16[3,8,16]) {{
  %a = (s32[], bf16[3,8,16], bf16[3,4,32], f32[3,128]) parameter(0)
  ROOT %w = (s32[], bf16[3,8,16], bf16[3,4,32], f32[3,128]) while(%a), condition=%condition, \
body=%body, backend_config={{"known_trip_count":{{"n":"3"}}}}, metadata={{op_name="{of}/while"}}
}}
"""


@pytest.mark.parametrize(
    ("crops", "parameters", "expected"),
    [
        ((8, 4), (), [(3, 128), (3, 8, 16), (3, 4, 32)]),
        ((8, 4), (3 * 128,), [(3, 8, 16), (3, 4, 32)]),  # as many elements, but of crops
        ((8,), (3 * 128,), [(3, 8, 16)]),
        ((), (3 * 128,), []),
    ],
)
def test_parameters_are_told_by_their_size_where_no_axis_is_of_crops(crops, parameters, expected):
    program = read_program(LOOP.format(of="jit(step)/jvp(student)"))
    stacks = kept_stacks(program, crops=crops, parameters=parameters)
    assert [stack.shape for stack in stacks] == expected
    assert [stack.bytes for stack in stacks] == [
        3 * 128 * (4 if stack.dtype == "f32" else 2) for stack in stacks
    ]


@pytest.mark.parametrize("of", ["jit(step)/teacher", "jit(step)/transpose(jvp(student))"])
def test_loops_of_the_teacher_and_of_the_backward_pass_keep_nothing(of):
    assert kept_stacks(read_program(LOOP.format(of=of)), crops=(8,), parameters=()) == []
