"""Which set of weights is meant in files as training code writes them."""

import re

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.weights.layout_tables import LAYOUTS
from rats_jax.weights.sets import choose
from tests.weights.state_dicts import BY_TITLE, recognised, state_dict

VIT = list(state_dict("DINO v1 or timm"))
HF = list(state_dict("transformers DINOv2"))


def under(*prefixes: str, names=VIT) -> list[str]:
    return [prefix + name for prefix in prefixes for name in names]


#: Names of the tensors in a file, those outside the sets, and the sets in it with their prefixes.
FILES = {
    "DINO": (
        under("student.module.backbone.", "teacher.backbone."),
        ["student.module.head.mlp.0.weight", "teacher.head.mlp.0.weight", "dino_loss.center"],
        {"student": "student.module.backbone.", "teacher": "teacher.backbone."},
    ),
    "DINOv2": (
        under("model.student.backbone.", "model.teacher.backbone."),
        ["model.teacher.dino_head.mlp.0.weight", "model.student.ibot_head.mlp.0.weight"],
        {"student": "model.student.backbone.", "teacher": "model.teacher.backbone."},
    ),
    "DINOv3": (
        under("student.backbone.", "teacher.backbone.", "model_ema.backbone.")
        + under("gram_teacher.backbone."),
        ["teacher.dino_head.mlp.0.weight", "dino_loss.center"],
        {
            "student": "student.backbone.",
            "teacher": "teacher.backbone.",
            "model_ema": "model_ema.backbone.",
            "gram_teacher": "gram_teacher.backbone.",
        },
    ),
    "Lightning": (
        under("state_dict.student_backbone.", "state_dict.teacher_backbone."),
        ["state_dict.student_head.layers.0.weight", "state_dict.criterion.center"],
        {
            "student_backbone": "state_dict.student_backbone.",
            "teacher_backbone": "state_dict.teacher_backbone.",
        },
    ),
    "lightly-train": (
        under(
            "state_dict.teacher_embedding_model.wrapped_model._model.",
            "state_dict.student_embedding_model.wrapped_model._model.",
        ),
        ["state_dict.teacher_head.dino_head.mlp.0.weight"],
        {
            "teacher_embedding_model": "state_dict.teacher_embedding_model.wrapped_model._model.",
            "student_embedding_model": "state_dict.student_embedding_model.wrapped_model._model.",
        },
    ),
    "MoCo v3": (
        under("state_dict.module.base_encoder.", "state_dict.module.momentum_encoder."),
        ["state_dict.module.base_encoder.head.0.weight", "state_dict.module.predictor.0.weight"],
        {
            "base_encoder": "state_dict.module.base_encoder.",
            "momentum_encoder": "state_dict.module.momentum_encoder.",
        },
    ),
    "I-JEPA": (
        under("encoder.module.", "target_encoder.module."),
        ["predictor.module.mask_token", "predictor.module.predictor_blocks.0.norm1.weight"],
        {"encoder": "encoder.module.", "target_encoder": "target_encoder.module."},
    ),
    "timm": (
        under("state_dict.", "state_dict_ema."),
        ["state_dict.head.weight", "state_dict_ema.head.weight"],
        {"state_dict": "state_dict.", "state_dict_ema": "state_dict_ema."},
    ),
    "a model and its average": (
        under("model.", "ema.module."),
        ["ema.n_averaged"],
        {"model": "model.", "ema": "ema.module."},
    ),
    "one in the other": (
        under("vit.", "teacher.vit."),
        ["projector.0.weight"],
        {"vit": "vit.", "teacher.vit": "teacher.vit."},
    ),
    "one at the top": (
        under("", "shadow."),
        ["head.weight"],
        {".": "", "shadow": "shadow."},
    ),
    "transformers": (
        under("student.dinov2.", "teacher.dinov2.", names=HF),
        ["student.classifier.weight"],
        {"student": "student.dinov2.", "teacher": "teacher.dinov2."},
    ),
}
WITH_TEACHER = [
    name for name, (*_, sets) in FILES.items() if any("teacher" in title for title in sets)
]


