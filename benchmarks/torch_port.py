"""The DINO training step of RATS and ViT in PyTorch, as a practitioner would write it for speed.

The yardstick of `train_step.py`. RATS is in the literal form of the paper: every token, register or
patch, goes through the full QKV and output projections. One fused attention kernel a step
(`scaled_dot_product_attention`), batched tensors, fused AdamW, `torch._foreach` for the rest; on a
GPU bf16 autocast and `torch.compile`. Keys are timm's; tests/benchmarks holds it to rats_jax.

Shapes: B images, V crops, T tokens, L patches, D width, H heads, d head width, n registers per
head, N = nH, K prototypes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sdpa = F.scaled_dot_product_attention


class Attention(nn.Module):
    """Multi-head self-attention [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key, value [B, H, T, d]."""
        return self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(sdpa(*self.project(x)).transpose(1, 2).flatten(2))


class RegisterAttention(Attention):
    """Compress, communicate, broadcast, over N registers and L patches in one [B, N + L, D]."""

    def __init__(self, width: int, heads: int, per_head: int):
        super().__init__(width, heads)
        self.per_head = per_head

    def forward(self, x: Tensor) -> Tensor:
        H, n = self.heads, self.per_head
        q, k, v = self.project(x)
        # The n queries that head h has of its own registers: the diagonal of [owner, head].
        owned = q[:, :, : H * n].unflatten(2, (H, n)).diagonal(dim1=1, dim2=2).permute(0, 3, 1, 2)
        compressed = sdpa(owned, k[:, :, H * n :], v[:, :, H * n :])
        message = sdpa(compressed, compressed, compressed)
        patches = sdpa(q[:, :, H * n :], message, message).transpose(1, 2).flatten(2)
        rows = torch.diag_embed(message.permute(0, 2, 3, 1))  # [B, n, d, H, H]: zero off the owner
        registers = rows.permute(0, 3, 1, 4, 2).reshape(len(x), H * n, -1)
        return self.proj(torch.cat((registers, patches), dim=1))


class Mlp(nn.Module):
    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, attention: Attention, mlp_ratio: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = attention
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """keep: [2, B, 1, 1], what each residual is multiplied by; None for no drop path."""
        if keep is None:
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        x = x + self.attn(self.norm1(x)) * keep[0]
        return x + self.mlp(self.norm2(x)) * keep[1]


class PatchEmbed(nn.Module):
    def __init__(self, width: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class Backbone(nn.Module):
    """RATS (its registers lead the tokens) or ViT ([CLS] leads, plain registers end them).

    `model` is config.model, `image_size` the pixels of the positions' own grid.
    """

    def __init__(self, model: dict, image_size: int):
        super().__init__()
        width, heads, self.patch = model["width"], model["heads"], model["patch"]
        self.is_rats = model["architecture"] == "rats"
        self.offset = model["position_offset"]
        self.patch_embed = PatchEmbed(width, self.patch)
        patches = (image_size // self.patch) ** 2
        self.pos_embed = nn.Parameter(torch.empty(1, patches + (not self.is_rats), width))
        registers = model["plain_registers"]
        if self.is_rats:
            registers = heads * model["registers_per_head"]
        else:
            self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        if registers:
            self.registers = nn.Parameter(torch.empty(1, registers, width))

        def attention():
            if self.is_rats:
                return RegisterAttention(width, heads, model["registers_per_head"])
            return Attention(width, heads)

        self.blocks = nn.ModuleList(
            Block(width, attention(), model["mlp_ratio"]) for _ in range(model["depth"])
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.register_buffer(
            "drop",
            torch.linspace(0, model["drop_path"], model["depth"]).view(-1, 1, 1, 1, 1),
            False,
        )
        self.drop_path = model["drop_path"]

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, h, w] -> global vectors [B, D]."""
        batch = len(images)
        tokens = [self.patch_embed(images) + self._positions(images)]
        if self.is_rats:
            tokens.insert(0, self.registers.expand(batch, -1, -1))
        else:
            tokens.insert(0, (self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1))
            if hasattr(self, "registers"):
                tokens.append(self.registers.expand(batch, -1, -1))
        x = torch.cat(tokens, dim=1)
        keep = [None] * len(self.blocks)
        if self.training and self.drop_path:
            shape = len(self.blocks), 2, batch, 1, 1
            keep = (torch.rand(shape, device=x.device) >= self.drop) / (1 - self.drop)
        for block, layer_keep in zip(self.blocks, keep, strict=True):
            x = block(x, layer_keep)
        x = self.norm(x)
        return x[:, : self.registers.shape[1]].mean(1) if self.is_rats else x[:, 0]

    def _positions(self, images: Tensor) -> Tensor:
        table = self.pos_embed if self.is_rats else self.pos_embed[:, 1:]
        native, grid = round(table.shape[1] ** 0.5), images.shape[-1] // self.patch
        if grid == native:
            return table
        table = table.unflatten(1, (native, native)).permute(0, 3, 1, 2)
        scale = (grid + self.offset) / native
        table = F.interpolate(table, scale_factor=(scale, scale), mode="bicubic")
        return table.flatten(2).transpose(1, 2)


class WeightNormLinear(nn.Module):
    def __init__(self, inputs: int, outputs: int, train_gain: bool):
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(outputs, 1), requires_grad=train_gain)
        self.weight_v = nn.Parameter(torch.empty(outputs, inputs).uniform_(-1, 1) / inputs**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, torch._weight_norm(self.weight_v, self.weight_g, 0))


