"""With --task=segmentation: how well the patches of the frozen model predict the class of each
pixel, by a linear layer and by nearest neighbours in context."""

from absl import flags

from rats_jax.errors import UserError
from rats_jax.evals.request import Request, images_used, positive_rates, say_end
from rats_jax.evals.tasks.linear import LEARNING_RATES
from rats_jax.evals.whole_images import TRAIN
from rats_jax.voice import say

PROBE = flags.DEFINE_list("probe", ["linear", "in_context"], "Dense probes to fit.")
ITERATIONS = flags.DEFINE_integer(
    "iterations",
    1000,
    "Number of iterations of a linear layer on patches, each of 16 images. DINOv3 uses 40000 for "
    "ADE20K.",
    lower_bound=1,
)
NEIGHBOURS = flags.DEFINE_integer(
    "neighbours", 30, "Number of neighbours of a patch in context.", lower_bound=1
)
MEMORY = flags.DEFINE_integer(
    "memory",
    100_000,
    "The most patches of training images that are remembered for in-context, the same number of "
    "each image.",
    lower_bound=1,
)
FLAGS = TRAIN, LEARNING_RATES, PROBE, ITERATIONS, NEIGHBOURS, MEMORY
RATES = (0.003, 0.01, 0.03, 0.1)  # by default


def run(request: Request) -> None:
    from rats_jax.evals.segmentation_evaluation import evaluate_segmentation
    from rats_jax.evals.segmentation_results import write_segmentation
    from rats_jax.parts.datasets import DRAWN
    from rats_jax.paths import local_path
    from rats_jax.results_folder import check_outside, free_folder, new_folder

    request.require("the images with part masks")
    probes = _probes()
    target = free_folder(local_path(request.output))
    dataset = _open(request.dataset, "dataset")
    train = _open(TRAIN.value, "train") if TRAIN.value else None
    opened = [dataset, train] if train else [dataset]
    check_outside(target, [folder for of in opened for folder in of.folders])
    whole, dataset = len(dataset), dataset.limited(request.limit)
    say("\n".join([f"{dataset.name}: {images_used(len(dataset), whole)}", *dataset.notes]))
    if train:
        whole, train = len(train), train.limited(request.limit)
        used = f"{train.name}: {images_used(len(train), whole)} for training"
        say("\n".join([used, *train.notes]))
        kinds = [spec.partition(":")[0] for spec in (TRAIN.value, request.dataset)]
        if kinds[0] != kinds[1] and not set(kinds) <= set(DRAWN):
            say(f"warning: ids of {kinds[0]} are taken to mean the same as those of {kinds[1]}")
    else:
        say("without --train, every fifth image is scored, and the others are for training")
    models = request.models()
    resolution = request.one_resolution(models["model"].options)
    about = {
        "task": request.task,
        "model": models["model"].origin,
        "dataset": {"from": request.dataset, **dataset.about},
        "train": {"from": TRAIN.value, **train.about} if train else None,
        "limit": request.limit,
        "resolution": resolution,
        **probes._asdict(),
    }
    with new_folder(target) as folder:
        found = evaluate_segmentation(
            models,
            dataset,
            train,
            probes=probes,
            resolution=resolution,
            folder=folder,
            skip_broken=request.skip_broken,
        )
        write_segmentation(folder, found, about=about)
    say(
        f"(percent, over the pixels of {found.images:,} images, with {found.learned_from:,} "
        f"training images of {found.classes:,} classes; the background is a class like others)"
    )
    say_end(found.skipped, target)


def _probes():
    from rats_jax.evals.dense_probes import TITLES, Probes

    kinds = tuple(dict.fromkeys(PROBE.value))
    if not kinds or not set(kinds) <= set(TITLES):
        raise UserError(f"--probe={','.join(kinds)}: choose from {','.join(TITLES)}")
    given = LEARNING_RATES.value if LEARNING_RATES.present else RATES
    return Probes(kinds, positive_rates(given), ITERATIONS.value, NEIGHBOURS.value, MEMORY.value)


def _open(spec: str, flag: str):
    from rats_jax.parts.datasets import POINTS, SAME_IDS, open_dataset

    dataset, kind = open_dataset(spec), spec.partition(":")[0]
    if kind not in SAME_IDS:
        raise UserError(
            f"--{flag}={spec}: an id of {kind} means a different part in each image; "
            f"--task=segmentation accepts {', '.join(k for k in SAME_IDS if k not in POINTS)}"
        )
    return dataset
