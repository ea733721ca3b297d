"""Register health while a run trains, on a training batch."""

import jax
import pytest

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.runs.events import Events
from rats_jax.runs.online.evaluation import open_evaluation
from tests.runs.online.evaluated import evaluated, measured


@pytest.mark.parametrize("architecture", ["rats", "vit", "perceiver"])
def test_without_images_the_registers_of_a_batch_are_judged(tmp_path, architecture):
    config = evaluated(
        model__architecture=architecture, evaluation__parts="", run__best_metric="loss"
    )
    config.model.update(plain_registers=3, depth=3)
    config.evaluation.update(knn_train="", knn_test="")
    found = measured(config, Events(tmp_path))
    assert 0.5 < found["registers/attention_entropy"] <= 1
    known = open_evaluation(
        config, make_dino(config, images=40), make_mesh(config, jax.devices()[:1])
    ).names
    assert set(known) == {
        name for name in found if name.startswith(("registers/", "heads/", "patches/"))
    }
    count = {"rats": 6, "vit": 3, "perceiver": 96}[architecture]
    assert 1 < found["registers/distinct"] <= count
    assert ("heads/similarity_2" in found) == (architecture == "rats")
