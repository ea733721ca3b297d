"""RATS, ViT and Perceiver-IO style encoders with timm/DINO key names, over `blocks.py`."""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.torch_reference.blocks import Attention, Block, ParallelBlock, RegisterAttention


@dataclasses.dataclass
class Features:
    """registers [B, N, D] (N may be 0 for a ViT), patches [B, L, D], global_vector [B, D]."""

    registers: Tensor
    patches: Tensor
    global_vector: Tensor


class PatchEmbed(nn.Module):
    """Images [B, 3, h, w] to patches [B, L, D], row by row."""

    def __init__(self, *, width: int, patch_size: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


def interpolate_positions(table: Tensor, *, rows: int, columns: int, offset: bool) -> Tensor:
    """Learned positions [1, g*g, D] at another grid: [1, rows*columns, D].

    Official DINO (`interpolate_pos_encoding`) asks for a scale of (size + 0.1) / g, which is the
    sampling step bicubic interpolation then uses; `offset=False` asks for the plain size.
    """
    g = round(table.shape[1] ** 0.5)
    if (rows, columns) == (g, g):
        return table
    image = table.reshape(1, g, g, -1).permute(0, 3, 1, 2)
    if offset:
        scale = ((rows + 0.1) / g, (columns + 0.1) / g)
        image = F.interpolate(image, scale_factor=scale, mode="bicubic")
    else:
        image = F.interpolate(image, size=(rows, columns), mode="bicubic")
    assert image.shape[-2:] == (rows, columns)
    return image.permute(0, 2, 3, 1).reshape(1, rows * columns, -1)


class Encoder(nn.Module):
    """What every encoder has: patch embedding, positions of the patches, blocks, final norm."""

    def __init__(
        self,
        *,
        blocks: list[nn.Module],
        width: int,
        patch_size: int,
        image_size: int,
        leading_positions: int = 0,
        offset: bool = True,
    ):
        super().__init__()
        self.patch_size, self.offset, self.leading = patch_size, offset, leading_positions
        self.patch_embed = PatchEmbed(width=width, patch_size=patch_size)
        L = (image_size // patch_size) ** 2
        self.pos_embed = nn.Parameter(torch.randn(1, leading_positions + L, width) * 0.02)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def embed_patches(self, images: Tensor) -> Tensor:
        rows, columns = (size // self.patch_size for size in images.shape[-2:])
        table = self.pos_embed[:, self.leading :]
        return self.patch_embed(images) + interpolate_positions(
            table, rows=rows, columns=columns, offset=self.offset
        )


class RATS(Encoder):
    """Register Attention Transformer. The registers are [1, N, D], head 0's n first.

    parallel: None, "shared" or "separate" (Equation 8's second attention and its projections).
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        per_head: int,
        patch_size: int = 16,
        image_size: int = 224,
        shared: bool = False,
        learned: bool = False,
        parallel: str | None = None,
        offset: bool = True,
    ):
        def block() -> nn.Module:
            attention = RegisterAttention(
                width=width, heads=heads, per_head=per_head, shared=shared, learned=learned
            )
            if parallel is None:
                return Block(width=width, attention=attention)
            return ParallelBlock(
                width=width, attention=attention, separate={"shared": 0, "separate": 1}[parallel]
            )

        super().__init__(
            blocks=[block() for _ in range(depth)],
            width=width,
            patch_size=patch_size,
            image_size=image_size,
            offset=offset,
        )
        self.registers = nn.Parameter(torch.randn(1, heads * per_head, width) * 0.02)

    def forward(self, images: Tensor) -> Features:
        N = self.registers.shape[1]
        x = torch.cat((self.registers.expand(len(images), -1, -1), self.embed_patches(images)), 1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return Features(x[:, :N], x[:, N:], x[:, :N].mean(dim=1))


class ViT(Encoder):
    """[CLS], patches and R plain registers (Darcet et al. 2023). The global vector is [CLS]."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        registers: int = 0,
        patch_size: int = 16,
        image_size: int = 224,
        offset: bool = True,
    ):
        blocks = [
            Block(width=width, attention=Attention(width=width, heads=heads)) for _ in range(depth)
        ]
        super().__init__(
            blocks=blocks,
            width=width,
            patch_size=patch_size,
            image_size=image_size,
            leading_positions=1,
            offset=offset,
        )
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        if registers:
            self.registers = nn.Parameter(torch.randn(1, registers, width) * 0.02)

    def forward(self, images: Tensor) -> Features:
        B, patches = len(images), self.embed_patches(images)
        tokens = [(self.cls_token + self.pos_embed[:, :1]).expand(B, -1, -1), patches]
        if hasattr(self, "registers"):
            tokens.append(self.registers.expand(B, -1, -1))
        x = torch.cat(tokens, dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        last_patch = 1 + patches.shape[1]
        return Features(x[:, last_patch:], x[:, 1:last_patch], x[:, 0])


class Perceiver(Encoder):
    """Latents read the patches, think, and are read by output queries; blocks as in ViT.

    No layer changes the patches; they are returned after the final norm.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        latents: int = 80,
        queries: int = 96,
        patch_size: int = 16,
        image_size: int = 224,
        offset: bool = True,
    ):
        blocks = [
            Block(width=width, attention=Attention(width=width, heads=heads)) for _ in range(depth)
        ]
        super().__init__(
            blocks=blocks, width=width, patch_size=patch_size, image_size=image_size, offset=offset
        )
        self.latents = nn.Parameter(torch.randn(1, latents, width) * 0.02)
        self.queries = nn.Parameter(torch.randn(1, queries, width) * 0.02)

    def forward(self, images: Tensor) -> Features:
        B = len(images)
        read_in, *thinking, read_out = self.blocks
        patches = self.embed_patches(images)
        latents = read_in(self.latents.expand(B, -1, -1), patches)
        for block in thinking:
            latents = block(latents)
        outputs = self.norm(read_out(self.queries.expand(B, -1, -1), latents))
        return Features(outputs, self.norm(patches), outputs.mean(dim=1))
