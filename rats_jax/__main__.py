"""rats COMMAND [FLAGS]

The same as python -m rats_jax COMMAND [FLAGS]. `rats COMMAND --help` lists the flags of a command.
"""

import difflib
import runpy
import sys

from rats_jax import usage
from rats_jax.command_line import fail
from rats_jax.voice import say

COMMANDS = {
    "demo": "Train a small RATS on drawings on a CPU, score it, and draw its parts.",
    "train": "Train with a recipe, or resume a run.",
    "finetune": "Train a backbone for semantic or instance segmentation.",
    "prepare": "Pack ImageNet, or any images, into shards for fast training.",
    "evaluate": "Score parts, consistency, dense probes, k-NN, a classifier, or outlier tokens.",
    "dictionary": "Make a dictionary of parts from the registers of many images, and score it.",
    "visualize": "Draw the parts that a model sees in images.",
    "reproduce": "Run the paper's tables and figures, beside the paper's numbers.",
    "export": "Export weights to PyTorch, transformers, timm or ONNX.",
    "plan": "Show what a training step needs, also on hardware that you do not have.",
}


def main() -> int:
    """Runs the command that the command line names; returns the exit status of help and version."""
    command, *rest = sys.argv[1:] or ["--help"]
    if command in COMMANDS:
        sys.argv = [f"rats {command}", *rest]
        runpy.run_module(f"rats_jax.{command}", run_name="__main__", alter_sys=True)
        return 0
    if command in usage.HELP:
        width = max(map(len, COMMANDS)) + 2
        lines = [f"  {name:{width}}{text}" for name, text in COMMANDS.items()]
        say("\n".join([__doc__.strip(), "", "Commands:", *lines]))
        return 0
    if command in usage.VERSION:
        say(usage.version_text())
        return 0
    close = difflib.get_close_matches(command, COMMANDS, n=1)
    meant = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(COMMANDS)}"
    fail(f"unknown command {command!r}: {meant}")


if __name__ == "__main__":
    sys.exit(main())
