"""The recipes: one file each, whose get_config() starts from `rats_jax.config.default_config()`.

Those of `rats finetune` are in `finetune/` and start from `finetune_config()`. `--config=NAME`
finds both from any directory. In a clone, `configs` is a link to this folder.
"""

from pathlib import Path

from rats_jax.config_kinds import FINETUNE, TRAIN

FOLDER = Path(__file__).parent
FOLDERS = {TRAIN: FOLDER, FINETUNE: FOLDER / "finetune"}


def recipe_names(command: str = TRAIN) -> list[str]:
    """The names of all recipes of a command, sorted."""
    files = FOLDERS[command].glob("*.py")
    return sorted(file.stem for file in files if not file.stem.startswith("_"))


def recipe_file(name: str) -> Path | None:
    """The file of the recipe that is called NAME or NAME.py, of either command; None if there is no
    such recipe."""
    stem = name.removesuffix(".py")
    found = (FOLDERS[command] for command in FOLDERS if stem in recipe_names(command))
    return next((folder / f"{stem}.py" for folder in found), None)
