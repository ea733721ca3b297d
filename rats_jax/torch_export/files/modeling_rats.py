"""Encoders pretrained by rats_jax, in PyTorch: RATS (arXiv 2606.14701), ViT and Perceiver.

This file needs torch alone; copy it anywhere:

    from modeling_rats import load

    model = load("EXPORT")                      # the folder of model.safetensors and config.json
    features = model(images)                    # [B, 3, height, width], normalised
    features.registers, features.patches, features.global_vector
    model(images, attention_of=[-1]).attention  # {11: which register reads which patch}

Shape letters: B images, L patches (h * w, row by row), D width, H heads, d = D / H, n registers
per head, N = n * H registers, R plain registers of a ViT, T and S tokens of any kind.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Features(NamedTuple):
    """What an encoder returns, after its final LayerNorm.

    registers: [B, N, D], head 0's first (RATS); [B, R, D] of a ViT (R may be 0); the output
        queries of a Perceiver.
    patches: [B, L, D].
    global_vector: [B, D], the mean of the registers, or [CLS] of a ViT.
    attention: layer -> attention over the patches, for the layers asked for: RATS [B, H, n, L]
        (shared registers [B, H, N, L]), ViT [B, H, 1 + R, L] ([CLS] first), Perceiver
        [B, H, latents, L] of layer 0.
    """

    registers: Tensor
    patches: Tensor
    global_vector: Tensor
    attention: dict[int, Tensor]


def load(path: str | Path) -> "Encoder":
    """The model of an export, in evaluation mode, on the CPU: its folder, or model.safetensors with
    config.json beside it. Strict: every tensor must be there, and no other."""
    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    config = json.loads((file.parent / "config.json").read_text())
    with torch.device("meta"):
        model = build(config["options"])
    model.load_state_dict(read_safetensors(file), assign=True)
    return model.eval()


def build(options: dict) -> "Encoder":
    """A freshly initialised encoder; `options` are those in config.json."""
    kinds = {"rats": RATS, "vit": ViT, "perceiver": Perceiver}
    if options["architecture"] not in kinds:
        raise ValueError(
            f"unknown architecture {options['architecture']!r}: this file has {', '.join(kinds)}"
        )
    make = kinds[options["architecture"]]
    model = make(**{name: value for name, value in options.items() if name != "architecture"})
    model.options = dict(options)
    return model


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, floating point (the safetensors package reads it too)."""
    dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    content = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    state = {}
    for name, entry in json.loads(content[8:start]).items():
        if name != "__metadata__":
            dtype, (first, last) = dtypes[entry["dtype"]], entry["data_offsets"]
            data = torch.frombuffer(
                content, dtype=dtype, offset=start + first, count=(last - first) // dtype.itemsize
            )
            state[name] = data.reshape(entry["shape"])
    return state


