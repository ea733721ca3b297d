"""k-NN accuracy while a run trains: labels of any kind, and classes that do not fit."""

import jax
import numpy as np
import pytest

from rats_jax.assemble import make_mesh
from rats_jax.classification.labelled import LabelledImages
from rats_jax.errors import UserError
from rats_jax.parallel.mesh import replicated
from rats_jax.runs.online.evaluator import Moment
from rats_jax.runs.online.evaluators import knn as online_knn
from rats_jax.runs.online.evaluators.knn import OnlineKNN
from tests.runs.online.evaluated import SIDE, evaluated

MOMENT = Moment(None, first=True, beat=lambda: None, on_error=print)


def test_knn_compares_classes_by_their_names():
    class Stored(list):
        images = LabelledImages("stored", [], ())

        def vectors(self, *_, **__):
            return np.eye(2, dtype=np.float32), np.array(self)

    knn = object.__new__(OnlineKNN)
    knn._k, knn._program, knn._as_in_train = 1, print, np.array([1, 0])
    knn._train, knn._test = Stored([0, 1]), Stored([1, 0])
    found = knn.measure({}, MOMENT)
    assert found.scalars == {"knn/top1_1": 1.0} and found.left_out == 0


def test_labels_of_any_size_come_through_the_mesh(monkeypatch):
    """JAX has 32 bits; ids of a catalogue, and hashes, may have 63."""
    ids = [0, 5, 2**31, 2**40 + 3, 2**63 - 1] * 4
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    images = LabelledImages("ids", [(pixels, label) for label in ids], ())
    monkeypatch.setattr(online_knn, "open_labelled", lambda _: images)
    mesh = make_mesh(evaluated(), jax.devices())
    labelled = online_knn._Labelled(evaluated().evaluation, "knn_train", SIDE, mesh)

    def look(images, labels):
        return jax.device_put((images[:, 0, 0].astype(np.float32), labels), replicated(mesh))

    _, found = labelled.vectors(look, beat=lambda: None, on_error=print)
    assert found.tolist() == ids


def test_images_of_one_class_are_refused_and_strangers_warned_of(capsys):
    class Stored(list):
        images = LabelledImages("stored", [], ())

        def vectors(self, *_, **__):
            return np.eye(len(self), dtype=np.float32), np.array(self)

    knn = object.__new__(OnlineKNN)
    knn._k, knn._program, knn._as_in_train = 1, print, None
    knn._train, knn._test = Stored([4, 4]), Stored([4, 4])
    with pytest.raises(UserError, match="stored has images of fewer than two classes"):
        knn.measure({}, MOMENT)
    knn._train, knn._test = Stored([4, 5]), Stored([4, 6])
    for _ in range(2):
        knn.measure({}, MOMENT)
    said = capsys.readouterr().out
    assert said.count("warning: 1 of 2 images are of classes of which knn_train has no image") == 1
