"""A step: the loss of a whole batch however it is divided, clipping, and steps that are skipped."""

import copy
import math

import pytest
import torch

from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former.processes import open_processes
from rats_jax.finetuning.mask2former.state import continue_from, state_of
from rats_jax.finetuning.mask2former.step import TrainStep
from rats_jax.finetuning.mask2former.targets import Part, Target
from tests.finetuning.mask2former.tiny import CLASSES, TinySegmenter

IMAGES = 4


def rate(step: int) -> float:
    return 1e-2 * (1 - step / 10)


def batch(seed: int) -> Part:
    """Images with 0 to 8 masks, more than there are queries."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand((IMAGES, 3, 16, 16), generator=generator) * 255
    counts = [3, 0, 8, 1]
    targets = [
        Target(
            torch.rand((n, 16, 16), generator=generator) < 0.5,
            torch.randint(CLASSES, (n,), generator=generator),
        )
        for n in counts
    ]
    return Part(images, targets)


def divided(part: Part, count: int) -> list[Part]:
    rows = IMAGES // count
    return [
        Part(part.images[i : i + rows], part.targets[i : i + rows]) for i in range(0, IMAGES, rows)
    ]


@pytest.fixture
def processes():
    with open_processes("float32") as opened:
        yield opened


def make(processes, **options) -> TrainStep:
    torch.manual_seed(0)
    model = TinySegmenter()
    groups = [
        {"params": list(model.masks.parameters()), "lr": 1e-2, "weight_decay": 0.1},
        {"params": list(model.classes.parameters()), "lr": 1e-3, "weight_decay": 0.0},
    ]
    options = {"clip": 0.05, "no_object": 0.1} | options
    return TrainStep(model, groups, processes, rate=rate, peak=1e-2, seed=0, **options)


def steps(train: TrainStep, numbers, parts: int = 1) -> list[dict]:
    counts = [len(target.classes) for target in batch(0).targets]
    return [train(n, divided(batch(n), parts), counts) for n in numbers]


def weights(train: TrainStep) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in train.bare_model.parameters()])


def test_a_step_is_adamw_on_the_clipped_gradient_of_the_loss(processes):
    train = make(processes)
    model = copy.deepcopy(train.bare_model)
    optimizer = torch.optim.AdamW(
        [
            {"params": model.masks.parameters(), "weight_decay": 0.1},
            {"params": model.classes.parameters(), "weight_decay": 0.0},
        ]
    )
    for n, found in zip((1, 2, 3), steps(train, (1, 2, 3)), strict=True):
        optimizer.param_groups[0]["lr"] = rate(n - 1)
        optimizer.param_groups[1]["lr"] = rate(n - 1) / 10
        optimizer.zero_grad()
        loss = sum(model(*batch(n))[2].values())
        loss.backward()
        norm = math.sqrt(sum(p.grad.double().square().sum() for p in model.parameters()))
        for parameter in model.parameters():
            parameter.grad *= min(0.05 / norm, 1)
        optimizer.step()
        assert norm > 0.05
        assert found["loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
        assert found["gradient_norm"] == pytest.approx(norm, rel=1e-5)
        assert found["learning_rate"] == rate(n - 1)
    ours = weights(train)
    reference = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert torch.allclose(ours, reference, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_has_the_same_loss_and_gradient(processes, parts):
    whole, divided = make(processes, clip=0.0), make(processes, clip=0.0)
    found = zip(steps(whole, (1, 2)), steps(divided, (1, 2), parts), strict=True)
    for ours, theirs in found:
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert torch.allclose(weights(whole), weights(divided), atol=1e-6)


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(processes):
    train = make(processes)
    steps(train, (1,))
    before = copy.deepcopy((weights(train), train.optimizer.state_dict()["state"]))
    part = batch(2)
    part.images[1, 0, 0, 0] = math.nan
    for n in (1, 2):
        metrics = train(2, [part], [3, 0, 8, 1])
        assert math.isnan(metrics["loss"])
        assert metrics["skipped_steps"] == metrics["skipped_in_a_row"] == n
    assert torch.equal(weights(train), before[0])
    for number, values in train.optimizer.state_dict()["state"].items():
        assert all(torch.equal(x, before[1][number][name]) for name, x in values.items())
    (metrics,) = steps(train, (3,))
    assert (metrics["skipped_steps"], metrics["skipped_in_a_row"]) == (2, 0)
    assert not torch.equal(weights(train), before[0])


def test_a_state_continues_bit_for_bit(processes):
    whole, first, second = make(processes), make(processes), make(processes)
    found = steps(whole, (1, 2, 3, 4))
    steps(first, (1, 2))
    state = state_of(first, 2, scaler=None, metrics={}, about={})
    continue_from(state, second, scaler=None)
    assert steps(second, (3, 4)) == found[2:]
    assert torch.equal(weights(second), weights(whole))


def test_random_points_depend_on_the_step_and_the_part(processes):
    train, drawn = make(processes), []
    train.model.register_forward_pre_hook(lambda *_: drawn.append(float(torch.rand(()))))
    steps(train, (1, 2), parts=2)
    torch.manual_seed(7)
    steps(train, (2, 3), parts=2)
    assert drawn[4:6] == drawn[2:4]
    assert len(set(drawn)) == 6


def test_float16_needs_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with (
        pytest.raises(UserError, match="float16 needs a GPU: choose bfloat16"),
        open_processes("float16"),
    ):
        pass


def test_bfloat16_computes_in_bfloat16_with_float32_weights():
    with open_processes("bfloat16") as processes:
        train, seen = make(processes), []
        train.bare_model.masks.register_forward_hook(lambda *given: seen.append(given[2].dtype))
        steps(train, (1,))
    assert seen == [torch.bfloat16]
    assert weights(train).dtype == torch.float32
