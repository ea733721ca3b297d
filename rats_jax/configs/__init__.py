"""The recipes: one file each, whose get_config() starts from `rats_jax.config.default_config()`.

`--config=NAME` finds them from any directory. In a clone, `configs` is a link to this folder.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """The names of all recipes, sorted."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if not file.stem.startswith("_"))


def recipe_file(name: str) -> Path | None:
    """The file of the recipe that is called NAME or NAME.py; None if there is no such recipe."""
    stem = name.removesuffix(".py")
    return FOLDER / f"{stem}.py" if stem in recipe_names() else None
