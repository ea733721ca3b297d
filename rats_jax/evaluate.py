"""rats evaluate --checkpoint=RUN_OR_WEIGHTS --dataset=KIND:PATH --output=DIR

Part discovery: how well a model's regions agree with part masks, beside what a plain grid, SLIC
and k-means on the same features reach at the same number of regions. With --regions also, or only,
the regions that other programs made.

With --task=consistency: whether a register, or a K-means entry of registers or patches, is the same
part in every image.

With --task=knn and --task=linear: how well the model's vectors tell classes apart, by the official
protocols of DINO. With --task=norms: how the norms of patch tokens are spread in each layer,
and how many stand out.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from rats_jax import command_line
from rats_jax.errors import UserError
from rats_jax.paths import local_path
from rats_jax.voice import say

CHECKPOINT, WEIGHTS = command_line.define_checkpoint()
TASK = flags.DEFINE_enum(
    "task", "parts", ["parts", "consistency", "knn", "linear", "norms"], "What to measure."
)
DATASET = flags.DEFINE_string(
    "dataset",
    "",
    "KIND:PATH; folder, ade20k, coco-panoptic, coco-instances, imagenet-s, partimagenet, sam. For "
    "other tasks: image_folder, records, tar, tfds:NAME/SPLIT@FOLDER, procedural_parts:COUNT@SEED.",
)
OUTPUT = flags.DEFINE_string("output", "", "The folder to make.")
TOP_K = flags.DEFINE_list(
    "top_k", None, "Numbers of regions; by default 6,12,33,96, as far as the model has registers."
)
RESOLUTION = flags.DEFINE_list(
    "resolution",
    None,
    "Pixels of both sides, as the model sees an image; by default 512, and 224 for other tasks. "
    "For parts several, as 224,512.",
)
SMOOTHING = flags.DEFINE_float(
    "smoothing", 1.0, "Of maps, the sigma of a Gaussian in patches; 0: none.", lower_bound=0
)
NORM = flags.DEFINE_enum(
    "norm", "post", ["post", "pre"], "Tokens of the last layer after or before the final LayerNorm."
)
ARGMAX = flags.DEFINE_enum(
    "argmax", "patch", ["patch", "pixel"], "Label patches; or pixels, by maps resized bilinearly."
)
REGIONS = flags.DEFINE_multi_string(
    "regions",
    [],
    "NAME=DIR or DIR: label maps of any other program (PNG, npy, npz), named as the images; "
    "repeat it for several. They need no --checkpoint.",
)
UNTRAINED = flags.DEFINE_bool("untrained", False, "Score the run's untrained model beside it.")
SKIP_BROKEN = flags.DEFINE_bool("skip_broken", False, "Leave out samples that cannot be read.")
LIMIT = flags.DEFINE_integer(
    "limit",
    None,
    "A quick look: at most so many images of --dataset, and of --train, evenly spread.",
    lower_bound=1,
)

# --task=knn and --task=linear, whose --dataset and --train are labelled images.
TRAIN = flags.DEFINE_string(
    "train", "", "KIND:PATH of the images to learn from; by default four fifths of --dataset."
)
KNN_K = flags.DEFINE_list(
    "knn_k", None, "Numbers of neighbours; by default 10,20,100,200, as far as there are images."
)
EPOCHS = flags.DEFINE_integer("epochs", 100, "Of a linear classifier.", lower_bound=1)
LEARNING_RATES = flags.DEFINE_list(
    "learning_rates", ["0.001"], "Of linear classifiers, one each, trained at once; at batch 256."
)
LAST_BLOCKS = flags.DEFINE_integer(
    "last_blocks",
    None,
    "Blocks whose global vectors are classified; by default 4 up to width 384, else 1.",
    lower_bound=1,
)
AVERAGE_PATCHES = flags.DEFINE_bool(
    "average_patches", None, "Classify the mean of the patches too; by default above width 384."
)

# --task=norms
OUTLIER = flags.DEFINE_string(
    "outlier", "3x", "The norm above which a patch stands out: 150, or 3x for 3 times the median."
)

# --task=consistency
ENTRIES = flags.DEFINE_integer(
    "entries", 64, "Of K-means, over registers and over patches of all images.", lower_bound=2
)
BACKGROUND = flags.DEFINE_integer(
    "background",
    None,
    "The id of what is no part in the masks: parts are then scored alone as well.",
)

OF_TASK = {
    "consistency": (ENTRIES, BACKGROUND),
    "parts": (TOP_K, SMOOTHING, NORM, ARGMAX, REGIONS),
    "knn": (TRAIN, KNN_K),
    "linear": (TRAIN, EPOCHS, LEARNING_RATES, LAST_BLOCKS, AVERAGE_PATCHES),
    "norms": (OUTLIER,),
}


def main() -> None:
    own = {flag.name for flag in OF_TASK[TASK.value]}
    for task, theirs in OF_TASK.items():
        for flag in theirs:
            if flag.present and flag.name not in own:
                raise UserError(
                    f"--{flag.name} is of --task={task}: leave it out, or name that task"
                )
    if TASK.value == "parts":
        _parts()
    elif TASK.value == "consistency":
        _consistency()
    elif TASK.value == "norms":
        _norms()
    else:
        _classify()


def _parts() -> None:
    """--task=parts."""
    from rats_jax.evals.part_evaluation import evaluate_parts, numbers_of_regions
    from rats_jax.evals.part_results import write_results
    from rats_jax.parts.datasets import open_dataset
    from rats_jax.parts.saved_regions import open_saved_regions
    from rats_jax.parts.truth import report
    from rats_jax.parts.ways import RegionOptions
    from rats_jax.results_folder import check_outside, free_folder, new_folder

    if not REGIONS.value:
        command_line.require((CHECKPOINT, "a run's workdir, or a file of weights"))
    command_line.require(
        (DATASET, "the images and masks, as KIND:PATH"),
        (OUTPUT, "the folder to make"),
    )
    if not SMOOTHING.value < 1000:
        raise UserError(f"--smoothing={SMOOTHING.value}: give patches, such as 1; 0 for none")
    target = free_folder(local_path(OUTPUT.value))
    dataset = open_dataset(DATASET.value)
    check_outside(target, dataset.folders)
    whole, dataset = len(dataset), dataset.limited(LIMIT.value)
    names = [entry.name for entry in dataset.entries if not entry.fault]
    saved = open_saved_regions(REGIONS.value, names, skip_broken=SKIP_BROKEN.value)
    options = RegionOptions(SMOOTHING.value, NORM.value, ARGMAX.value)
    models, about, resolutions, top_k = {}, {"task": TASK.value}, (), ()
    if CHECKPOINT.value:
        models = _models()
        backbone = models["model"]
        resolutions = _resolutions(backbone.options, usual=512)
        patches = (resolutions[0] // backbone.options["patch"]) ** 2
        top_k = numbers_of_regions(TOP_K.value, backbone.options, patches=patches)
        about |= {
            "model": backbone.origin,
            "options": backbone.options,
            "resolutions": resolutions,
            "regions": options._asdict(),
        }
    for flag in () if models else (TOP_K, RESOLUTION, SMOOTHING, NORM, ARGMAX, UNTRAINED):
        if flag.present:
            raise UserError(f"--{flag.name} is of a model's regions: name one with --checkpoint")
    first = f"{dataset.name}: {_images(len(dataset), whole)}; {dataset.flattening}"
    say("\n".join([first, *dataset.notes]))
    about["saved_regions"] = {regions.name: str(regions.folder) for regions in saved}
    about["dataset"] = {"from": DATASET.value, **dataset.about}
    about["limit"] = LIMIT.value
    with new_folder(target) as folder:
        found = evaluate_parts(
            models,
            dataset,
            top_k=top_k,
            resolutions=resolutions,
            options=options,
            saved=saved,
            skip_broken=SKIP_BROKEN.value,
        )
        write_results(folder, found, about=about)
    last = "(means over images, in percent, with 95 % bootstrap intervals)"
    say("\n".join([last, *report(found.truth)]))
    _say_end(found.skipped, target)


def _consistency() -> None:
    """--task=consistency."""
    from rats_jax.evals import consistency_evaluation
    from rats_jax.evals.consistency_results import write_consistency
    from rats_jax.parts.datasets import open_dataset
    from rats_jax.results_folder import check_outside, free_folder, new_folder

    command_line.require(
        (CHECKPOINT, "a run's workdir, or a file of weights"),
        (DATASET, "the images with part masks, as KIND:PATH"),
        (OUTPUT, "the folder to make"),
    )
    kind = DATASET.value.partition(":")[0]
    target = free_folder(local_path(OUTPUT.value))
    dataset = open_dataset(DATASET.value)
    if kind not in (kinds := consistency_evaluation.KINDS):
        raise UserError(
            f"--dataset={DATASET.value}: ids of {kind} mean another part in each image; "
            f"--task=consistency takes {', '.join(kinds)}"
        )
    check_outside(target, dataset.folders)
    whole, dataset = len(dataset), dataset.limited(LIMIT.value)
    models = _models()
    resolution, *more = _resolutions(models["model"].options, usual=512)
    if more:
        raise UserError("--task=consistency takes one --resolution: name one")
    options = {
        "entries": ENTRIES.value,
        "resolution": resolution,
        "background": BACKGROUND.value
        if BACKGROUND.present
        else consistency_evaluation.BACKGROUNDS.get(kind),
    }
    say("\n".join([f"{dataset.name}: {_images(len(dataset), whole)}", *dataset.notes]))
    about = {
        "task": TASK.value,
        "model": models["model"].origin,
        "dataset": {"from": DATASET.value, **dataset.about},
        "limit": LIMIT.value,
        **options,
    }
    with new_folder(target) as folder:
        found = consistency_evaluation.evaluate_consistency(
            models, dataset, skip_broken=SKIP_BROKEN.value, **options
        )
        write_consistency(folder, found, about=about)
    say(f"(percent, over the pixels of {found.images:,} images; entries are of the others)")
    if options["background"] is None:
        say("all ids count as parts: name the background's with --background to leave it out")
    _say_end(found.skipped, target)


def _models() -> dict:
    """The model of --checkpoint and, if asked for, its untrained twin."""
    from rats_jax.backbones import open_backbone

    backbone = open_backbone(CHECKPOINT.value, weights=WEIGHTS.value)
    say(backbone.origin)
    if not UNTRAINED.value:
        return {"model": backbone}
    if backbone.config is None:
        raise UserError("--untrained needs a run, whose config says how it started")
    return {"model": backbone, "untrained": backbone.before_training()}


def _resolutions(options: dict, *, usual: int) -> tuple[int, ...]:
    """Those of --resolution, rising; says which are far from that in training. Raises UserError for
    one that the model cannot take."""
    from rats_jax.resolution import LARGEST, distance_warning

    given, patch = RESOLUTION.value or [str(usual)], options["patch"]
    for side in given:
        if not side.strip().isdecimal() or not 1 <= int(side) <= LARGEST:
            raise UserError(
                f"--resolution={','.join(given)}: write pixels, such as {usual}, at most "
                f"{LARGEST:,}"
            )
        if int(side) % patch:
            nearest = max(round(int(side) / patch), 1) * patch
            raise UserError(
                f"--resolution={side} is no multiple of the patch ({patch}); the nearest is "
                f"{nearest}"
            )
    sides = tuple(sorted({int(side) for side in given}))
    for warning in filter(None, (distance_warning(s, options, what="scores") for s in sides)):
        say(warning)
    return sides


def _open_images() -> tuple:
    """What the tasks on whole images begin with: the folder to make, the images, the models, the
    resolution, and for results.json how the figures came about."""
    from rats_jax.classification.labelled import open_labelled
    from rats_jax.results_folder import check_outside, free_folder

    command_line.require(
        (CHECKPOINT, "a run's workdir, or a file of weights"),
        (DATASET, "the images, as KIND:PATH"),
        (OUTPUT, "the folder to make"),
    )
    target = free_folder(local_path(OUTPUT.value))
    dataset = open_labelled(DATASET.value)
    check_outside(target, dataset.folders)
    whole, dataset = len(dataset.source), dataset.limited(LIMIT.value)
    models = _models()
    resolution, *more = _resolutions(models["model"].options, usual=224)
    if more:
        raise UserError(f"--task={TASK.value} takes one --resolution: name one")
    say(f"{dataset.name}: {_images(len(dataset.source), whole)}")
    about = {
        "task": TASK.value,
        "model": models["model"].origin,
        "options": models["model"].options,
        "dataset": dataset.name,
        "limit": LIMIT.value,
        "resolution": resolution,
    }
    return target, dataset, models, resolution, about


def _classify() -> None:
    """--task=knn and --task=linear."""
    from rats_jax.classification.labelled import open_labelled
    from rats_jax.evals import knn_evaluation, linear_evaluation, linear_results
    from rats_jax.results_folder import new_folder

    train = open_labelled(TRAIN.value) if TRAIN.value else None
    target, dataset, models, resolution, about = _open_images()
    if train is None:
        say("without --train, a fifth of each class, drawn by a fixed seed, is scored")
    else:
        whole, train = len(train.source), train.limited(LIMIT.value)
        say(f"{train.name}: {_images(len(train.source), whole)} to learn from")
        if not (train.classes and dataset.classes):
            say("classes are matched by their numbers, as not both sets have names of them")
    about["train"] = train.name if train else f"four fifths of {dataset.name}"
    options = {"resolution": resolution, "skip_broken": SKIP_BROKEN.value}
    recipe = linear_evaluation.choose_recipe(
        models["model"].options,
        last_blocks=LAST_BLOCKS.value,
        average_patches=AVERAGE_PATCHES.value,
        learning_rates=LEARNING_RATES.value,
        epochs=EPOCHS.value,
    )
    with new_folder(target) as folder:
        if TASK.value == "knn":
            found = knn_evaluation.evaluate_knn(
                models, dataset, train, knn_k=KNN_K.value, **options
            )
            knn_evaluation.write_results(folder, found, about=about)
        else:
            found = linear_evaluation.evaluate_linear(
                models, dataset, train, recipe=recipe, **options
            )
            linear_results.write_results(folder, found, recipe, about=about)
            say("(the best epoch was chosen on the images scored: it flatters; so would a rate)")
    say(f"(percent of {found.images:,} images, having learned from {found.learned_from:,})")
    _say_end(found.skipped, target)


def _norms() -> None:
    """--task=norms."""
    from rats_jax.data.reading import LeftOut
    from rats_jax.evals.norm_results import write_norms
    from rats_jax.evals.token_norms import measure_norms, outlier
    from rats_jax.results_folder import new_folder

    limit = outlier(OUTLIER.value)
    target, dataset, models, resolution, about = _open_images()
    left_out = LeftOut(skip_broken=SKIP_BROKEN.value)
    with new_folder(target) as folder:
        found = measure_norms(models, dataset, side=resolution, left_out=left_out)
        about["skipped"] = left_out.lines
        write_norms(folder, found, limit=limit, about=about)
    say("(norms before the final LayerNorm)")
    _say_end(left_out.lines, target)


def _images(count: int, whole: int) -> str:
    if count == whole:
        return f"{count:,} images"
    return f"{count:,} of {whole:,} images, evenly spread (--limit)"


def _say_end(skipped: Sequence[str], target: Path) -> None:
    if skipped:
        say(f"left out: {len(skipped):,}, see results.json")
    say(f"results: {target}")


if __name__ == "__main__":
    command_line.run(
        main,
        interrupted="interrupted: no results are written; the same command starts anew",
        out_of_memory="choose a smaller --resolution, or score fewer images with --limit",
    )