class DINOHead(nn.Module):
    def __init__(self, width: int, head: dict):
        super().__init__()
        hidden, bottleneck = head["hidden"], head["bottleneck"]
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        train_gain = not head["norm_last_layer"]
        self.last_layer = WeightNormLinear(bottleneck, head["prototypes"], train_gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))


class Network(nn.Module):
    """Backbone and head, from crops {name: [B, V, 3, h, w]} to logits [B, sum of V, K]."""

    def __init__(self, config: dict):
        super().__init__()
        self.backbone = Backbone(config["model"], config["crops"]["global_size"])
        self.head = DINOHead(config["model"]["width"], config["head"])
        for name, parameter in self.named_parameters():
            if "last_layer" in name or "patch_embed" in name or "norm" in name:
                continue
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(
                parameter, 0, 0.02
            )

    def forward(self, *crops: Tensor) -> Tensor:
        vectors = [self.backbone(x.flatten(0, 1)).unflatten(0, x.shape[:2]) for x in crops]
        return self.head(torch.cat(vectors, dim=1))


class Trainer:
    """Student, teacher, AdamW and center; `config` is the run's config as plain dicts.

    autocast: bf16 matrix products, on a GPU. compiled: through torch.compile, on a GPU.
    """

    def __init__(self, config: dict, *, device: str, autocast: bool, compiled: bool):
        self.device, self.autocast = device, autocast
        self.student, self.teacher = (Network(config).to(device) for _ in range(2))
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False).eval()
        self.center = torch.zeros(config["head"]["prototypes"], device=device)
        self.center_momentum = config["dino"]["center_momentum"]
        self.student_temperature = config["dino"]["student_temperature"]
        self.clip = config["optimizer"]["clip"]
        trained = [(n, p) for n, p in self.student.named_parameters() if p.requires_grad]
        spared = [p for n, p in trained if n.endswith("bias") or p.ndim == 1]
        decayed = [p for n, p in trained if not (n.endswith("bias") or p.ndim == 1)]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed}, {"params": spared, "weight_decay": 0.0}], fused=True
        )
        self._loss = torch.compile(self.loss) if compiled else self.loss

    def loss(
        self, center: Tensor, temperature: Tensor, globals_: Tensor, locals_: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(mean cross-entropy over the pairs of a teacher crop and another student crop, the mean
        teacher logits [K])."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            with torch.no_grad():
                teacher = self.teacher(globals_)
            student = (
                self.student(globals_, locals_) if locals_.shape[1] else self.student(globals_)
            )
        teacher = teacher.float()
        targets = F.softmax((teacher - center) / temperature, dim=-1)
        log_probabilities = F.log_softmax(student.float() / self.student_temperature, dim=-1)
        terms = torch.bmm(log_probabilities, targets.transpose(1, 2))  # [B, V, 2]
        pairs = 2 * terms.shape[1] - 2
        loss = (torch.einsum("bii->", terms[:, :2]) - terms.sum()) / (pairs * len(terms))
        return loss, teacher.mean((0, 1))

    def step(
        self,
        crops: dict[str, Tensor],
        *,
        learning_rate: float,
        weight_decay: float,
        momentum: float,
        temperature: float,
        last_layer_frozen: bool = False,
    ) -> Tensor:
        """Official order; crops {"global": [B, 2, 3, h, w], "local": [B, V, 3, h, w]}."""
        temperature = torch.tensor(temperature, device=self.device)
        loss, mean_logits = self._loss(self.center, temperature, crops["global"], crops["local"])
        self.center = self.center.lerp(mean_logits, 1 - self.center_momentum)
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip:
            clip_by_tensor(
                [p.grad for p in self.student.parameters() if p.grad is not None], self.clip
            )
        if last_layer_frozen:
            for parameter in self.student.head.last_layer.parameters():
                parameter.grad = None
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.param_groups[0]["weight_decay"] = weight_decay
        self.optimizer.step()
        with torch.no_grad():
            student, teacher = (list(m.parameters()) for m in (self.student, self.teacher))
            torch._foreach_lerp_(teacher, student, 1 - momentum)
        return loss.detach()


def clip_by_tensor(gradients: list[Tensor], clip: float) -> None:
    """Scale down each tensor whose norm is over `clip`, without waiting for the device."""
    scales = torch._foreach_add(torch._foreach_norm(gradients), 1e-6)
    scales = torch._foreach_mul(torch._foreach_reciprocal(scales), clip)
    torch._foreach_clamp_max_(scales, 1)
    torch._foreach_mul_(gradients, scales)
