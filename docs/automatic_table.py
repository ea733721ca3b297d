"""python docs/automatic_table.py: writes the rules to the table of docs/train_on_your_images.md."""

import re
from collections.abc import Iterator
from pathlib import Path

import jax

from rats_jax.assemble import without_automatic
from rats_jax.config import fields, value
from rats_jax.config.automatic_rules import RULES
from rats_jax.config_flag import load_recipe
from rats_jax.planning.hardware import GPUS as GPUS_OF_PLANS
from rats_jax.planning.topology import FRACTION, RESERVE

PAGE = Path(__file__).parent / "train_on_your_images.md"
BETWEEN = re.compile(r"(<!-- rules: by automatic_table.py -->\n).*?(<!-- end -->)", re.DOTALL)
IMAGES = {
    "200": 200,
    "1k": 1000,
    "2k": 2000,
    "10k": 10_000,
    "11,834": 11_834,
    "100k": 100_000,
    "500k": 500_000,
    "1.28M": 1_281_167,
}
GPUS = {
    "RTX 4090, 24 GB": "rtx4090",
    "H100, 80 GB": "h100",
}


def filled(page: str) -> str:
    """The page with the table as the rules make it now."""
    return BETWEEN.sub(lambda at: at[1] + "\n".join(rows()) + "\n" + at[2], page)


def rows() -> Iterator[str]:
    by_name = {field.name: field for field in fields()}
    configs = {
        gpu: [_chosen(images, _usable(name)) for images in IMAGES.values()]
        for gpu, name in GPUS.items()
    }
    yield f"| field | {' | '.join(IMAGES)} | rule | source |"
    yield "|---" * (len(IMAGES) + 3) + "|"
    for rule in RULES:
        if rule.field == "compute_dtype":
            continue
        of_gpu = {
            gpu: [_shown(value(config, by_name[rule.field])) for config in chosen]
            for gpu, chosen in configs.items()
        }
        same = len({tuple(cells) for cells in of_gpu.values()}) == 1
        for gpu, cells in list(of_gpu.items())[: 1 if same else None]:
            name = f"`{rule.field}`" if same else f"`{rule.field}`, {gpu}"
            yield f"| {name} | {' | '.join(cells)} | {rule.text} | {rule.source} |"


def _usable(name: str) -> int:
    """Bytes of this GPU that a step may use where no setting says otherwise."""
    total = next(chip.total for chip in GPUS_OF_PLANS if chip.name == name)
    return int((total or 0) * FRACTION * (1 - RESERVE))


def _chosen(images: int, memory: int):
    config, _ = without_automatic(
        load_recipe("image_folder"),
        images=images,
        memory=memory,
        devices=jax.devices()[:1],
        on_cpu=False,
    )
    return config


def _shown(chosen: object) -> str:
    if isinstance(chosen, int):
        return f"{chosen:,}"
    return f"{chosen:g}" if isinstance(chosen, float) else str(chosen)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
