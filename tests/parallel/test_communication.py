"""What the compiled programs send between devices, read from their HLO."""

import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from rats_jax.models import DINOHead
from rats_jax.models.axes import BATCH, TENSOR
from rats_jax.models.block import RegisterBlock, shard_tokens
from rats_jax.models.register_attention import RegisterAttention
from rats_jax.parallel.mesh import make_mesh, on_mesh
from rats_jax.parallel.rules import state_shardings

B, H, N_HEAD, L, D = 14, 4, 5, 10, 32
COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|"
    r"collective-broadcast)(?:-start)?\("
)


def collectives(compiled) -> list[tuple[str, tuple[int, ...]]]:
    """(kind, shape) of every array that a collective of the program moves."""
    found = []
    for line in compiled.as_text().splitlines():
        if match := COLLECTIVE.search(line):
            for shape in re.findall(r"\w+\[([\d,]*)\]", match[1]):
                found.append((match[2], tuple(int(x) for x in shape.split(",") if x)))
    return sorted(found)


def arrays(mesh, module: nnx.Module, prefix: str) -> dict:
    """Its abstract parameters, as the rules lay them out under `prefix`."""
    params = nnx.to_pure_dict(nnx.state(module))
    shardings = state_shardings(mesh, {prefix: params})[prefix]
    return jax.tree.map(abstract, params, shardings)


def abstract(x, sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def gradient_of(make, prefix: str, call, mesh):
    """Compiled: parameters, registers and patches -> their gradients, where each of them lies."""
    module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    graph, _ = nnx.split(module)
    params = arrays(mesh, module, prefix)
    registers = abstract(
        jnp.zeros((B, H, N_HEAD, D)), NamedSharding(mesh, PartitionSpec(BATCH, TENSOR))
    )
    patches = abstract(jnp.zeros((B, L, D)), NamedSharding(mesh, PartitionSpec(BATCH)))

    def scalar(params, registers, patches):
        with on_mesh(mesh):
            out = shard_tokens(*call(nnx.merge(graph, params), registers, patches))
            # Not summed: that sum would be a collective of its own.
            return [jnp.sin(x) for x in out]

    def gradients(*inputs):
        out, pull = jax.vjp(scalar, *inputs)
        return pull(out)

    inputs = (params, registers, patches)
    shardings = jax.tree.map(lambda x: x.sharding, inputs)
    return jax.jit(gradients, out_shardings=shardings).lower(*inputs).compile()


def test_no_register_moves_in_register_attention_under_tensor_parallelism():
    """Forward and backward: the sum after the patches' output projection, its mirror, and the
    gradient of the one parameter that all heads share, the bias of the output projection."""
    compiled = gradient_of(
        lambda rngs: RegisterAttention(width=D, heads=H, rngs=rngs),
        "attn",
        lambda module, registers, patches: module(registers, patches)[:2],
        make_mesh(data=1, tensor=4),
    )
    assert collectives(compiled) == [
        ("all-reduce", (B, L, D)),
        ("all-reduce", (B, L, D)),
        ("all-reduce", (D,)),
    ]


@pytest.mark.parametrize("communicate", ["parameter_free", "learned"])
def test_a_whole_block_moves_patches_and_parameters_alone(communicate):
    """The MLP adds a sum of patches each way, and its kernels are gathered for the registers."""
    compiled = gradient_of(
        lambda rngs: RegisterBlock(
            width=D,
            heads=H,
            mlp_ratio=4,
            communicate=communicate,
            sharing="partitioned",
            parallel="none",
            dtype=jnp.float32,
            rngs=rngs,
        ),
        "blocks",
        lambda module, registers, patches: module((registers, patches)),
        make_mesh(data=1, tensor=4),
    )
    moved = collectives(compiled)
    assert moved.count(("all-reduce", (B, L, D))) == 4
    kernels = {(D, 4 * D), (4 * D, D), (D, D), (4 * D,), (D,)}
    assert {shape for _, shape in moved} <= {(B, L, D), *kernels}


def test_tokens_do_not_move_when_parameters_are_split():
    """Under fsdp kernels are gathered and their gradients summed; no array of tokens moves."""
    compiled = gradient_of(
        lambda rngs: RegisterAttention(width=D, heads=H, rngs=rngs),
        "attn",
        lambda module, registers, patches: module(registers, patches)[:2],
        make_mesh(data=1, fsdp=2, tensor=2),
    )
    tokens = {(B // 2, L, D)}  # the sums over `tensor`
    for kind, shape in collectives(compiled):
        assert shape in tokens or B not in shape and B // 2 not in shape, (kind, shape)


def test_prototypes_are_never_gathered():
    """Head and loss on split prototypes: what moves has no axis of K."""
    from rats_jax.dino.loss import dino_loss

    mesh = make_mesh(data=2, tensor=2)
    views, prototypes = 3, 1024
    head = nnx.eval_shape(
        lambda: DINOHead(width=D, hidden=64, bottleneck=8, prototypes=prototypes, rngs=nnx.Rngs(0))
    )
    graph, _ = nnx.split(head)
    params = arrays(mesh, head, "head")
    vectors = abstract(
        jnp.zeros((B, views, 1, D)), NamedSharding(mesh, PartitionSpec(BATCH, None, None, None))
    )
    center = abstract(jnp.zeros((1, prototypes)), NamedSharding(mesh, PartitionSpec(None, TENSOR)))

    def loss(student, teacher, vectors, center):
        with on_mesh(mesh):
            return dino_loss(
                nnx.merge(graph, student)(vectors),
                nnx.merge(graph, teacher)(vectors[:, :2]),
                center,
                student_temperature=0.1,
                teacher_temperature=jnp.float32(0.04),
            ).loss

    shardings = jax.tree.map(lambda x: x.sharding, params)
    step = jax.jit(jax.grad(loss), out_shardings=shardings)
    compiled = step.lower(params, params, vectors, center).compile()
    kernel = {(8, prototypes // 2)}  # the prototypes' own gradient, summed over `data`
    for kind, shape in collectives(compiled):
        assert shape in kernel or not {prototypes, prototypes // 2} & set(shape), (kind, shape)