class Encoder(nn.Module):
    """What all encoders share: embedded patches, a stack of blocks, a final norm.

    width, depth, heads, mlp_ratio, patch: as in a ViT. image_size: pixels of the square image that
        the positions were learned on; any multiple of the patch can be fed.
    positions: "learned", resampled for other sizes as PyTorch's bicubic does;
        "learned_antialiased", as its antialiased bicubic does; "rope", rotations of queries and
        keys by where a patch lies.
    position_offset: what is added to the size of the grid before the scale is computed: .1 in DINO.
    """

    leading_positions = 0  # tokens before the patches that have a position too
    has_cls = False  # whose attention comes first, before that of registers

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4,
        patch: int = 16,
        image_size: int = 224,
        position_offset: float = 0.1,
        positions: str = "learned",
        norm_eps: float = 1e-6,
    ):
        super().__init__()
        self.embed_dim = self.num_features = width
        self.depth, self.heads, self.patch_size = depth, heads, patch
        self.hidden = round(mlp_ratio * width)
        self.native, self.position_offset = image_size // patch, position_offset
        self.positions, self.norm_eps = positions, norm_eps
        self.patch_embed = PatchEmbed(width, patch)
        if positions != "rope":
            rows = self.leading_positions + self.native**2
            self.pos_embed = nn.Parameter(torch.zeros(1, rows, width))
        self.blocks = nn.ModuleList()
        self.norm = nn.LayerNorm(width, eps=norm_eps)

    def reset_parameters(self) -> None:
        """As training starts: normal .02 for kernels and tokens, the patch embedding as nn.Conv2d
        does, biases 0, norms 1, layer scales 1e-5."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif name.endswith("gamma"):
                nn.init.constant_(parameter, 1e-5)
            elif "norm" in name:
                nn.init.ones_(parameter)
            else:
                nn.init.normal_(parameter, std=0.02)
        self.patch_embed.proj.reset_parameters()

    def forward(self, images: Tensor, attention_of: Sequence[int] = ()) -> Features:
        """Normalised images [B, 3, height, width], sides multiples of the patch.

        attention_of: layers whose attention to return; negative ones count from the end.
        """
        wanted = {range(self.depth)[i] for i in attention_of}
        attention = {}
        tokens = self.embed(images)
        for i in range(self.depth):
            if i in wanted:
                attention[i] = self.attention(i, tokens)
            tokens = self.layer(i, tokens)
        return self.features(tokens)._replace(attention=attention)

    @property
    def attending_layers(self) -> range:
        """Those whose attention to the patches can be returned."""
        return range(self.depth)

    def each_layer(self, images: Tensor) -> Iterator[Features]:
        """The features after every layer, each through the final norm."""
        tokens = self.embed(images)
        for i in range(self.depth):
            tokens = self.layer(i, tokens)
            yield self.features(tokens)

    def embed(self, images: Tensor) -> tuple[Tensor, ...]:
        """The tokens before the first block."""
        raise NotImplementedError

    def layer(self, i: int, tokens: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The tokens after block i."""
        return self.blocks[i](*tokens)

    def attention(self, i: int, tokens: tuple[Tensor, ...]) -> Tensor:
        """Block i's attention over the patches, given the tokens before it."""
        return self.blocks[i].attention(*tokens)

    def features(self, tokens: tuple[Tensor, ...]) -> Features:
        """The tokens after a block, through the final norm."""
        raise NotImplementedError

    def embed_patches(self, images: Tensor) -> Tensor:
        """[B, L, D], with learned positions."""
        patches = self.patch_embed(images)
        if self.positions == "rope":
            return patches
        table = self.pos_embed[:, self.leading_positions :].float()
        down, across = self.resampling(*self.grid(images))
        table = table.reshape(self.native, self.native, -1)
        table = torch.einsum("ih,hwD->iwD", down, table)
        table = torch.einsum("jw,iwD->ijD", across, table).flatten(0, 1)
        return patches + table.to(patches.dtype)

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width = images.shape[-2:]
        return height // self.patch_size, width // self.patch_size

    def resampling(self, h: int, w: int) -> tuple[Tensor, Tensor]:
        """Matrices [h, native] and [w, native] from learned positions to those of a grid; the
        identity at the native size (without a branch, so that exported graphs hold both)."""
        matrix = antialiased_matrix if self.positions == "learned_antialiased" else bicubic_matrix
        device, native = self.pos_embed.device, self.native
        device = torch.device("cpu") if device.type == "mps" else device  # which has no float64
        h_, w_ = (torch.full((), x, dtype=torch.float64, device=device) for x in (h, w))
        offset = self.position_offset * ((h_ != native) | (w_ != native))
        return tuple(
            matrix(native, size, step=native / (size_ + offset)).float().to(self.pos_embed.device)
            for size, size_ in ((h, h_), (w, w_))
        )


class RATS(Encoder):
    """Register Attention Transformer: patches meet only through registers that heads own.

    registers_per_head: n. communicate: "parameter_free", or "learned" (three d x d matrices per
    head). sharing: "partitioned", or "shared" (every head attends with all N). parallel: "none", or
    the fine-tuning form (Eq. 8), which adds self-attention among the patches with the block's own
    projections ("shared") or a second set ("separate").
    """

    def __init__(
        self,
        *,
        registers_per_head: int = 16,
        communicate: str = "parameter_free",
        sharing: str = "partitioned",
        parallel: str = "none",
        **common,
    ):
        super().__init__(**common)
        width, heads = self.embed_dim, self.heads
        self.registers = nn.Parameter(torch.zeros(1, heads * registers_per_head, width))
        for _ in range(self.depth):
            attention = RegisterAttention(
                width, heads, learned=communicate == "learned", shared=sharing == "shared"
            )
            self.blocks.append(RegisterBlock(width, self.hidden, attention, parallel=parallel))
        self.reset_parameters()

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        registers = self.registers.reshape(1, self.heads, -1, self.embed_dim)
        return registers.expand(images.shape[0], -1, -1, -1), self.embed_patches(images)

    def features(self, tokens: tuple[Tensor, Tensor]) -> Features:
        registers, patches = tokens
        registers = self.norm(registers).flatten(1, 2)
        return Features(registers, self.norm(patches), registers.mean(1), {})


