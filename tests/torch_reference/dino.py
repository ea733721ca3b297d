"""DINO v1's training iteration in plain PyTorch: fp32, one process, every step spelled out.

Follows the semantics of the official `main_dino.py`, `utils.py` and `vision_transformer.py`.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WeightNormLinear(nn.Module):
    """y = x (g v / |v|)^T, the old `nn.utils.weight_norm`: weight_g [K, 1], weight_v [K, in]."""

    def __init__(self, inputs: int, outputs: int, *, train_gain: bool):
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(outputs, 1), requires_grad=train_gain)
        self.weight_v = nn.Parameter(torch.randn(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_g * self.weight_v / self.weight_v.norm(dim=1, keepdim=True)
        return F.linear(x, weight)


class DINOHead(nn.Module):
    """Global vectors [B, D] to logits [B, K]."""

    def __init__(
        self,
        width: int,
        *,
        prototypes: int,
        hidden: int = 2048,
        bottleneck: int = 256,
        norm_last_layer: bool = True,
    ):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last_layer = WeightNormLinear(bottleneck, prototypes, train_gain=not norm_last_layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), p=2, dim=-1))


class MultiCropWrapper(nn.Module):
    """One backbone pass for each run of equal-sized crops, one head pass over everything."""

    def __init__(self, backbone: nn.Module, head: DINOHead):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, crops: list[Tensor]) -> Tensor:
        """Crops of [B, 3, s, s] to logits [V*B, K], crop-major."""
        vectors, group = [], []
        for i, crop in enumerate(crops):
            group.append(crop)
            if i + 1 == len(crops) or crops[i + 1].shape[-1] != crop.shape[-1]:
                vectors.append(self.backbone(torch.cat(group)).global_vector)
                group = []
        return self.head(torch.cat(vectors))


class DINOLoss:
    """Cross-entropy of every (teacher global i, student crop j != i) pair; holds the center."""

    def __init__(
        self, *, prototypes: int, student_temperature: float = 0.1, center_momentum: float = 0.9
    ):
        self.center = torch.zeros(1, prototypes)
        self.student_temperature = student_temperature
        self.center_momentum = center_momentum

    def __call__(
        self, student: Tensor, teacher: Tensor, *, crops: int, teacher_temperature: float
    ) -> Tensor:
        """Student logits [V*B, K] and teacher logits [2*B, K] to a scalar; moves the center."""
        targets = F.softmax((teacher - self.center) / teacher_temperature, dim=-1).detach()
        log_probabilities = F.log_softmax(student / self.student_temperature, dim=-1).chunk(crops)
        terms = [
            torch.sum(-target * log_probability, dim=-1).mean()
            for i, target in enumerate(targets.chunk(2))
            for j, log_probability in enumerate(log_probabilities)
            if i != j
        ]
        batch_center = teacher.detach().mean(dim=0, keepdim=True)
        m = self.center_momentum
        self.center = self.center * m + batch_center * (1 - m)
        return sum(terms) / len(terms)


def cosine_scheduler(
    base: float, final: float, *, epochs: int, steps_per_epoch: int, warmup_epochs: int = 0
) -> np.ndarray:
    """One value an iteration, float64 [epochs * steps_per_epoch]."""
    warmup = np.linspace(0, base, warmup_epochs * steps_per_epoch)
    n = (epochs - warmup_epochs) * steps_per_epoch
    return np.concatenate(
        [warmup, final + 0.5 * (base - final) * (1 + np.cos(np.pi * np.arange(n) / n))]
    )


def teacher_temperatures(
    first: float, last: float, *, warmup_epochs: int, epochs: int
) -> np.ndarray:
    """One value an epoch, float64 [epochs]."""
    warmup = np.linspace(first, last, warmup_epochs)
    return np.concatenate([warmup, np.full(epochs - warmup_epochs, last)])


def parameter_groups(module: nn.Module) -> list[dict]:
    """First what is decayed, then biases and vectors, which are not; the frozen in neither."""
    decayed, spared = [], []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            spare = name.endswith(".bias") or parameter.ndim == 1
            (spared if spare else decayed).append(parameter)
    return [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]


class OfficialTrainer:
    """One student, one teacher, one AdamW, in the official order of things.

    learning_rate, weight_decay and momentum have one entry an iteration, teacher_temperature one
    an epoch. `clip` is a bound on each parameter tensor's own norm (None: off).
    """

    def __init__(
        self,
        *,
        student: MultiCropWrapper,
        teacher: MultiCropWrapper,
        learning_rate: np.ndarray,
        weight_decay: np.ndarray,
        momentum: np.ndarray,
        teacher_temperature: np.ndarray,
        steps_per_epoch: int,
        freeze_last_layer_epochs: int,
        clip: float | None,
    ):
        self.student, self.teacher = student, teacher
        teacher.load_state_dict(student.state_dict())
        teacher.requires_grad_(False)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.momentum, self.teacher_temperature = momentum, teacher_temperature
        self.steps_per_epoch = steps_per_epoch
        self.freeze_last_layer_epochs = freeze_last_layer_epochs
        self.clip = clip
        self.loss = DINOLoss(prototypes=student.head.last_layer.weight_v.shape[0])
        self.optimizer = torch.optim.AdamW(parameter_groups(student))
        self.iteration = 0
        self.gradient_norms: dict[str, float] = {}  # of the latest step, before clipping

    def step(self, crops: list[Tensor]) -> float:
        """Crops [global 0, global 1, local...], each [B, 3, s, s], to this iteration's loss."""
        it, epoch = self.iteration, self.iteration // self.steps_per_epoch
        decayed, spared = self.optimizer.param_groups
        decayed["lr"] = spared["lr"] = self.learning_rate[it]
        decayed["weight_decay"] = self.weight_decay[it]

        with torch.no_grad():
            teacher = self.teacher(crops[:2])
        loss = self.loss(
            self.student(crops),
            teacher,
            crops=len(crops),
            teacher_temperature=self.teacher_temperature[epoch],
        )
        self.optimizer.zero_grad()
        loss.backward()
        self._clip_each_tensor()
        if epoch < self.freeze_last_layer_epochs:
            for parameter in self.student.head.last_layer.parameters():
                parameter.grad = None  # AdamW passes it over: no decay, no moments, no count
        self.optimizer.step()

        m = self.momentum[it]
        with torch.no_grad():
            pairs = zip(self.student.parameters(), self.teacher.parameters(), strict=True)
            for student, teacher in pairs:
                teacher.mul_(m).add_((1 - m) * student)
        self.iteration += 1
        return loss.item()

    def _clip_each_tensor(self) -> None:
        for name, parameter in self.student.named_parameters():
            if parameter.grad is None:
                continue
            norm = parameter.grad.norm()
            self.gradient_norms[name] = norm.item()
            if self.clip and (coefficient := self.clip / (norm + 1e-6)) < 1:
                parameter.grad.mul_(coefficient)
