"""Scores on the mesh are those of the loop that takes one image after the other."""

import jax
import numpy as np
import pytest
from PIL import Image

from rats_jax.assemble import make_mesh
from rats_jax.errors import UserError
from rats_jax.finetuning.assembly import make_decoder
from rats_jax.finetuning.evaluator import OnlineScores
from rats_jax.finetuning.method import schedules_of
from rats_jax.segmentation.datasets import open_segmentation
from rats_jax.segmentation.evaluation import evaluate
from rats_jax.segmentation.interface import Outputs
from rats_jax.segmentation.scoring import open_scorer
from tests.finetuning.tiny import tiny_finetune, tiny_options

CLASSES, PATCH, SHORT = 3, 8, 32
SIZES = ((40, 60), (60, 40), (50, 50), (30, 90), (45, 45), (40, 60), (90, 40))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of several shapes, whose masks follow their brightness."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i, size in enumerate(SIZES):
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        mask = (image.mean(-1) // 86).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{i}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{i}.png")
    return folder


def opened(photos, decoder: str, **fields):
    config = tiny_finetune(decoder__name=decoder, evaluation__pictures=3, **fields)
    dataset = open_segmentation(f"folder:{photos}", task="semantic")
    schedules = schedules_of(config, images=8)
    method = make_decoder(
        config, tiny_options(), schedules, classes=len(dataset.classes), scales={}
    )
    mesh = make_mesh(config, jax.devices()[:1], heads=3)
    scores = OnlineScores(dataset, method.network, mesh, config, patch=PATCH)
    return dataset, method, scores, jax.jit(method.init, static_argnums=0)(3)["student"]


@pytest.mark.parametrize("decoder", ["registers", "linear"])
def test_images_of_all_sizes_are_scored_as_one_by_one(photos, decoder):
    """Whatever the batch is, although registers attend to all patches of an image."""
    alone = None
    for batch in (1, 4, 8):
        dataset, method, scores, params = opened(
            photos, decoder, evaluation__long_side=56, optimizer__batch_size=batch
        )
        if alone is None:
            alone = one_by_one(dataset, method.network, params)
        scores.compile(params)
        assert list(scores._programs) == [(32, 48)]  # one of the largest; others when needed
        scorer, found = scores.score(params)
        assert sorted(scores._programs) == [(16, 56), (32, 32), (32, 48), (48, 32), (56, 24)]
        assert found.left_out == [] and len(scorer) == len(SIZES)
        assert scorer.metrics() == pytest.approx(alone.metrics(), abs=1e-6)
        drawn = [example.truth.name for example in found.examples]
        assert drawn == ["0.png", "2.png", "4.png"]


def one_by_one(dataset, network, params):
    """The scores of a plain loop."""

    def predict(image: np.ndarray):
        out = jax.tree.map(
            lambda x: np.asarray(x[0]), jax.jit(network.predict)(params, image[None])
        )
        return out[0].transpose(1, 2, 0) if len(out) == 1 else Outputs(*out)

    scorer = open_scorer(dataset)
    evaluate(dataset, predict, scorer, short_side=SHORT, long_side=56, multiple=PATCH)
    return scorer


def test_an_image_that_cannot_be_read_is_left_out_and_named(photos, tmp_path):
    dataset, _, scores, params = opened(photos, "linear")
    broken = photos / "images/2.png"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    lines = []
    scorer, found = scores.score(params, on_error=lambda error: lines.append(str(error)))
    broken.write_bytes(content)
    assert len(scorer) == len(SIZES) - 1 and found.left_out == lines and "2.png" in lines[0]


def test_outputs_that_are_not_finite_are_one_line(photos):
    _, _, scores, params = opened(photos, "linear")
    params = jax.tree.map(lambda x: x * np.nan, params)
    with pytest.raises(UserError, match="outputs of the model are not finite"):
        scores.score(params)
