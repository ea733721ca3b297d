"""The state of training as tensors by name, for checkpoints, and back."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from rats_jax.finetuning.mask2former.checkpoints import State
from rats_jax.finetuning.mask2former.step import TrainStep


def state_of(
    train_step: TrainStep,
    step: int,
    *,
    scaler: Any,
    metrics: Mapping[str, float],
    about: Mapping[str, Any],
) -> State:
    """What a checkpoint has after `step` steps. scaler: of the loss; None without one."""
    model, optimizer = train_step.bare_model, train_step.optimizer
    names = _names(model)
    values = {
        f"{names[id(parameter)]}:{name}": value
        for parameter, of_parameter in optimizer.state.items()
        for name, value in of_parameter.items()
    }
    return State(
        step=step,
        model=model.state_dict(),
        optimizer=values,
        scale=scaler.state_dict() if scaler else {},
        counts={"skipped": train_step.skipped, "in_a_row": train_step.in_a_row},
        metrics=metrics,
        about=about,
    )


def continue_from(state: State, train_step: TrainStep, *, scaler: Any) -> None:
    """Sets model, optimizer and loss scale to those of a checkpoint."""
    model, optimizer = train_step.bare_model, train_step.optimizer
    model.load_state_dict(state.model)
    names, like = _names(model), optimizer.state_dict()
    order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    numbers = {name: number for number, name in enumerate(order)}
    values: dict[int, dict] = {}
    for key, value in state.optimizer.items():
        parameter, _, name = key.rpartition(":")
        values.setdefault(numbers[parameter], {})[name] = value
    optimizer.load_state_dict({"state": values, "param_groups": like["param_groups"]})
    if scaler and state.scale:
        scaler.load_state_dict(dict(state.scale))
    train_step.skipped, train_step.in_a_row = state.counts["skipped"], state.counts["in_a_row"]


def _names(model: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}
