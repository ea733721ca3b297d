"""The blocks of RATS and ViT, written the long way, with timm/DINO key names.

Nothing here is saved or skipped: every token goes through the full qkv and output projections,
heads are a Python loop, and a register's row is a zero-filled D-wide vector. Drop path is absent.
Shapes: B images, T tokens, L patches, D width, H heads, d = D/H, n registers per head, N = nH.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt d) over the last two axes."""
    return ((q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5).softmax(dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt d) v over the last two axes."""
    return attention_weights(q, k) @ v


class Attention(nn.Module):
    """Multi-head attention with one fused qkv projection; keeps its latest `weights` [B, H, T, S]
    to look at."""

    def __init__(self, *, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def project(self, x: Tensor) -> Tensor:
        """[B, T, D] to q, k, v stacked: [3, B, H, T, d]."""
        B, T, D = x.shape
        return self.qkv(x).reshape(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Queries from x, keys and values from the context (x itself if None)."""
        q = self.project(x)[0]
        _, k, v = self.project(x if context is None else context)
        self.weights = attention_weights(q, k).detach()
        return self.proj(attend(q, k, v).transpose(1, 2).flatten(2))


class RegisterAttention(Attention):
    """Compress, communicate, broadcast (recipe.md section 1), over tokens X = [R; P].

    Head h owns n registers; with `shared` every head attends with all N. `learned` gives the
    communicate step its own q, k, v matrices [3, H, d, d], for each head and without bias.
    The latest compress step's weights stay in `compress_weights` [B, H, n or N, L].
    """

    def __init__(self, *, width: int, heads: int, per_head: int, shared: bool, learned: bool):
        super().__init__(width=width, heads=heads)
        self.per_head = per_head
        self.shared = shared
        if learned:
            d = width // heads
            self.communicate = nn.Parameter(torch.randn(3, heads, d, d) * 0.02)
        self.learned = learned

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        H, n = self.heads, self.per_head
        N, d = n * H, D // H
        q, k, v = self.project(x)
        register_rows = x.new_zeros(B, N, D)
        patch_rows = x.new_zeros(B, T - N, D)
        compress_weights = []
        for h in range(H):
            mine = slice(0, N) if self.shared else slice(h * n, (h + 1) * n)
            features = slice(h * d, (h + 1) * d)
            compressed = attend(q[:, h, mine], k[:, h, N:], v[:, h, N:])
            compress_weights.append(attention_weights(q[:, h, mine], k[:, h, N:]).detach())
            if self.learned:
                message = attend(*(compressed @ matrix for matrix in self.communicate[:, h]))
            else:
                message = attend(compressed, compressed, compressed)
            register_rows[:, mine, features] = message
            patch_rows[:, :, features] = attend(q[:, h, N:], message, message)
        self.compress_weights = torch.stack(compress_weights, dim=1)
        return self.proj(torch.cat((register_rows, patch_rows), dim=1))


class Mlp(nn.Module):
    def __init__(self, *, width: int, ratio: int):
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm block around a given attention; the residual stays with the queries."""

    def __init__(self, *, width: int, attention: nn.Module):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = attention
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width=width, ratio=4)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        inputs = (x,) if context is None else (x, context)
        x = x + self.attn(*(self.norm1(tokens) for tokens in inputs))
        return x + self.mlp(self.norm2(x))


class ParallelBlock(Block):
    """Equation 8: X + RegisterAttn(LN X) + MHSA(LN X), the second over the patches alone."""

    def __init__(self, *, width: int, attention: RegisterAttention, separate: bool):
        super().__init__(width=width, attention=attention)
        if separate:
            self.patch_attn = Attention(width=width, heads=attention.heads)
        self.separate = separate

    def forward(self, x: Tensor) -> Tensor:
        N = self.attn.per_head * self.attn.heads
        normed = self.norm1(x)
        patches = normed[:, N:]
        if self.separate:
            among_patches = self.patch_attn(patches)
        else:  # the ordinary attention with the register attention's own projections
            among_patches = Attention.forward(self.attn, patches)
        nothing = torch.zeros_like(normed[:, :N])
        x = x + self.attn(normed) + torch.cat((nothing, among_patches), dim=1)
        return x + self.mlp(self.norm2(x))
