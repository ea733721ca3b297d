"""In-context segmentation while a run trains: the definition, on any mesh, and nothing else."""

import jax
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.dino.augment import normalize
from rats_jax.errors import UserError
from rats_jax.procedural_parts import ProceduralParts
from rats_jax.runs.events import Events
from rats_jax.runs.metric_names import display_name, measured_on
from rats_jax.runs.online.data import DRAWN_SEED
from rats_jax.runs.online.evaluation import open_evaluation
from tests.parts.probes.test_in_context import dense
from tests.runs.online.evaluated import IMAGES, PATCH, SIDE, evaluated, measured, measuring
from tests.torch_reference.weights import randomised

NAMES = [f"segmentation/{name}_30" for name in ("miou", "aacc", "macc")]


def alone(**fields):
    fields = {"run__keep_best": 0, "evaluation__measures": ("segmentation",)} | fields
    return evaluated(**fields)


def test_scores_are_those_of_the_nearest_patches(tmp_path):
    """Images 0, 2 and 4 are remembered, and 1, 3 and 5 are labelled."""
    config = alone()
    found = measured(config, Events(tmp_path))
    dino = make_dino(config, images=40)
    teacher = randomised(jax.eval_shape(lambda: dino.init(0))["teacher"], seed=1)
    drawn = [ProceduralParts(size=SIDE, length=IMAGES, seed=DRAWN_SEED).sample(i) for i in range(6)]
    images = np.stack([of.image for of in drawn])
    look = jax.jit(lambda images: dino.network.features(teacher, normalize(images)).patches)
    patches = np.asarray(look(images), np.float64)
    masks = np.stack([of.parts for of in drawn]).astype(int)
    ids, side = np.unique(masks[::2]), SIDE // PATCH
    cells = masks.reshape(6, side, PATCH, side, PATCH).swapaxes(2, 3).reshape(6, side**2, -1)
    counts = np.stack([(cells == id_).sum(-1) for id_ in ids], -1)
    memory, labels = patches[::2].reshape(-1, patches.shape[-1]), counts[::2].reshape(-1, len(ids))
    weights = np.maximum(
        1 - abs((np.arange(SIDE)[:, None] + 0.5) / PATCH - 0.5 - np.arange(side)), 0
    )
    weights /= weights.sum(1, keepdims=True)  # the outer pixels
    predicted = []
    for of_image in patches[1::2]:
        shares = dense(memory, labels, of_image, 30).reshape(side, side, -1)
        predicted.append(ids[np.einsum("ih,hwc,jw->ijc", weights, shares, weights).argmax(-1)])
    table = confusion_matrix(masks[1::2].ravel(), np.ravel(predicted)).astype(float)
    right, truth, guessed = np.diag(table), table.sum(1), table.sum(0)
    expected = [
        np.mean(right / (truth + guessed - right)),
        right.sum() / table.sum(),
        np.mean((right / np.where(truth, truth, 1))[truth > 0]),
    ]
    np.testing.assert_allclose([found[name] for name in NAMES], expected, atol=2e-3)
    assert found["evaluation/left_out"] == 0


def test_it_is_the_same_on_any_mesh(tmp_path):
    one, four = (measured(alone(), Events(tmp_path), devices) for devices in (1, 4))
    np.testing.assert_allclose([one[n] for n in NAMES], [four[n] for n in NAMES], atol=5e-3)


def test_it_is_only_measured_if_listed_and_changes_no_other_figure(tmp_path):
    plain = measured(evaluated(run__keep_best=0), Events(tmp_path))
    assert not set(NAMES) & set(plain)
    listed = ("parts", "registers", "knn", "segmentation")
    found = measured(evaluated(run__keep_best=0, evaluation__measures=listed), Events(tmp_path))
    assert {name: x for name, x in found.items() if name not in NAMES} == plain
    assert all(0 <= found[name] <= 1 for name in NAMES)
    assert (
        display_name(NAMES[0]) == "in-context mIoU (k = 30)"
        and measured_on(NAMES[0]) == "segmentation"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"evaluation__parts": "sam:x"},
            "parts of folder, .*, pascal-part, procedural_parts, comp",
        ),
        ({"evaluation__resolution": 36}, "resolution 36 is not a multiple of config.model.patch 8"),
    ],
)
def test_what_cannot_be_measured_is_refused(fields, message):
    config = alone(**fields)
    mesh = make_mesh(config, jax.devices()[:1])
    with pytest.raises(UserError, match=message):
        open_evaluation(config, make_dino(config, images=40), mesh)


def test_one_image_is_too_few(tmp_path):
    measure = measuring(alone(evaluation__images=1), Events(tmp_path))
    with pytest.raises(UserError, match="needs two classes in every second image"):
        measure(0)
