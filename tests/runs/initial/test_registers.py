"""Where registers start that the weights do not have."""

import numpy as np
import pytest

from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD
from rats_jax.errors import UserError
from tests.runs.initial.starts import SOURCE, side, start
from tests.torch_export.test_dino import export

SHAPE = (3, 2, 24)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """An export of a ViT of 16 pixels, and its teacher's backbone."""
    folder = tmp_path_factory.mktemp("vit") / "export"
    _, parts = export(folder, model__architecture="vit")
    return folder, parts["teacher"]["backbone"]


def test_random_ones_are_left_to_the_start_without_weights(vit):
    _, initial = start(vit[0], init__registers="random")
    assert "registers (random)" in "\n".join(initial.lines)
    assert not any("registers" in name for name in initial.arrays)


def test_those_from_cls_lie_around_it(vit):
    _, initial = start(vit[0])  # the default
    registers = side(initial)["backbone"]["registers"]
    cls = vit[1]["cls_token"] + vit[1]["pos_embed"][0]
    assert registers.shape == SHAPE
    apart = (registers - cls).std() / np.sqrt(np.mean(np.square(cls)))
    assert 0.16 < apart < 0.24 and abs((registers - cls).mean()) < 0.2 * (registers - cls).std()
    assert "backbone/registers" not in initial.taken and "backbone" not in initial.taken
    np.testing.assert_array_equal(registers, side(initial, "student")["backbone"]["registers"])


def test_those_of_k_means_are_centers_of_the_patch_tokens(vit):
    """As many patches as registers: each center is one of them."""
    one, other = 0, 20  # of 40 images, evenly spread
    fields = {"init__registers": "kmeans", "init__images": 2, "crops__global_size": 16}
    _, initial = start(vit[0], **fields, model__registers_per_head=1)
    registers = side(initial)["backbone"]["registers"].reshape(3, 24)
    params = vit[1]
    from rats_jax.classification.views import central_crop

    pixels = np.stack([central_crop(SOURCE[i][0], 16) for i in (one, other)]) / 255
    pixels = ((pixels - IMAGENET_MEAN) / IMAGENET_STD).reshape(2, 2, 8, 2, 8, 3)
    tokens = np.einsum("bhiwjc,ijcD->bhwD", pixels, params["patch_embed"]["kernel"]) + params[
        "pos_embed"
    ][1:].reshape(2, 2, 24)
    tokens = (tokens + params["patch_embed"]["bias"]).reshape(8, 24)
    nearest = ((tokens[:, None] - registers) ** 2).sum(-1).argmin(1)
    for i in range(3):
        np.testing.assert_allclose(registers[i], tokens[nearest == i].mean(0), atol=1e-4)


def test_too_few_patches_are_said(vit):
    fields = {"init__registers": "kmeans", "model__registers_per_head": 4}
    told = "needs 12 different patches, and 2 training images have fewer: "
    with pytest.raises(UserError, match=f"{told}raise config.init.images, or choose"):
        start(vit[0], init__images=2, **fields)


def test_more_images_are_advised_only_if_there_are_more(vit):
    fields = {"init__registers": "kmeans", "model__registers_per_head": 60}
    told = "needs 180 different patches, and 40 training images have fewer: choose config.init"
    with pytest.raises(UserError, match=told):
        start(vit[0], init__images=256, **fields)


def test_weights_without_cls_have_none_to_start_from(tmp_path):
    export(tmp_path / "export")
    _, initial = start(tmp_path / "export", model__registers_per_head=4)
    assert "new: registers (random, since the weights have no [CLS])" in "\n".join(initial.lines)
    assert not any("registers" in name for name in initial.arrays)


def test_plain_registers_of_a_vit_may_be_new(vit):
    fields = {"model__architecture": "vit", "model__plain_registers": 2}
    _, initial = start(vit[0], **fields, init__registers="cls")
    assert side(initial)["backbone"]["registers"].shape == (2, 24)
    assert "taken: backbone except registers" in "\n".join(initial.lines)