class ViT(Encoder):
    """Vision Transformer over [CLS], patches, then `plain_registers` tokens without position.

    layer_scale, gated_mlp: as in DINOv2 and DINOv3. rope_periods: d / 4 of them, for "rope".
    """

    leading_positions = 1
    has_cls = True

    def __init__(
        self,
        *,
        plain_registers: int = 0,
        layer_scale: bool = False,
        gated_mlp: bool = False,
        rope_periods: Sequence[float] | None = None,
        **common,
    ):
        super().__init__(**common)
        self.plain_registers, self.rope_periods = plain_registers, rope_periods
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
        if plain_registers:
            self.registers = nn.Parameter(torch.zeros(1, plain_registers, self.embed_dim))
        self.blocks.extend(
            Block(
                self.embed_dim,
                self.heads,
                self.hidden,
                eps=self.norm_eps,
                layer_scale=layer_scale,
                gated_mlp=gated_mlp,
            )
            for _ in range(self.depth)
        )
        self.reset_parameters()

    def embed(self, images: Tensor) -> tuple[Tensor, ...]:
        patches = self.embed_patches(images)
        cls = self.cls_token
        if self.positions != "rope":
            cls = cls + self.pos_embed[:, :1]
        tokens = [cls.expand(images.shape[0], -1, -1), patches]
        if self.plain_registers:
            tokens.append(self.registers.expand(images.shape[0], -1, -1))
        tokens = torch.cat(tokens, dim=1)
        if self.positions != "rope":
            return (tokens,)
        return tokens, rope_angles(*self.grid(images), self.rope_periods, device=images.device)

    def layer(self, i: int, tokens: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self.blocks[i](tokens[0], rope=tokens[1:]), *tokens[1:])

    def attention(self, i: int, tokens: tuple[Tensor, ...]) -> Tensor:
        attention = self.blocks[i].attention(tokens[0], rope=tokens[1:])
        last = attention.shape[-1] - self.plain_registers
        readers = torch.cat((attention[:, :, :1], attention[:, :, last:]), dim=2)
        return readers[..., 1:last]

    def features(self, tokens: tuple[Tensor, ...]) -> Features:
        tokens = self.norm(tokens[0])
        last = tokens.shape[1] - self.plain_registers
        return Features(tokens[:, last:], tokens[:, 1:last], tokens[:, 0], {})


