"""docs/architecture.md lists every module, in its folder."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Folders that the page describes as a whole.
WHOLE = ("procedural_parts", "preparation", "datasets", "classification", "files")


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
