"""The names that other implementations use for the tensors of `names.py`.

`layouts.py` reads files with these tables. Sources: facebookresearch/dino, dinov2 and dinov3, timm,
and transformers before and since version 5, which still writes the old names into its files.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

#: Our names of tensors that are not parameters: a mask of the bias of qkv, and RoPE's periods.
BIAS_MASK, PERIODS = "blocks.{i}.attn.qkv.bias_mask", "rope_embed.periods"
QKV_BIAS = "blocks.{i}.attn.qkv.bias"


class Layout(NamedTuple):
    """One implementation's names for the tensors of a ViT, and what its files do not state.

    title: for messages.
    names: maps our names, with {i} for the layer, to the names in the file. If there are several,
      our tensor is their concatenation by rows. A file has either a gated MLP (w12, w3) or a plain
      one.
    may_lack: our names of tensors that some models lack. For each tensor in the file, there is the
      setting in config.json that says that it exists.
    left_out: patterns of names in such files that are not part of a backbone.
    beside: a pattern of names outside the backbone that only this implementation has.
    model_types: values of model_type in transformers' config.json.
    norm_eps, positions, position_offset: options of ViT, as in that code.
    widest: up to this width, heads are 64 wide, as in the published models.
    heads: the number of heads by width, for models that differ from this.
    """

    title: str
    names: dict[str, tuple[str, ...]]
    may_lack: dict[str, tuple[str, ...]]
    left_out: tuple[str, ...] = ()
    beside: str = ""
    model_types: tuple[str, ...] = ()
    norm_eps: float = 1e-6
    positions: str = "learned"
    position_offset: float = 0.0
    widest: int = 1024
    heads: Mapping[int, int] = MappingProxyType({})


def _names(table: str, *, layer: str = "blocks.{i}.") -> dict[str, tuple[str, ...]]:
    """Parses lines "ours theirs ...": * stands for the layer, + for a weight and a bias. "theirs"
    equals "ours" if it is missing."""
    names = {}
    for line in filter(None, map(str.strip, table.splitlines())):
        ours, *theirs = line.split()
        for end in (".weight", ".bias") if ours.endswith("+") else ("",):
            names[ours.replace("*", "blocks.{i}.").replace("+", end)] = tuple(
                name.replace("*", layer).replace("+", end) for name in theirs or [ours]
            )
    return names


_CORE = """
    cls_token
    patch_embed.proj+
    *norm1+
    *attn.qkv+
    *attn.proj+
    *norm2+
    norm+
"""
_TABLE = "pos_embed"
_MLP = """
    *mlp.fc1+
    *mlp.fc2+
"""
_SCALES = """
    *ls1.gamma
    *ls2.gamma
"""

DINO = Layout(
    "DINO v1 or timm",
    _names(_CORE + _TABLE + _MLP),
    {QKV_BIAS: ("qkv_bias",)},
    position_offset=0.1,
)
TIMM = Layout(
    "timm",
    _names(
        _CORE + _TABLE + _MLP + _SCALES + "registers  reg_token\n"
        "*mlp.w12+  *mlp.fc1+\n"
        "*mlp.w3+   *mlp.fc2+\n"
    ),
    may_lack=DINO.may_lack
    | {name: ("init_values",) for name in ("blocks.{i}.ls1.gamma", "blocks.{i}.ls2.gamma")}
    | {"registers": ("reg_tokens",)},
    positions="learned_antialiased",
)
_HUB_V2 = _CORE + _TABLE + _MLP + _SCALES + "*mlp.w12+\n*mlp.w3+\n"
DINOV2 = Layout(
    "DINOv2",
    _names(_HUB_V2),
    DINO.may_lack,
    left_out=("mask_token",),
    position_offset=0.1,
    widest=1536,
)
DINOV2_REGISTERS = DINOV2._replace(
    title="DINOv2 with registers",
    names=_names(_HUB_V2 + "registers  register_tokens"),
    positions="learned_antialiased",
    position_offset=0.0,
)
DINOV3 = Layout(
    "DINOv3",
    _names(
        f"""{_CORE} {_MLP} {_SCALES}
        registers  storage_tokens
        *mlp.w12+  *mlp.w1+ *mlp.w2+
        *mlp.w3+
        {BIAS_MASK}
        {PERIODS}
        """
    ),
    may_lack=DINO.may_lack | {"registers": ("n_storage_tokens",), BIAS_MASK: ("mask_k_bias",)},
    left_out=("mask_token", r"local_cls_norm\..*"),  # the latter is for local crops in training
    norm_eps=1e-5,
    positions="rope",
)

_EMBEDDINGS = """
    cls_token          embeddings.cls_token
    pos_embed          embeddings.position_embeddings
    patch_embed.proj+  embeddings.patch_embeddings.projection+
    norm+              layernorm+
