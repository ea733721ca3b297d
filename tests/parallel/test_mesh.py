"""Meshes from sizes, and the table of rules."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from rats_jax.assemble import make_dino, make_mesh, make_model
from rats_jax.errors import UserError
from rats_jax.models.linear import Affine
from rats_jax.parallel import mesh
from rats_jax.parallel.rules import axes_of, state_shardings
from tests.runs.tiny import tiny_config


class Device:
    """As much of a device as meshes look at."""

    platform = device_kind = "none"

    def __init__(self, number: int, slice_index: int = 0):
        self.id, self.slice_index, self.process_index = number, slice_index, 0


def test_minus_one_takes_what_is_left():
    assert dict(mesh.make_mesh().shape) == {"data": 4, "fsdp": 1, "tensor": 1}
    assert dict(mesh.make_mesh(data=1, fsdp=-1, tensor=2).shape) == {
        "data": 1,
        "fsdp": 2,
        "tensor": 2,
    }


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"data": 3}, r"^data=3 .* need 3 devices, but there are 4"),
        ({"data": 2, "fsdp": 1, "tensor": 1}, "need 2 devices, but there are 4"),
        ({"tensor": 3}, "a multiple of 3 devices, but there are 4"),
        ({"data": -1, "fsdp": -1}, "only one size may be -1"),
        ({"fsdp": 0}, "1 or more, or -1"),
    ],
)
def test_sizes_that_do_not_make_up_the_devices_are_refused(sizes, message):
    with pytest.raises(UserError, match=message):
        mesh.make_mesh(**sizes)


def test_data_alone_crosses_slices():
    devices = [Device(i, slice_index=i % 2) for i in range(8)]
    grid = mesh.make_mesh(fsdp=2, tensor=2, devices=devices).devices
    assert grid.shape == (2, 2, 2)
    for block in grid:
        assert len({device.slice_index for device in block.flat}) == 1
    with pytest.raises(UserError, match="data is 1 on 2 slices .* a multiple of 2"):
        mesh.make_mesh(fsdp=8, devices=devices)


def test_the_config_s_section_is_named_to_who_set_it_there():
    config = tiny_config(mesh__data=3)
    with pytest.raises(UserError, match=r"^config\.mesh: data=3 fsdp=1 tensor=1 need 3 devices"):
        make_mesh(config)


def test_heads_that_do_not_divide_are_refused():
    config = tiny_config()
    config.mesh.tensor = 2
    with pytest.raises(UserError, match="heads 3 is not divisible by config.mesh.tensor 2.* 1, 3$"):
        make_mesh(config)


def test_a_batch_that_does_not_divide_is_refused():
    config = tiny_config(optimizer__batch_size=6)
    with pytest.raises(UserError, match="6 is not divisible by 4 .* is 8"):
        make_mesh(config)
    config = tiny_config(optimizer__accumulation=3)
    with pytest.raises(UserError, match="8 is not divisible by 12 .*accumulation 3.* is 12"):
        make_mesh(config)


@pytest.mark.parametrize("architecture", ["rats", "vit", "perceiver"])
def test_every_array_of_the_state_has_a_rule(architecture):
    config = tiny_config(model__architecture=architecture, model__plain_registers=2)
    config.model.update(depth=3, communicate="learned", parallel="separate")
    config.head.norm_last_layer = False
    on = mesh.make_mesh(data=1, fsdp=4)
    dino = make_dino(config, images=40)
    state = jax.eval_shape(dino.init, 0)
    shardings = state_shardings(on, state)
    assert jax.tree.structure(shardings) == jax.tree.structure(state)
    split = sum(
        x.size
        for x, s in zip(jax.tree.leaves(state), jax.tree.leaves(shardings), strict=True)
        if "fsdp" in s.spec
    )
    assert split > 0.9 * sum(x.size for x in jax.tree.leaves(state))


def test_moments_and_teacher_lie_as_the_parameters_do():
    on = mesh.make_mesh(data=1, fsdp=2, tensor=2)
    config = tiny_config(model__heads=4)
    shardings = state_shardings(on, jax.eval_shape(make_dino(config, images=40).init, 0))
    student = shardings["student"]["backbone"]
    assert student["registers"].spec == PartitionSpec("tensor", None, "fsdp")
    kernel = student["blocks"]["mlp"]["fc1"]["kernel"]
    assert kernel.spec == PartitionSpec(None, "fsdp", "tensor")
    assert shardings["teacher"]["backbone"] == student
    for moment in (shardings["optimizer"]["rest"].mu, shardings["optimizer"]["rest"].nu):
        assert moment["backbone"] == student


@pytest.mark.parametrize("architecture", ["rats", "vit", "perceiver"])
def test_modules_and_rules_agree_on_kernels(architecture):
    config = tiny_config(model__architecture=architecture)
    config.model.update(depth=3, parallel="separate")
    network, _ = make_model(config)
    params = jax.eval_shape(make_dino(config, images=40).init, 0)["student"]
    found = 0
    for part in ("backbone", "head"):
        module = nnx.merge(getattr(network, part), params[part])
        for path, node in nnx.iter_graph(module):
            if isinstance(node, Affine):
                name = "/".join(map(str, (part, *path, "kernel")))
                assert axes_of(name) == node.axes, name
                found += 1
    assert found >= 7


def test_an_array_without_a_rule_is_an_error():
    on = mesh.make_mesh()
    with pytest.raises(ValueError, match="no rule .* student/backbone/blocks/novel/kernel"):
        state_shardings(
            on, {"student": {"backbone": {"blocks": {"novel": {"kernel": jnp.ones(3)}}}}}
        )
    with pytest.raises(ValueError, match="no rule"):
        axes_of("student/backbone/qkv")


def test_a_dimension_that_does_not_divide_is_refused():
    on = mesh.make_mesh(data=1, fsdp=4)
    config = tiny_config(head__bottleneck=6)
    with pytest.raises(UserError, match=r"mesh.fsdp=4 does not divide 6, .*direction"):
        state_shardings(on, jax.eval_shape(make_dino(config, images=40).init, 0))


def test_state_is_born_sharded():
    """Of a state split over four devices, none ever holds the whole."""
    on = mesh.make_mesh(data=1, fsdp=4)
    config = tiny_config(head__prototypes=65_536, head__bottleneck=64)
    dino = make_dino(config, images=40)
    state = jax.eval_shape(dino.init, 0)
    shardings = state_shardings(on, state)
    init = jax.jit(dino.init, static_argnums=0, out_shardings=shardings).lower(0).compile()
    memory = init.memory_analysis()
    whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert memory.output_size_in_bytes < 0.3 * whole
    assert memory.output_size_in_bytes + memory.temp_size_in_bytes < 0.6 * whole
