"""`rats finetune --decoder=mask2former`: trains and scores a model in PyTorch."""

from pathlib import Path

import torch
from ml_collections import ConfigDict

from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former.checkpoints import State, TorchCheckpoints
from rats_jax.finetuning.mask2former.evaluation import Evaluation
from rats_jax.finetuning.mask2former.finish import finish, write_results
from rats_jax.finetuning.mask2former.groups import parameter_groups
from rats_jax.finetuning.mask2former.loop import take_steps
from rats_jax.finetuning.mask2former.memory import explained_memory
from rats_jax.finetuning.mask2former.model import make_model
from rats_jax.finetuning.mask2former.opened import OpenRun
from rats_jax.finetuning.mask2former.opening import (
    check_same_images,
    described,
    first_backbone,
    open_folder,
    open_images,
    without_weights,
)
from rats_jax.finetuning.mask2former.processes import Processes, open_processes
from rats_jax.finetuning.mask2former.state import continue_from
from rats_jax.finetuning.mask2former.step import TrainStep
...