@pytest.mark.parametrize("name", FILES)
def test_each_set_is_chosen_by_its_name(name):
    tensors, beside, sets = FILES[name]
    for title, prefix in sets.items():
        found = choose([*beside, *tensors], title, source="x.pth")
        assert (found.name, found.prefix) == (title, prefix)
        assert sorted(found.not_chosen) == sorted(sets.keys() - {title})
        inside = [key for key in tensors if key.startswith(prefix)]
        expected = {key.removeprefix(prefix): key for key in inside}
        others = [p for p in sets.values() if len(p) > len(prefix)]
        assert found.keys == {
            name: key for name, key in expected.items() if not key.startswith((*others, "/"))
        }


@pytest.mark.parametrize("name", FILES)
def test_without_a_choice_it_is_the_teacher_or_none(name):
    tensors, beside, sets = FILES[name]
    if name in WITH_TEACHER:
        found = choose([*tensors, *beside], "teacher", source="x.pth")
        assert "teacher" in found.name and "gram" not in found.name
        return
    with pytest.raises(UserError) as error:
        choose([*tensors, *beside], "teacher", source="x.pth")
    line = str(error.value)
    assert line.startswith("x.pth holds several sets of weights") and "\n" not in line
    assert all(title in line for title in sets)
    assert f"--weights={next(iter(sets))}" in line


@pytest.mark.parametrize("name", FILES)
def test_a_set_that_is_not_there_is_an_error_that_lists_those_that_are(name):
    tensors, beside, sets = FILES[name]
    with pytest.raises(UserError, match=r"x.pth has no nobody; it has ") as error:
        choose([*tensors, *beside], "nobody", source="x.pth")
    assert all(title in str(error.value) for title in sets)


@pytest.mark.parametrize(
    ("name", "word", "title"),
    [
        ("Lightning", "student", "student_backbone"),
        ("lightly-train", "student", "student_embedding_model"),
        ("I-JEPA", "target", "target_encoder"),
        ("I-JEPA", "encoder", "encoder"),  # not the target, whose name has the word too
        ("timm", "ema", "state_dict_ema"),
        ("DINOv3", "gram", "gram_teacher"),
    ],
)
def test_a_word_of_a_name_is_enough(name, word, title):
    tensors, beside, _ = FILES[name]
    assert choose([*tensors, *beside], word, source="x").name == title


def test_a_word_of_two_names_is_not():
    with pytest.raises(UserError, match="may mean: give the whole name, of a_student, b_student"):
        choose(under("a_student.", "b_student."), "student", source="x")
    with pytest.raises(UserError, match="may mean: give the whole name, of a_teacher, b_teacher"):
        choose(under("a_teacher.", "b_teacher."), "teacher", source="x")


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone.", "encoder.", "ema."])
def test_the_only_set_is_the_one_meant_unless_another_is_asked_for(prefix):
    found = choose(under(prefix), "teacher", source="x")
    assert (found.name, found.prefix, found.not_chosen) == (None, prefix, [])
    with pytest.raises(UserError, match="does not say whose: leave out --weights=student"):
        choose(under(prefix), "student", source="x")


@pytest.mark.parametrize("prefix", ["student.", "model.student_backbone.module."])
def test_the_only_set_is_not_taken_for_the_teacher_if_it_is_the_student(prefix):
    assert choose(under(prefix), "student", source="x").name == "student"
    with pytest.raises(UserError, match="x has no teacher; it has .*choose --weights=student$"):
        choose(under(prefix), "teacher", source="x")


@pytest.mark.parametrize("prefix", ["", "teacher.backbone."])
@pytest.mark.parametrize(
    "wrapper",
    ["module", "_module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"]
    + ["_forward_module", "_fpw_module"],
)
@pytest.mark.parametrize("place", [r"^", r"(?<=\.)(?=\w+$)", r"(?<=blocks\.\d\.)"])
def test_wrappers_anywhere_in_a_name_are_left_away(prefix, wrapper, place):
    whole = under(prefix)
    wrapped = [re.sub(place, f"{wrapper}.", key, count=1) for key in whole]
    assert wrapped != whole
    found = choose(wrapped, "teacher", source="x")
    assert found.keys == dict(zip(VIT, wrapped, strict=True))


