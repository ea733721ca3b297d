"""A backbone of rats_jax as the state dict of modeling_rats.py, in its fine-tuning form (Eq. 8)."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rats_jax.backbones import Backbone
from rats_jax.errors import UserError
from rats_jax.models.options import Options, RATSOptions
from rats_jax.weights import names

SECOND, OWN = ".patch_attn.", ".attn."


def fine_tuned(backbone: Backbone, *, parallel: str, start: str) -> tuple[Options, dict, list[str]]:
    """Options and state dict of the fine-tuning form, and the names of tensors that are new.

    parallel: "shared", "separate" or "none", for RATS alone; other backbones stay as they are.
    start: of the second set of projections ("separate"), if the backbone has none yet: "copy" of
        the block's own, or "zero", a copy whose output projection is 0.

    Raises:
      UserError: the backbone has a second set of projections, and `parallel` would drop it.
    """
    options = backbone.options
    state = {name: _tensor(array) for name, array in names.to_torch(backbone.params).items()}
    if not isinstance(options, RATSOptions):
        return options, state, []
    if any(SECOND in name for name in state):
        if parallel != "separate":
            raise UserError(
                "the checkpoint has a second set of attention projections (parallel=separate), "
                f"which config.model.parallel={parallel} would drop: choose separate"
            )
        return options, state, []
    new = second_projections(state, start) if parallel == "separate" else {}
    return replace(options, parallel=parallel), state | new, sorted(new)


def second_projections(state: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    """The parallel path's own projections, made of those that the blocks have."""
    new = {}
    for name, tensor in state.items():
        if OWN in name and not name.endswith("communicate"):
            zero = start == "zero" and ".proj." in name
            new[name.replace(OWN, SECOND)] = torch.zeros_like(tensor) if zero else tensor.clone()
    return new


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32))
