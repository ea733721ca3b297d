"""k-NN accuracy of a RATS from a ViT, before any training, by where its registers start.

python benchmarks/register_starts.py --config=RECIPE --config.init.checkpoint=VIT \
    [--train=KIND:PATH] [--test=KIND:PATH] [--resolution=96]

Prints the table of docs/start_from_weights.md. The recipe describes the RATS. Two minutes on a CPU
for the default images.
"""

import sys
from pathlib import Path

import jax
from absl import flags

sys.path.insert(0, str(Path(__file__).parents[1]))

from rats_jax import command_line, config_flag  # noqa: E402
from rats_jax.voice import say  # noqa: E402

CONFIG = config_flag.define_config("drawings")
TRAIN = flags.DEFINE_string("train", "procedural_parts:1500@7001", "The images that vote.")
TEST = flags.DEFINE_string("test", "procedural_parts:800@7002", "The images that are classified.")
RESOLUTION = flags.DEFINE_integer("resolution", 96, "Pixels at which the models see an image.")

K = 20
#: init.registers, and the noise around [CLS] as a share of its RMS.
STARTS = (("cls", 0.1), ("cls", 0.2), ("cls", 1), ("cls", 4), ("random", None), ("kmeans", None))


def main() -> None:
    from rats_jax.classification.accuracy import accuracy
    from rats_jax.classification.labelled import open_labelled
    from rats_jax.evals.knn_evaluation import evaluate_knn

    found = evaluate_knn(
        dict(_models(config_flag.read_config(CONFIG))),
        open_labelled(TEST.value),
        open_labelled(TRAIN.value),
        knn_k=[str(K)],
        resolution=RESOLUTION.value,
        skip_broken=False,
    )
    say(f"| start | k-NN top-1, k = {K} |\n|---|---|")
    for name, predictions in found.predictions.items():
        say(f"| {name} | {100 * accuracy(predictions[K], found.labels).top1:.1f} % |")


def _models(config):
    """The ViT, an untrained RATS, and a RATS for each start, by name."""
    from rats_jax.assemble import make_model, make_source
    from rats_jax.backbones import open_backbone
    from rats_jax.runs.initial import registers
    from rats_jax.runs.initial.initial import initial_parts
    from rats_jax.runs.initial.reading import read_given

    vit = open_backbone(config.init.checkpoint)
    yield "the ViT", vit
    _, init = make_model(config)
    source = make_source(config)
    given = read_given(config)

    def fresh() -> dict:
        params = init(jax.random.key(config.seed))
        center = jax.numpy.zeros((1, config.head.prototypes))
        return {"student": params, "teacher": params, "center": center}

    rats = _rats(config)
    yield "RATS, untrained", rats._replace(params=fresh()["student"]["backbone"])
    for how, spread in STARTS:
        config.init.registers = how
        registers.SPREAD = spread
        state = initial_parts(config, given, source).into(fresh())
        name = f"`{how}`" if spread is None else f"`{how}`, noise of {spread:g} RMS"
        yield name, rats._replace(params=state["student"]["backbone"])


def _rats(config):
    """A RATS of this config, without weights."""
    from flax import nnx

    from rats_jax.assemble import backbone_options
    from rats_jax.backbones import Backbone
    from rats_jax.models import make_backbone

    options = backbone_options(config)
    module = nnx.eval_shape(lambda: make_backbone(options, dtype="float32", rngs=nnx.Rngs(0)))
    return Backbone(options, nnx.split(module)[0], {}, "RATS")


if __name__ == "__main__":
    command_line.run(main, out_of_memory="choose a smaller --resolution")
