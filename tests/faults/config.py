"""The run that the campaign breaks: 60 steps that take milliseconds, a checkpoint every fifth."""

import os

from tests.runs.tiny import tiny_config


def get_config():
    config = tiny_config()
    config.crops.local_crops = 0  # a start takes half the time with one resolution
    config.optimizer.epochs = 12.0  # of 5 steps
    config.run.checkpoint_every = 5
    config.guards.collapse = "off"  # and less without the monitor
    config.run.compilation_cache = os.environ["VICTIM_CACHE"]
    return config
