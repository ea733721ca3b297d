"""docs/architecture.md lists every module, and every import obeys its rules of rooms."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Folders that the page describes as a whole.
WHOLE = (
    "configs",
    "procedural_parts",
    "preparation",
    "datasets",
    "classification",
    "files",
    "tasks",
    "evaluators",
)


def listed() -> set[str]:
    """The paths in the page's tree, relative to its top."""
    tree = (ROOT / "docs/architecture.md").read_text().split("```")[1]
    folders, found = {}, set()
    for line in tree.strip("\n").splitlines():
        depth = len(line) - len(line.lstrip())
        names = re.split(r"\s{2,}", line.strip())[0].split()
        for name in names:
            if name.endswith("/"):
                folders = {d: f for d, f in folders.items() if d < depth} | {depth: name}
            else:
                found.add("".join(folders[d] for d in sorted(folders) if d < depth) + name)
    return found


def test_every_module_is_listed_in_its_folder():
    modules = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "rats_jax").rglob("*.py")
        if file.name != "__init__.py" and not set(WHOLE) & set(file.parts)
    }
    found = {name for name in listed() if name.startswith("rats_jax/") and name.endswith(".py")}
    assert modules - found == set(), "not in docs/architecture.md"
    assert found - modules == set(), "in docs/architecture.md, and no file"


#: These know neither configs nor runs, and no command.
PURE = set(
    "models dino mask_head data parts segmentation classification pictures procedural_parts "
    "weights".split()
)
#: The work of one command each: only the entry points import it.
COMMANDS = set("evals gallery dictionaries finetuning preparation torch_export planning".split())
#: Modules at the top of the package that know nothing of configs and runs.
SHARED = {"errors", "files", "paths", "progress", "results_folder", "voice"}


def room_of(module: str) -> str:
    """The folder of rats_jax.FOLDER.x, or the module at the top of the package."""
    return module.split(".")[1] if "." in module else module


def imports(text: str) -> Iterator[str]:
    """The modules of the package that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rats_jax":
            if node.module == "rats_jax":
                yield from (f"rats_jax.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "rats_jax")


def broken_rules(room: str, text: str) -> list[str]:
    """What a file of this room imports and may not."""
    wrong = []
    for module in imports(text):
        other = room_of(module)
        if other == room:
            continue
        into_command = other in COMMANDS and (ROOT / "rats_jax" / room).is_dir()
        if into_command or (room in PURE and other not in PURE | SHARED):
            wrong.append(f"{room} imports {module}")
    return wrong


def test_every_import_obeys_the_rules_of_rooms():
    files = [f for f in (ROOT / "rats_jax").rglob("*.py") if "files" not in f.parts]
    rooms = {f: f.relative_to(ROOT / "rats_jax").parts[0].removesuffix(".py") for f in files}
    assert set(rooms.values()) >= PURE | COMMANDS
    wrong = [line for file, room in rooms.items() for line in broken_rules(room, file.read_text())]
    assert not wrong, wrong


def test_a_broken_rule_is_found():
    assert broken_rules("parts", "from rats_jax.runs.loop import train")
    assert broken_rules("data", "def late():\n    from rats_jax import config")
    assert broken_rules("runs", "import rats_jax.evals.part_evaluation")
    assert broken_rules("gallery", "from rats_jax.evals import vectors")
    assert not broken_rules("evals", "from rats_jax.runs.restore import restore")
    assert not broken_rules("evaluate", "from rats_jax.evals.request import Request")
    assert not broken_rules("data", "from rats_jax.errors import UserError")
