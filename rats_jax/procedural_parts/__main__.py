"""Draws a contact sheet: python -m rats_jax.procedural_parts --output=sheet.png

Or a data set of 16,000 images with part masks: ... --output=FOLDER --count=16000 --size=80
With --composites, figures that have a part of another category.
"""

import argparse
import sys

import numpy as np
from PIL import Image, ImageDraw

from rats_jax.errors import UserError
from rats_jax.paths import local_path
from rats_jax.procedural_parts import PARTS, Composites, ProceduralParts
from rats_jax.procedural_parts.folder import write_folder

MOST_LOOKED_AT = 1_000_000  # drawings, until each category has enough for the sheet

FAMILY_COLOURS = {
    "head": (240, 92, 92), "body": (96, 186, 118), "foot": (150, 98, 228), "hand": (96, 196, 232),
    "tail": (248, 206, 84), "fin": (238, 118, 182), "wing": (62, 148, 236), "tire": (94, 98, 222),
    "side mirror": (255, 150, 72), "seat": (84, 220, 204), "sail": (214, 110, 226),
    "engine": (255, 134, 60), "mouth": (108, 150, 240),
}  # fmt: skip


def part_colours() -> np.ndarray:
    """uint8 [41, 3]: one colour per family of parts, so that heads match heads; grey background."""
    table = [FAMILY_COLOURS[name.split(" ", 1)[1]] for name in PARTS]
    return np.array([*table, (50, 50, 56)], np.uint8)


def contact_sheet(
    *, seed: int, size: int, columns: int, kind: type[ProceduralParts] = ProceduralParts
) -> Image.Image:
    """One row per category: `columns` pictures, each next to its part mask."""
    colours, gap = part_colours(), 4
    margin = 30 + 6 * max(map(len, kind.classes))
    coarse, fine = (kind(size=side, length=MOST_LOOKED_AT, seed=seed) for side in (8, size))
    found: dict[int, list] = {label: [] for label in range(len(kind.classes))}
    index = 0
    while any(len(samples) < columns for samples in found.values()):
        label = coarse.sample(index).label
        if len(found[label]) < columns:
            found[label].append(fine.sample(index))
        index += 1
    cell = size + gap
    width, height = margin + 2 * columns * cell, len(found) * cell + gap
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (label, samples) in enumerate(found.items()):
        top = gap + row * cell
        draw.text((6, top + size // 2 - 6), kind.classes[label], fill="black")
        for column, sample in enumerate(samples):
            left = margin + 2 * column * cell
            sheet.paste(Image.fromarray(sample.image), (left, top))
            sheet.paste(Image.fromarray(colours[sample.parts]), (left + size, top))
    return sheet


def _check(options: argparse.Namespace):
    if options.count is not None:
        if options.count < 1:
            raise UserError(f"--count={options.count}: give 1 or more")
        if options.output.exists():
            raise UserError(f"{options.output} exists: give --output another name, or remove it")
    elif options.output.suffix != ".png":
        raise UserError(
            f"{options.output} is not a .png file; give --output a name ending in .png, or --count "
            "for a folder of drawings"
        )
    if not options.output.parent.is_dir():
        raise UserError(
            f"the folder {options.output.parent} does not exist; create it or choose another "
            "--output"
        )
    if options.columns < 1 or not 8 <= options.size <= 2048:
        raise UserError("give --columns of 1 or more and --size from 8 to 2048")
    if not 0 <= options.seed < 2**64:
        raise UserError(f"--seed={options.seed} is out of range; give one from 0 to 2**64-1")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Draw a contact sheet of pictures and part masks, or a folder of them."
    )
    parser.add_argument(
        "--output",
        type=local_path,
        required=True,
        help="a .png file, or a folder if --count is given",
    )
    parser.add_argument("--count", type=int, help="write this many images and masks into a folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=88, help="pixels per picture")
    parser.add_argument("--columns", type=int, default=4, help="pictures per category")
    parser.add_argument(
        "--composites", action="store_true", help="draw figures with a part of another category"
    )
    options = parser.parse_args(argv)
    try:
        _check(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    kind = Composites if options.composites else ProceduralParts
    if options.count is not None:
        written = write_folder(
            options.output, count=options.count, size=options.size, seed=options.seed, kind=kind
        )
        for done in written:
            if done % 1000 == 0 or done == options.count:
                print(f"{done:,} of {options.count:,} drawings", flush=True)
        print(f"wrote {options.output}: images/ and masks/, read as folder:{options.output}")
        return 0
    sheet = contact_sheet(seed=options.seed, size=options.size, columns=options.columns, kind=kind)
    sheet.save(options.output, optimize=True)
    print(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