def test_wrappers_in_wrappers_are_left_away_and_errors_name_the_tensor_of_the_file():
    state = state_dict("transformers DINOv3")
    deep = {f"_fsdp_wrapped_module._orig_mod.{name}": array for name, array in state.items()}
    deep = {
        re.sub(r"layer\.(\d)", r"layer.\1._checkpoint_wrapped_module._orig_mod", name): array
        for name, array in deep.items()
    }
    found = recognised(deep, None, source="x")
    expected = recognised(state, None, source="x")
    assert found.options == expected.options and found.arrays.keys() == expected.arrays.keys()
    name = next(name for name in deep if name.endswith("layer_scale1.lambda1"))
    with pytest.raises(UserError, match=re.escape(f"x: {name} is [3], not [128]")):
        recognised(deep | {name: np.zeros(3)}, None, source="x")


@pytest.mark.parametrize("layout", LAYOUTS, ids=[layout.title for layout in LAYOUTS])
def test_in_every_layout_two_sets_are_two(layout):
    names = list(state_dict(layout.title))
    both = under("student.", "teacher.", names=names)
    assert len(choose(both, "student", source="x").keys) == len(names)
    found = choose([*both, "teacher.blocks_of_others"], "teacher", source="x")
    assert found.not_chosen == ["student"] and "blocks_of_others" in found.keys


def test_a_set_without_a_patch_embedding_is_a_set_too():
    """As the average of those parameters that are trained: it must not be passed over."""
    trained = [name for name in VIT if not name.startswith(("patch_embed", "pos_embed"))]
    names = under("model.") + under("ema.", names=trained)
    with pytest.raises(UserError, match=r"holds several sets of weights \(model, ema\)"):
        choose(names, "teacher", source="x")
    assert choose(names, "model", source="x").not_chosen == ["ema"]
    state = dict.fromkeys(names, np.zeros((128, 128), np.float32))
    with pytest.raises(UserError, match=r"x: ema.patch_embed.proj.weight is missing"):
        recognised(state, None, source="x", weights="ema")


def test_a_decoder_is_no_set():
    blocks = [name for name in VIT if name.startswith("blocks")]
    beside = under("decoder.", "predictor.", "mae_decoder.", names=blocks)
    found = choose(under("encoder.") + beside, "teacher", source="x")
    assert found.left_out == beside and not found.not_chosen


# What is refused.


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conv1.weight"], "x holds a convolutional network, which cannot be read"),
        (["module.visual.conv1.weight"], "x holds a CLIP"),
        (["vision_model.embeddings.patch_embedding.weight"], "x holds a CLIP or SigLIP"),
        (["conv_proj.weight"], "x holds a ViT of torchvision"),
        (["backbone.patch_embed.projection.weight"], "x holds a ViT of mmpretrain"),
        (["patch_embed.proj.0.weight"], "x holds a ViT with a convolutional stem"),
        (["student.backbone._flat_param"], "x holds flat parameters, one process's part"),
        (["w"], "x has no patch_embed.proj.weight or"),
        ([*VIT, "module.norm.weight"], "x has one tensor twice, as norm.weight and as module.norm"),
        ([*VIT, "blocks.1.0.norm1.bias"], "x has one tensor twice, as blocks.0.norm1.bias and as"),
    ],
)
def test_names_that_are_no_set_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        choose(names, "teacher", source="x")


def test_thousands_of_sets_are_refused_before_they_are_sorted_out():
    names = [f"{i}.patch_embed.proj.weight" for i in range(20_000)]
    with pytest.raises(UserError, match="x holds 20,000 sets of weights"):
        choose(names, "7", source="x")


def test_chunks_of_blocks_are_blocks():
    chunked = [re.sub(r"^blocks\.(\d)", r"blocks.7.\1", name) for name in VIT]
    assert list(choose(chunked, "teacher", source="x").keys) == VIT
    assert "mask_token" in BY_TITLE["DINOv2"].left_out
