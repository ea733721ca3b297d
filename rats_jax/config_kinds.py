"""The two kinds of configs, by the command that takes them: `rats train` and `rats finetune`.

Outside `rats_jax/config`, since importing that loads JAX.
"""

from collections.abc import Container

TRAIN, FINETUNE = "train", "finetune"

#: By command: a section that only its configs have, the function that makes its defaults, and a
#: recipe to begin with.
_SECTIONS = {TRAIN: "crops", FINETUNE: "decoder"}
DEFAULTS = {
    TRAIN: "rats_jax.config.default_config()",
    FINETUNE: "rats_jax.config.finetune_config()",
}
_FIRST = {TRAIN: "image_folder", FINETUNE: "masks"}


def command_of(config: Container) -> str:
    """The command that takes this config, or the dict of one: TRAIN or FINETUNE."""
    return FINETUNE if _SECTIONS[FINETUNE] in config else TRAIN


def ask(command: str) -> str:
    """That a recipe is to be named, with an example of this command."""
    return f"name a recipe, such as --config={_FIRST[command]}"


def wrong_command(config: Container, command: str, *, name: str) -> str | None:
    """That a config belongs to the other command, in one line; None if it does not.

    name: what the message calls it, such as --config=ade20k.
    """
    other = next(each for each in _SECTIONS if each != command)
    if _SECTIONS[other] not in config or _SECTIONS[command] in config:
        return None
    return (
        f"{name} is a config of rats {other}, not of rats {command}: use that command, or "
        f"{ask(command)}"
    )
