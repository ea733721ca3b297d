"""Makes a dictionary of parts, scores it, and writes the folder of results."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.data.reading import LeftOut
from rats_jax.dictionaries.cache_key import key_of
from rats_jax.dictionaries.extraction import BATCH, Extracted, check_space, extract, folder_name
from rats_jax.dictionaries.images import Images
from rats_jax.dictionaries.pictures import Drawn, draw_pictures
from rats_jax.dictionaries.rows import LEARNED, Fitting, Row, make_rows
from rats_jax.dictionaries.sources import Detecting, Settings
from rats_jax.dictionaries.tables import (
    columns_in_words,
    difference_table,
    differences_of,
    plain,
    plain_rows,
    table_of,
)
from rats_jax.errors import UserError
from rats_jax.parts.dictionary import assignments as assignments_file
from rats_jax.parts.dictionary.naming import NONE
from rats_jax.parts.dictionary.saved import Dictionary, save
from rats_jax.results_folder import new_folder
from rats_jax.voice import say
from rats_jax.writing import write_json, write_text


class Made(NamedTuple):
    """rows: by name. main: the name of the row whose entries are saved. skipped: a line for each
    image left out."""

    dictionary: Dictionary
    rows: dict[str, Row]
    main: str
    train: Extracted
    scored: Extracted
    skipped: list[str]


def make(
    models: Mapping[str, Backbone],
    train: Images,
    scored: Images,
    target: Path,
    *,
    entries: int,
    settings: Settings,
    seed: int = 0,
    restarts: int = 1,
    learned: tuple[np.ndarray, Mapping] | None = None,
    skip_broken: bool = False,
    cache: Path | None = None,
    about: Mapping,
) -> Made:
    """Writes the folder `target` and reports the table.

    entries: of all rows. learned: so many entries that were trained with the model, with facts;
    then these are saved, and K-means entries are another row. cache: where the vectors of images
    are kept; by default a folder beside `target` that is removed at the end. about: plain values
    for the results.

    Raises:
      UserError: see the functions that this calls.
    """
    detecting = Detecting(models, settings, batch=BATCH)
    if learned is None:  # else the row of K-means is only left out
        check_enough(len(train), detecting.count, entries)
    left_out = LeftOut(skip_broken=skip_broken)
    with new_folder(target) as folder, _cache(cache, target) as kept:
        width = models["model"].options.width
        check_space(kept, detecting, width, len(train) + len(scored))
        one, other = (
            extract(images, detecting, kept / name, left_out, about=key_of(models, images, about))
            for name, images in (("train", train), ("scored", scored))
        )
        fitting = Fitting(entries, seed, restarts, kept)
        rows = make_rows(one, other, fitting=fitting, kind=detecting.kind, learned=learned)
        main = LEARNED if learned is not None else next(iter(rows))
        dictionary = _dictionary(rows[main], one, detecting, main == LEARNED, about)
        made = Made(dictionary, rows, main, one, other, left_out.lines)
        _write(folder, made, about)
        own = f"model: {detecting.kind}"
        assigned = rows[main].assignments.of(assignments_file.SCORED)
        draw_pictures(folder, Drawn(dictionary, assigned, made.scored, own, detecting))
    return made


def check_enough(images: int, count: int, entries: int) -> None:
    """Raises UserError if the training images cannot have as many detectors as entries."""
    if images * count < entries:
        raise UserError(
            f"--entries={entries} is more than the {images * count:,} vectors of --train "
            f"({images:,} images with {count}): choose fewer entries, or give more images"
        )


@contextmanager
def _cache(cache: Path | None, target: Path) -> Iterator[Path]:
    """The folder --cache, or a temporary one beside the output."""
    folder = cache
    try:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        given = f"--cache={folder}" if cache else f"a folder beside --output={target}"
        raise UserError(f"{given} cannot be made ({error.strerror}): choose another") from None
    try:
        yield folder
    finally:
        if cache is None:
            shutil.rmtree(folder, ignore_errors=True)


def _dictionary(
    row: Row, train: Extracted, detecting: Detecting, learned: bool, about: Mapping
) -> Dictionary:
    assert row.assignments is not None and row.entries is not None
    count, names = len(row.entries), row.names
    exists = row.assignments.of(assignments_file.TRAINING).entry
    counts = np.bincount(exists[exists != NONE], minlength=count).astype(np.int64)
    labels = np.full(count, NONE, np.int32) if names is None else names.labels
    purity = np.full(count, np.nan, np.float32) if names is None else names.purity
    return Dictionary(
        entries=np.asarray(row.entries, np.float32),
        labels=labels,
        purity=purity,
        counts=counts,
        parts=train.images.part_names(),
        kind=detecting.kind,
        norm=detecting.settings.norm,
        unit=learned,
        regions=detecting.settings.regions,
        about={**about, "fit": dict(row.facts)},
    )


def _write(folder: Path, made: Made, about: Mapping) -> None:
    differences = differences_of(made.rows)
    table = table_of(made.rows) + "\n\n" + difference_table(differences)
    say(table)
    say(columns_in_words(made.rows))
    save(folder, made.dictionary)
    write_json(
        folder / "results.json",
        {
            **about,
            "train": made.train.images.about,
            "dataset": made.scored.images.about,
            "images": {"train": len(made.train.names), "scored": len(made.scored.names)},
            "skipped": made.skipped,
            "dictionary": made.main,
            "rows": plain_rows(made.rows),
            "differences": {name: plain(of) for name, of in differences.items()},
        },
    )
    write_text(folder / "table.md", table)
    others = folder / "assignments"
    others.mkdir()
    for name, row in made.rows.items():
        if row.assignments is not None:
            file = others / f"{folder_name(name)}.npz"
            if name == made.main:
                file = folder / assignments_file.FILE
            assignments_file.write(file, row.assignments)
