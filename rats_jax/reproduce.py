"""rats reproduce --table=1,5 --figure=8 --checkpoint=NAME=PATH --data=KIND:PATH --output=DIR

Runs what can be run of the paper's tables and figures with the given checkpoints, part masks and
label maps, and prints the paper's number, ours and the baselines side by side. What cannot be run
is listed with what it needs. Without --table and --figure it runs all of them. docs/results.md says
how to get each row.
"""

from absl import flags

from rats_jax import command_line
from rats_jax.data.kinds import PART_MASKS
from rats_jax.errors import UserError
from rats_jax.voice import say

TABLE = flags.DEFINE_list("table", [], "Numbers of tables: 1, 3, 4, 5, 6.")
FIGURE = flags.DEFINE_list("figure", [], "Numbers of figures: 6, 7, 8.")
CHECKPOINT = flags.DEFINE_multi_string(
    "checkpoint",
    [],
    "NAME=PATH or PATH: a run's workdir, one of its checkpoints, or weights of others. May be "
    "repeated.",
)
DATA = flags.DEFINE_multi_string(
    "data", [], f"Images with part masks, as KIND:PATH. KIND: {', '.join(PART_MASKS)}. Repeatable."
)
REGIONS = flags.DEFINE_multi_string(
    "regions", [], "NAME=DIR: label maps of another program, such as AdaSlot=DIR. Repeatable."
)
OUTPUT = flags.DEFINE_string("output", "", "The folder to create.")
RESOLUTION = flags.DEFINE_integer(
    "resolution",
    None,
    "Pixels of both sides. By default 512, or closer to a very different training resolution.",
    lower_bound=1,
)
SWEEP = flags.DEFINE_list("sweep", None, "The resolutions of Figure 7. Default 224 to 1024.")
UNTRAINED = flags.DEFINE_bool("untrained", True, "Also score the untrained model of each run.")
MEASURE = flags.DEFINE_bool("measure", False, "Table 3: measure time and memory on this device.")
BATCH = flags.DEFINE_integer("batch", 4, "Table 3: images of a forward pass.", lower_bound=1)
SKIP_BROKEN = flags.DEFINE_bool("skip_broken", False, "Leave out samples that cannot be read.")
LIMIT = flags.DEFINE_integer(
    "limit", None, "Use at most this many images of each --data, evenly spaced.", lower_bound=1
)

OTHERS = {
    "table 2": "is transfer to dense prediction, which is not built yet",
    "figure 10": "is the matrix of a dictionary: rats dictionary draws it",
}


def main() -> None:
    from rats_jax.evals.paper.experiments import BY_NAME
    from rats_jax.evals.paper.inputs import SWEEP as USUAL
    from rats_jax.evals.paper.inputs import Inputs
    from rats_jax.evals.paper.running import reproduce
    from rats_jax.paths import local_path
    from rats_jax.results_folder import check_outside, free_folder, new_folder
    from rats_jax.writing import write_json, write_text

    command_line.require((OUTPUT, "the folder to create"))
    names = [*(f"table {x}" for x in TABLE.value), *(f"figure {x}" for x in FIGURE.value)]
    for name in names:
        if name not in BY_NAME:
            why = OTHERS.get(name, f"is not one of {', '.join(BY_NAME)}")
            raise UserError(f"{name} {why}")
    experiments = [BY_NAME[name] for name in dict.fromkeys(names)] or [*BY_NAME.values()]
    sweep = [_pixels(side) for side in SWEEP.value] if SWEEP.value else USUAL
    target = free_folder(local_path(OUTPUT.value))
    datasets, sam = _datasets()
    for dataset in datasets.values():
        check_outside(target, dataset.folders)
    inputs = Inputs(
        models=_models(),
        datasets=datasets,
        regions=REGIONS.value,
        resolution=RESOLUTION.value,
        sweep=sweep,
        untrained=UNTRAINED.value,
        skip_broken=SKIP_BROKEN.value,
        measure=MEASURE.value,
        batch=BATCH.value,
        sam=sam,
    )
    _check(inputs)
    with new_folder(target) as folder:
        outcomes = reproduce(experiments, inputs)
        text = "\n\n".join(outcome.markdown() for outcome in outcomes)
        say(text)
        about = {
            "models": {name: model.origin for name, model in inputs.models.items()},
            "data": {name: dataset.about for name, dataset in datasets.items()},
            "limit": LIMIT.value,
            "resolution": RESOLUTION.value,
        }
        record = {outcome.name: outcome.record() for outcome in outcomes}
        write_json(folder / "results.json", {**about, "results": record})
        write_text(folder / "table.md", text)
    say(f"results: {target}")


def _models() -> dict:
    """The backbones of --checkpoint, by name."""
    from rats_jax.backbones import open_backbone
    from rats_jax.paths import local_path

    found = {}
    for spec in CHECKPOINT.value:
        name, equals, path = spec.partition("=")
        if not equals or "/" in name or local_path(spec).exists():
            name, path = local_path(spec).name or spec, spec
        if name in found:
            raise UserError(f"two --checkpoint are named {name}: write --checkpoint=NAME={path}")
        found[name] = open_backbone(path)
        say(f"{name}: {found[name].origin}")
    return found


def _datasets() -> tuple[dict, list[str]]:
    """The data sets of --data by their names, and the names of those with masks of SAM."""
    from rats_jax.parts.datasets import open_dataset

    found, sam = {}, []
    for spec in dict.fromkeys(DATA.value):
        dataset = open_dataset(spec)
        name = dataset.name if dataset.name not in found else spec
        found[name] = dataset.limited(LIMIT.value)
        if spec.startswith("sam:"):
            sam.append(name)
    return found, sam


def _check(inputs) -> None:
    """Raises UserError for flags that need others, and for a resolution that no model can have."""
    if inputs.regions and not inputs.datasets:
        raise UserError("--regions needs --data=KIND:PATH, the images and their masks")
    for name, backbone in inputs.models.items():
        patch = backbone.options.patch
        if inputs.resolution and inputs.resolution % patch:
            nearest = max(round(inputs.resolution / patch), 1) * patch
            raise UserError(
                f"--resolution={inputs.resolution} is not a multiple of the patch size of {name} "
                f"({patch}); the nearest is {nearest}"
            )


def _pixels(text: str) -> int:
    if not text.strip().isdecimal() or not 1 <= int(text) <= 8192:
        raise UserError(f"--sweep has {text!r}: give pixels, such as --sweep=224,512,1024")
    return int(text)


if __name__ == "__main__":
    command_line.run(
        main,
        interrupted="interrupted: no results were written; the same command starts from the "
        "beginning",
        out_of_memory="choose a smaller --resolution, --sweep or --batch, or --limit",
    )