class Perceiver(Encoder):
    """Latents read the patches in the first layer, talk, and output queries read them in the last.

    The queries are what registers are in RATS; no layer changes the patches.
    """

    def __init__(self, *, latents: int = 80, queries: int = 96, **common):
        super().__init__(**common)
        self.latents = nn.Parameter(torch.zeros(1, latents, self.embed_dim))
        self.queries = nn.Parameter(torch.zeros(1, queries, self.embed_dim))
        self.blocks.extend(
            Block(self.embed_dim, self.heads, self.hidden) for _ in range(self.depth)
        )
        self.reset_parameters()

    @property
    def attending_layers(self) -> range:
        return range(1)

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.latents.expand(images.shape[0], -1, -1), self.embed_patches(images)

    def layer(self, i: int, tokens: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        latents, patches = tokens
        if i == 0:
            return self.blocks[i](latents, patches), patches
        if i < self.depth - 1:
            return self.blocks[i](latents), patches
        queries = self.queries.expand(latents.shape[0], -1, -1)
        return self.blocks[i](queries, latents), patches

    def attention(self, i: int, tokens: tuple[Tensor, Tensor]) -> Tensor:
        if i:
            raise ValueError("only layer 0 of a Perceiver attends to the patches")
        return super().attention(i, tokens)

    def features(self, tokens: tuple[Tensor, Tensor]) -> Features:
        registers, patches = (self.norm(x) for x in tokens)
        return Features(registers, patches, registers.mean(1), {})


class PatchEmbed(nn.Module):
    """[B, 3, height, width] -> [B, L, D], row by row."""

    def __init__(self, width: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        patch = self.proj.stride[0]
        if images.shape[-2] % patch or images.shape[-1] % patch:
            raise ValueError(f"height and width must be multiples of the patch ({patch})")
        return self.proj(images).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head attention with one projection to query, key and value."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, context: Tensor | None = None, rope=()) -> Tensor:
        """[B, T, D] attend to a context [B, S, D], by default to themselves: [B, T, D]."""
        return self.merge(F.scaled_dot_product_attention(*self.heads_of(tokens, context, rope)))

    def weights(self, tokens: Tensor, context: Tensor | None = None, rope=()) -> Tensor:
        """Attention probabilities [B, H, T, S]."""
        query, key, _ = self.heads_of(tokens, context, rope)
        return attention_weights(query, key)

    def heads_of(self, tokens: Tensor, context: Tensor | None, rope) -> list[Tensor]:
        """Query [B, H, T, d]; key and value [B, H, S, d]."""
        if context is None:
            qkv = self.project(tokens)
        else:
            qkv = self.project(tokens, last=1) + self.project(context, first=1)
        return [rotated(x, *rope) for x in qkv[:2]] + qkv[2:] if rope else qkv

    def project(self, tokens: Tensor, first: int = 0, last: int = 3) -> list[Tensor]:
        """[B, T, D] -> query, key, value (those in first:last), each [B, H, T, d]."""
        rows = slice(first * tokens.shape[-1], last * tokens.shape[-1])
        x = F.linear(tokens, self.qkv.weight[rows], self.qkv.bias[rows])
        x = x.unflatten(-1, (last - first, self.heads, -1))
        return list(x.permute(2, 0, 3, 1, 4).unbind(0))

    def merge(self, x: Tensor) -> Tensor:
        """[B, H, T, d] -> [B, T, D], through the output projection."""
        return self.proj(x.transpose(1, 2).flatten(2))


class RegisterAttention(Attention):
    """The bottleneck L -> N -> N -> L. Head h owns n registers, and nothing else reads them:

        compress      C = softmax(q_R K_P^T / sqrt d) V_P     registers read the patches
        communicate   M = softmax(C C^T / sqrt d) C           registers of one head talk
        broadcast     O = softmax(Q_P M^T / sqrt d) M         patches read the registers

    A register goes through its own head's d rows of W_Q and d columns of W_O alone.
    """

    def __init__(self, width: int, heads: int, *, learned: bool, shared: bool):
        super().__init__(width, heads)
        self.shared = shared
        d = width // heads
        self.communicate = nn.Parameter(torch.zeros(3, heads, d, d)) if learned else None

    def among(self, registers: Tensor, of_patches: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What is added to registers [B, H, n, D] and patches [B, L, D], given normalised registers
        and the query, key and value of normalised patches."""
        query, key, value = of_patches
        compressed = F.scaled_dot_product_attention(self.queries(registers), key, value)
        talking = (compressed,) * 3
        if self.communicate is not None:
            talking = (compressed @ matrix for matrix in self.communicate)
        message = F.scaled_dot_product_attention(*talking)
        broadcast = F.scaled_dot_product_attention(query, message, message)
        return self.write(message).reshape(registers.shape), self.merge(broadcast)

    def compress_weights(self, registers: Tensor, patches: Tensor) -> Tensor:
        """[B, H, n, L]; of shared registers [B, H, N, L]."""
        (key,) = self.project(patches, first=1, last=2)
        return attention_weights(self.queries(registers), key)

    def queries(self, registers: Tensor) -> Tensor:
        """[B, H, n, D] -> [B, H, n, d]; of shared registers [B, H, N, d]."""
        if self.shared:
            return self.project(registers.flatten(1, 2), last=1)[0]
        width = registers.shape[-1]
        weight = self.qkv.weight[:width].unflatten(0, (self.heads, -1))
        bias = self.qkv.bias[:width].reshape(self.heads, 1, -1)
        return torch.einsum("bhnD,hdD->bhnd", registers, weight) + bias

    def write(self, message: Tensor) -> Tensor:
        """[B, H, n, d] -> [B, H, n, D]; of shared registers [B, H, N, d] -> [B, N, D]."""
        if self.shared:
            return self.merge(message)
        weight = self.proj.weight.unflatten(1, (self.heads, -1))
        return torch.einsum("bhnd,Dhd->bhnD", message, weight) + self.proj.bias


class MLP(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class GatedMLP(nn.Module):
    """SwiGLU: linear to gate and value, silu(gate) * value, linear."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class LayerScale(nn.Module):
    """One factor a feature."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """X += Attn(LN X); X += MLP(LN X). With a context, attention is to the context, which goes
    through the same LN."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        eps: float = 1e-6,
        layer_scale: bool = False,
        gated_mlp: bool = False,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = (GatedMLP if gated_mlp else MLP)(width, hidden)
        self.ls2 = LayerScale(width) if layer_scale else nn.Identity()

    def forward(self, x: Tensor, context: Tensor | None = None, rope=()) -> Tensor:
        """[B, T, D] -> [B, T, D]"""
        context = None if context is None else self.norm1(context)
        x = x + self.ls1(self.attn(self.norm1(x), context, rope))
        return x + self.ls2(self.mlp(self.norm2(x)))

    def attention(self, x: Tensor, context: Tensor | None = None, rope=()) -> Tensor:
        """Attention probabilities [B, H, T, S]."""
        context = None if context is None else self.norm1(context)
        return self.attn.weights(self.norm1(x), context, rope)


class RegisterBlock(nn.Module):
    """The block of RATS, on registers [B, H, n, D] and patches [B, L, D]."""

    def __init__(self, width: int, hidden: int, attention: RegisterAttention, *, parallel: str):
        super().__init__()
        self.parallel = parallel
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = attention
        if parallel == "separate":
            self.patch_attn = Attention(width, attention.heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, hidden)

    def forward(self, registers: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        to_registers, to_patches = self.attend(registers, patches)
        registers, patches = registers + to_registers, patches + to_patches
        return (
            registers + self.mlp(self.norm2(registers)),
            patches + self.mlp(self.norm2(patches)),
        )

    def attend(self, registers: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """What attention adds to registers and patches."""
        normed = self.norm1(patches)
        of_patches = self.attn.project(normed)
        to_registers, to_patches = self.attn.among(self.norm1(registers), of_patches)
        if self.parallel == "shared":
            to_patches = to_patches + self.attn.merge(F.scaled_dot_product_attention(*of_patches))
        elif self.parallel == "separate":
            to_patches = to_patches + self.patch_attn(normed)
        return to_registers, to_patches

    def attention(self, registers: Tensor, patches: Tensor) -> Tensor:
        """Compress attention of this block, [B, H, n, L]."""
        return self.attn.compress_weights(self.norm1(registers), self.norm1(patches))


def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """softmax(q k^T / sqrt d), [..., T, S]."""
    return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)


def bicubic_matrix(source: int, target: int, *, step: Tensor) -> Tensor:
    """[target, source], float64: resamples a row of points as F.interpolate(mode="bicubic") does,
    with A = -.75 and replicated borders; `step` (float64) is from sample to sample."""
    centres = (torch.arange(target, dtype=torch.float64, device=step.device) + 0.5) * step - 0.5
    first = centres.floor()
    taps = first[:, None] + torch.arange(-1, 3, device=step.device)
    weights = cubic(centres[:, None] - taps, a=-0.75)
    points = torch.arange(source, dtype=torch.float64, device=step.device)
    return (weights[..., None] * (taps.clamp(0, source - 1)[..., None] == points)).sum(1)


def antialiased_matrix(source: int, target: int, *, step: Tensor) -> Tensor:
    """As F.interpolate(mode="bicubic", antialias=True) does: A = -.5, wider where it shrinks,
    normalised at the borders."""
    centres = (torch.arange(target, dtype=torch.float64, device=step.device) + 0.5) * step
    points = torch.arange(source, dtype=torch.float64, device=step.device) + 0.5
    weights = cubic((points - centres[:, None]) / step.clamp(min=1), a=-0.5)
    return weights / weights.sum(1, keepdim=True)


def cubic(x: Tensor, *, a: float) -> Tensor:
    """The kernel of bicubic interpolation at a distance."""
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, near, far) * (x < 2)


def rope_angles(h: int, w: int, periods: Sequence[float], *, device) -> Tensor:
    """[L, d], float32: the angles of each patch: of its row, its column, and both again."""
    rows, columns = ((2 * torch.arange(size, device=device) + 1) / size - 1 for size in (h, w))
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2, 1)
    return (2 * torch.pi * places / torch.tensor(periods, device=device)).flatten(1).tile(2)


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Query or key [B, H, T, d] with the patches, which follow [CLS], turned by their angles."""
    last = 1 + angles.shape[0]
    patches = x[:, :, 1:last].float()
    first, second = patches.chunk(2, dim=-1)
    turned = patches * angles.cos() + torch.cat((-second, first), dim=-1) * angles.sin()
    return torch.cat((x[:, :, :1], turned.to(x.dtype), x[:, :, last:]), dim=2)
