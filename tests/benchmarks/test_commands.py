"""Every benchmark is started as `command_line.run` wants it."""

import ast
import inspect
from pathlib import Path

from rats_jax import command_line

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_benchmarks_start_as_commands_do():
    signature, calls = inspect.signature(command_line.run), []
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "command_line.run":
                names = {keyword.arg: keyword.value for keyword in node.keywords}
                signature.bind(*node.args, **names)  # TypeError for one that is missing
                calls.append(file.name)
    assert "train_step.py" in calls and len(calls) >= 5
