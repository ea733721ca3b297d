"""k-NN classification with the teacher's vectors, computed on the mesh of the run."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.classification.accuracy import check_classes, label_warnings
from rats_jax.classification.knn import knn_predictions
from rats_jax.classification.labelled import (
    BrokenImage,
    LabelledImages,
    check_apart,
    check_class_names,
    labels_as,
    open_labelled,
    relabelled,
)
from rats_jax.classification.views import central_crop
from rats_jax.data.decode import UnreadableImage, decode_fast
from rats_jax.data.fingerprint import fingerprint
from rats_jax.data.subset import evenly
from rats_jax.dino.augment import normalize
from rats_jax.errors import UserError
from rats_jax.parallel.mesh import on_mesh, replicated
from rats_jax.runs.online.evaluator import Evaluator, Found, Moment, Opening
from rats_jax.runs.online.spread import Spread
from rats_jax.runs.programs import compiled
from rats_jax.voice import say

REMEDY = "spread parameters over more devices with config.mesh.fsdp"


class OnlineKNN(Evaluator):
    """Classifies the images of `config.evaluation.knn_test` by those of `knn_train`.

    Works as `rats_jax.evaluate --task=knn`, at the size of the global crops and in the dtype of
    training. Every process has the vectors of all images, [N, D] float32.
    """

    on = "knn"
    groups = ("knn",)
    scores = {"knn/top1": "k-NN top-1"}
    number = "k"
    _warned = False

    def __init__(self, opening: Opening):
        config, network, mesh = opening.config, opening.dino.network, opening.mesh
        evaluation = config.evaluation
        self._k, self._side = evaluation.knn_k, config.crops.global_size
        self._train, self._test = (
            _Labelled(evaluation, name, self._side, mesh) for name in ("knn_train", "knn_test")
        )
        check_apart(self._train.images, self._test.images)
        self._as_in_train = labels_as(self._train.images, self._test.images)
        if self._k > len(self._train):
            raise UserError(
                f"config.evaluation.knn_k {self._k} is more than the {len(self._train)} images of "
                "config.evaluation.knn_train: choose fewer neighbours"
            )

        def look(teacher: dict, images: jax.Array, labels: jax.Array) -> tuple:
            with on_mesh(mesh):
                return network.features(teacher, normalize(images)).global_vector, labels

        self._look = jax.jit(look, out_shardings=replicated(mesh))

    @classmethod
    def open(cls, opening: Opening) -> "OnlineKNN | None":
        evaluation = opening.config.evaluation
        if bool(evaluation.knn_train) != bool(evaluation.knn_test):
            raise UserError(
                "config.evaluation.knn_train and knn_test must be given together: set both, or "
                "neither"
            )
        return cls(opening) if evaluation.knn_train else None

    @property
    def about(self) -> dict:
        """The path of the images is compared only if NAME_images is missing, see
        `best_metric.measure_changes`."""
        about = {}
        for name, of in {"knn_train": self._train, "knn_test": self._test}.items():
            counts = f"{len(of)} of {len(of.images.source)} images"
            about[name] = f"{of.images.name}, {counts}"
            if of.fingerprint:
                about[f"{name}_images"] = f"{of.fingerprint}, {counts}"
        return about

    @property
    def names(self) -> list[str]:
        return [f"knn/top1_{self._k}"]

    def compile(self, teacher: dict) -> None:
        """See `Evaluator`."""
        self._program = compiled(
            self._look.lower(teacher, *self._test.abstract), what="k-NN", remedy=REMEDY
        )

    def measure(self, teacher: dict, moment: Moment) -> Found:
        """See `Evaluator`. knn/top1_K is the fraction that is classified correctly."""
        look = partial(self._program, teacher)
        (bank, known), (queries, expected) = (
            of.vectors(look, beat=moment.beat, on_error=moment.on_error)
            for of in (self._train, self._test)
        )
        left_out = len(self._train) + len(self._test) - len(known) - len(expected)
        if len(known) < self._k or not len(expected):
            raise UserError(
                f"config.evaluation: only {len(known)} images of knn_train and {len(expected)} of "
                "knn_test could be read, which is too few for k-NN"
            )
        check_classes(known, len(expected), of=self._train.images.name)
        expected = relabelled(expected, self._as_in_train, of=self._test.images.name)
        for line in () if self._warned else label_warnings(known, expected, of="knn_train"):
            say(f"{line} (config.evaluation.knn_test)")
        self._warned = True
        predicted = knn_predictions(bank, known, queries, (self._k,))[self._k][:, 0]
        moment.beat()
        return Found({self.names[0]: float(np.mean(predicted == expected))}, left_out)


class _Labelled:
    """One of the two sets of images, with labels."""

    def __init__(self, evaluation: ConfigDict, field: str, side: int, mesh: Mesh):
        try:
            self.images: LabelledImages = open_labelled(evaluation[field])
            check_class_names(self.images)
        except UserError as error:
            raise UserError(f"config.evaluation.{field}: {error}") from None
        self._side = side
        self.fingerprint = fingerprint(self.images.source)
        self._chosen = evenly(len(self.images.source), evaluation.knn_images)
        self._spread = Spread(mesh, len(self._chosen))
        self.abstract = (
            self._spread.abstract((side, side, 3), np.uint8),
            self._spread.abstract((2,), np.int32),  # the halves of an int64, which JAX lacks
        )

    def __len__(self) -> int:
        return len(self._chosen)

    def vectors(
        self, look: Callable, *, beat: Callable, on_error: Callable
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors [N, D] and labels [N] of the images that can be read."""
        found = []
        with ThreadPoolExecutor(max(os.cpu_count() or 1, 2)) as pool:
            for samples in self._spread.read(pool, self._read, on_error=on_error):
                pixels = {row: view for row, (view, _) in samples.items()}
                labels = {row: label for row, (_, label) in samples.items()}
                vectors, labels = look(
                    self._spread.put(pixels, self.abstract[0]),
                    self._spread.put(labels, self.abstract[1], -1),
                )
                vectors, labels = jax.device_get((vectors, labels))
                labels = np.ascontiguousarray(labels).view(np.int64)[:, 0]
                found.append((vectors[labels >= 0], labels[labels >= 0]))
                beat()
        vectors, labels = zip(*found, strict=True)
        return np.concatenate(vectors).astype(np.float32), np.concatenate(labels)

    def _read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        index = int(self._chosen[i])
        try:
            image, label = self.images.read(index)
            halves = np.array([label]).view(np.int32)
            return central_crop(decode_fast(image), self._side), halves
        except (BrokenImage, UnreadableImage) as error:
            broken = isinstance(error, BrokenImage)
            raise UserError(str(error if broken else self.images.broken(index, error))) from None