"""
_ATTENTION = """
    *attn.qkv+   *attention.q_proj+ *attention.k_proj+ *attention.v_proj+
    *attn.proj+  *attention.o_proj+
"""
_OLD_ATTENTION = """
    *attn.qkv+   *attention.attention.query+ *attention.attention.key+ *attention.attention.value+
    *attn.proj+  *attention.output.dense+
"""
_LAMBDAS = """
    *ls1.gamma  *layer_scale1.lambda1
    *ls2.gamma  *layer_scale2.lambda1
"""
_GATED = """
    *mlp.w12+  *mlp.gate_proj+ *mlp.up_proj+
    *mlp.w3+   *mlp.down_proj+
"""

_VIT_NORMS = """
    *norm1+  *layernorm_before+
    *norm2+  *layernorm_after+
"""
VIT = Layout(
    "transformers ViT",
    _names(_EMBEDDINGS + _ATTENTION + _VIT_NORMS + _MLP, layer="layers.{i}."),
    {QKV_BIAS: ("qkv_bias",) * 3},
    model_types=("vit", "vit_mae", "vit_msn"),
    norm_eps=1e-12,
)
VIT_OLD = VIT._replace(
    title="transformers ViT, old names",
    names=_names(
        f"""{_EMBEDDINGS} {_OLD_ATTENTION} {_VIT_NORMS}
        *mlp.fc1+  *intermediate.dense+
        *mlp.fc2+  *output.dense+
        """,
        layer="encoder.layer.{i}.",
    ),
)


_V2 = f"""{_EMBEDDINGS} {_LAMBDAS} {_MLP}
    *norm1+
    *norm2+
"""
V2 = Layout(
    "transformers DINOv2",
    _names(_V2 + _ATTENTION + _GATED, layer="encoder.layer.{i}."),
    VIT.may_lack,
    model_types=("dinov2",),
    widest=1536,
)
V2_OLD = V2._replace(
    title="transformers DINOv2, old names",
    names=_names(
        f"""{_V2} {_OLD_ATTENTION}
        *mlp.w12+  *mlp.weights_in+
        *mlp.w3+   *mlp.weights_out+
        """,
        layer="encoder.layer.{i}.",
    ),
)


def _with_registers(layout: Layout) -> Layout:
    return layout._replace(
        title=layout.title.replace("DINOv2", "DINOv2 with registers"),
        names=layout.names | {"registers": ("embeddings.register_tokens",)},
        model_types=("dinov2_with_registers",),
        positions="learned_antialiased",
    )


_V3 = f"""{_LAMBDAS} {_ATTENTION} {_GATED}
    cls_token          embeddings.cls_token
    registers          embeddings.register_tokens
    patch_embed.proj+  embeddings.patch_embeddings+
    *norm1+
    *norm2+
    *mlp.fc1+          *mlp.up_proj+
    *mlp.fc2+          *mlp.down_proj+
    norm+
"""
V3 = Layout(
    "transformers DINOv3",
    _names(_V3, layer="model.layer.{i}."),
    may_lack={
        "registers": ("num_register_tokens",),
        QKV_BIAS: ("query_bias", "key_bias", "value_bias"),
        "blocks.{i}.attn.proj.bias": ("proj_bias",),
        "blocks.{i}.mlp.fc1.bias": ("mlp_bias",),
        "blocks.{i}.mlp.fc2.bias": ("mlp_bias",),
        "blocks.{i}.mlp.w12.bias": ("mlp_bias", "mlp_bias"),
        "blocks.{i}.mlp.w3.bias": ("mlp_bias",),
    },
    model_types=("dinov3_vit",),
    norm_eps=1e-5,
    positions="rope",
    widest=1536,
)
V3_OLD = V3._replace(title="transformers DINOv3, old names", names=_names(_V3, layer="layer.{i}."))

#: If several fit a file equally well, the first is used.
LAYOUTS = (
    *(DINO, TIMM, DINOV2, DINOV2_REGISTERS, DINOV3),
    *(VIT, VIT_OLD, V2, V2_OLD, _with_registers(V2), _with_registers(V2_OLD), V3, V3_OLD),
)

#: Methods with the same names as DINO. Other tensors in their files identify them.
METHODS = (
    DINO._replace(
        title="MAE", beside=r"\bdecoder_(embed|pred)\.", position_offset=0.0, heads={1280: 16}
    ),
    DINO._replace(
        title="MoCo v3",
        beside=r"\b(base|momentum)_encoder\.",
        position_offset=0.0,
        heads={384: 12, 768: 12},
    ),
)
