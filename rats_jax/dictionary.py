"""rats dictionary --checkpoint=RUN_OR_WEIGHTS --train=KIND:PATH --dataset=KIND:PATH --output=DIR

Makes a dictionary of parts: entries that the registers of all images are assigned to, named by the
part masks of the training images, and scored on other images beside null rows. Images without
masks give entries without names. See docs/dictionary.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from absl import flags

from rats_jax import command_line
from rats_jax.data.kinds import LABELLED, PART_MASKS, pattern
from rats_jax.errors import UserError
from rats_jax.model_flags import define_resolution, given_resolutions, only
from rats_jax.voice import say

if TYPE_CHECKING:
    import numpy as np

    from rats_jax.backbones import Backbone
    from rats_jax.dictionaries.images import Images
    from rats_jax.dictionaries.sources import Settings
    from rats_jax.models.options import Options

CHECKPOINT, WEIGHTS = command_line.define_checkpoint()
TRAIN = flags.DEFINE_string(
    "train",
    "",
    "Images to make and name the entries with, as KIND:PATH. KIND with part masks: "
    f"{', '.join(k for k in PART_MASKS if not k.startswith(('coco', 'sam')))}; without: "
    f"{', '.join(pattern(k) for k in LABELLED if k not in PART_MASKS)}.",
)
DATASET = flags.DEFINE_string("dataset", "", "Other images, to score, as KIND:PATH.")
OUTPUT = flags.DEFINE_string("output", "", "The folder to create.")
ENTRIES = flags.DEFINE_integer(
    "entries",
    400,
    "Number of entries of k-means; with --learned, by default that of the learned ones.",
    lower_bound=1,
)
LEARNED = flags.DEFINE_bool(
    "learned", False, "Also score, and save, the entries that the run has learned."
)
UNTRAINED = flags.DEFINE_bool("untrained", False, "Also score the untrained model of the run.")
RESOLUTION = define_resolution("both sides")
NORM = flags.DEFINE_enum(
    "norm", "post", ["post", "pre"], "Tokens after or before the final LayerNorm."
)
BACKGROUND = flags.DEFINE_integer(
    "background", None, "The id of the background in the masks; by default that of the kind."
)
REGIONS = flags.DEFINE_integer(
    "regions_per_image",
    16,
    "K-means regions of each image, for models without registers.",
    lower_bound=1,
)
SEED = flags.DEFINE_integer("seed", 0, "Of k-means, and of random entries.", lower_bound=0)
RESTARTS = flags.DEFINE_integer(
    "restarts", 1, "Starts of k-means, of which the best is taken.", lower_bound=1
)
CACHE = flags.DEFINE_string(
    "cache",
    "",
    "A folder to keep the vectors of images in. The same command then resumes, and other --entries "
    "take less time.",
)
SKIP_BROKEN = flags.DEFINE_bool("skip_broken", False, "Leave out images that cannot be read.")
LIMIT = flags.DEFINE_integer(
    "limit",
    None,
    "Use at most this many images of --train, and of --dataset, evenly spaced.",
    lower_bound=1,
)


def main() -> None:
    from rats_jax.backbones import open_with_twin
    from rats_jax.data.counted import counted
    from rats_jax.dictionaries.run import make
    from rats_jax.parts.dictionary.detectors import kind_of
    from rats_jax.paths import local_path, printable
    from rats_jax.results_folder import check_outside, free_folder

    command_line.require(
        (CHECKPOINT, "a run's workdir, or a file of weights"),
        (TRAIN, "the images to make the entries with, as KIND:PATH"),
        (DATASET, "other images to score, as KIND:PATH"),
        (OUTPUT, "the folder to create"),
    )
    if LEARNED.value and NORM.value != "post":
        raise UserError("--learned entries are of registers after the LayerNorm: omit --norm")
    target = free_folder(local_path(OUTPUT.value))
    train, scored = _splits()
    check_outside(target, [*train.folders, *scored.folders])
    models = open_with_twin(CHECKPOINT.value, weights=WEIGHTS.value, untrained=UNTRAINED.value)
    options = models["model"].options
    learned = _learned(models["model"]) if LEARNED.value else None
    entries = ENTRIES.value if learned is None else len(learned[0])
    settings = _settings(options)
    about = {
        "model": models["model"].origin,
        "train": TRAIN.value,
        "dataset": DATASET.value,
        "kind": kind_of(options),
        "entries": entries,
        "resolution": settings.side,
        "norm": NORM.value,
        "regions_per_image": REGIONS.value,
        "seed": SEED.value,
        "restarts": RESTARTS.value,
        "limit": LIMIT.value,
    }
    made = make(
        models,
        train,
        scored,
        target,
        entries=entries,
        settings=settings,
        seed=SEED.value,
        restarts=RESTARTS.value,
        learned=learned,
        skip_broken=SKIP_BROKEN.value,
        cache=local_path(CACHE.value) if CACHE.value else None,
        about=about,
    )
    if made.skipped:
        say(f"left out: {counted(len(made.skipped), 'image')}, see results.json")
    say(f"results: {printable(str(target))}")


def _splits() -> tuple[Images, Images]:
    """The images of --train and of --dataset. Raises UserError."""
    from rats_jax.dictionaries.images import check_splits, open_images

    whole = [
        open_images(f"--{flag.name}", flag.value, BACKGROUND.value) for flag in (TRAIN, DATASET)
    ]
    check_splits(*whole)
    train, scored = (images.limited(LIMIT.value) for images in whole)
    for images in (train, scored):
        images.check_parts()
        if images.masks and images.background is None and not images.points:
            say(f"{images.flag}: all ids count as parts; --background names that of the background")
    return train, scored


def _learned(model: Backbone) -> tuple[np.ndarray, Mapping]:
    """The entries that the run has learned, and facts about them. Raises UserError."""
    from rats_jax.runs.learned_dictionary import learned_entries

    if model.config is None:
        raise UserError(
            f"--checkpoint={CHECKPOINT.value} has no learned dictionary: give a run with "
            "config.dictionary.entries, or leave out --learned"
        )
    entries, facts = learned_entries(CHECKPOINT.value, weights=WEIGHTS.value)
    if ENTRIES.present and ENTRIES.value != len(entries):
        raise UserError(
            f"--entries={ENTRIES.value} cannot be compared with {len(entries):,} learned entries, "
            "since valPw and util depend on their number: omit --entries"
        )
    return entries, facts


def _settings(options: Options) -> Settings:
    """How detectors are made; reports what they are. Raises UserError."""
    from rats_jax.dictionaries.sources import Settings

    sides = given_resolutions(RESOLUTION.value, options, what="registers")
    side = only(sides, flag="resolution", of="rats dictionary")
    grid = (side // options.patch, side // options.patch)
    if options.registers:
        say(f"entries are made of the {options.registers} {options.units} of each image")
    else:
        say(
            f"this model has no registers: entries are made of {REGIONS.value} k-means regions of "
            "the patches of each image (--regions_per_image)"
        )
        if REGIONS.value > grid[0] * grid[1]:
            raise UserError(
                f"--regions_per_image={REGIONS.value} is more than the {grid[0] * grid[1]} "
                "patches: choose fewer"
            )
    return Settings(side, grid, NORM.value, REGIONS.value)


if __name__ == "__main__":
    command_line.run(
        main,
        interrupted="interrupted: no results were written; with --cache the same command resumes",
        out_of_memory="choose a smaller --resolution",
    )
