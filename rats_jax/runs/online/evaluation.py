"""What is measured of the teacher while a run goes on: parts, k-NN, the health of its registers."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options
from rats_jax.dino.augment import normalize
from rats_jax.dino.register_health import health, health_sums
from rats_jax.dino.register_health import names as health_names
from rats_jax.dino.step import DINO, first_part
from rats_jax.errors import UserError
from rats_jax.parallel.distributed import gather
from rats_jax.parallel.mesh import on_mesh, replicated
from rats_jax.parts.truth import report
from rats_jax.runs.checkpoints.best_metric import same_measure
from rats_jax.runs.events import Events
from rats_jax.runs.metric_names import called, is_of_evaluation, is_score, measured_on, told
from rats_jax.runs.online.knn import OnlineKNN
from rats_jax.runs.online.parts import OnlineParts, figures
from rats_jax.runs.online.pictures import Shown, part_picture
from rats_jax.runs.programs import abstract_samples, compiled, cut_out
from rats_jax.voice import say


def open_evaluation(config: ConfigDict, dino: DINO, mesh: Mesh) -> "OnlineEvaluation | None":
    """What `config.evaluation` asks for, its data opened; None if it is off.

    Raises UserError for what cannot be measured.
    """
    evaluation, run = config.evaluation, config.run
    if not evaluation.every_epochs:
        if run.keep_best and is_of_evaluation(run.best_metric):
            raise UserError(
                f"config.run.best_metric is {run.best_metric}, which an evaluation gives: set "
                "config.evaluation.every_epochs, such as to 1, or config.run.keep_best=0 (best "
                "checkpoints that are there stay)"
            )
        return None
    if bool(evaluation.knn_train) != bool(evaluation.knn_test):
        raise UserError("config.evaluation.knn_train and knn_test go together: name both, or none")
    return OnlineEvaluation(config, dino, mesh)


class Measured(NamedTuple):
    """scalars: of a step, the same in all processes. judged: those that compare with the scalars of
    the first evaluation, for no image was lost meanwhile. pictures: name -> uint8 [1, h, w, 3], in
    process 0."""

    scalars: dict[str, float]
    judged: dict[str, float]
    pictures: dict[str, np.ndarray] = {}  # noqa: RUF012, nobody writes to it


class OnlineEvaluation:
    """Measures nothing that training depends on, and draws no random number.

    Without images with part masks the registers' health is that of a training batch: its global
    crops as they were cut out.

    Attributes:
      about: what is measured, "parts" and "knn", where they are; figures with another one do not
        compare.
    """

    def __init__(self, config: ConfigDict, dino: DINO, mesh: Mesh):
        evaluation, network = config.evaluation, dino.network
        self._config, self._options = config, backbone_options(config)
        self._steps_per_epoch = dino.schedules.steps_per_epoch
        self._every = max(round(evaluation.every_epochs * self._steps_per_epoch), 1)
        self._parts = OnlineParts(config, network, mesh) if evaluation.parts else None
        self._knn = OnlineKNN(config, network, mesh) if evaluation.knn_train else None
        of = {"parts": self._parts, "knn": self._knn}
        self.about = {name: measures.about for name, measures in of.items() if measures}
        self._heads = self._options.owning_heads or 1
        self._samples = abstract_samples(config, mesh)
        self._told: set[str] = set()
        self._left_out: dict[str, int] = {}  # at first
        self._described = False
        self._check_best_metric()

        watched = (self._options.attended_layer,)

        def look(teacher: dict, samples: dict[str, jax.Array]) -> dict[str, jax.Array]:
            with on_mesh(mesh):
                crops = cut_out(config, first_part(samples, dino.accumulation))["global"]
                images = normalize(crops.reshape(-1, *crops.shape[2:]))
                features = network.features(teacher, images, attention_of=watched)
                return health_sums(features, jnp.ones(len(images), bool))

        self._look = jax.jit(look, out_shardings=replicated(mesh))

    @property
    def names(self) -> list[str]:
        """Those of the figures."""
        names = [name for of in (self._parts, self._knn) if of for name in of.names]
        return names + health_names(
            attention_heads=self._options.heads,
            registers=self._options.registers,
            heads=self._heads,
        )

    def _check_best_metric(self) -> None:
        run = self._config.run
        if not (run.keep_best and is_of_evaluation(run.best_metric)):
            return
        if run.best_metric not in self.names:
            raise UserError(
                f"config.run.best_metric is {run.best_metric!r}: this evaluation has "
                f"{', '.join(self.names)}"
            )
        if is_score(run.best_metric) and run.best_is != "highest":
            raise UserError(
                f"config.run.best_metric is {run.best_metric}, of which the highest is the best: "
                "set config.run.best_is=highest"
            )

    def compile(self, teacher: dict) -> None:
        """Before the first call of `measure`, in all processes. teacher: arrays, or abstract ones.

        Raises UserError where processes have not the same images, or memory is too small.
        """
        for process, about in enumerate(gather(self.about)):
            same = all(same_measure(about.get(name), on) for name, on in self.about.items())
            if not same or about.keys() != self.about.keys():
                raise UserError(
                    f"config.evaluation finds {self.about} here, and {about} at process "
                    f"{process}: give all processes the same images"
                )
        for of in (self._parts, self._knn):
            if of:
                of.compile(teacher)
        if not self._parts:
            lowered = self._look.lower(teacher, self._samples)
            self._of_batch = compiled(lowered, what="the evaluation of registers")

    def is_due(self, step: int, *, last: int) -> bool:
        """Before the first step, after each interval, after the last step."""
        return step % self._every == 0 or step == last

    def measure(
        self,
        step: int,
        teacher: dict,
        samples: Mapping[str, jax.Array] | None,
        *,
        events: Events,
        beat: Callable[[], None],
    ) -> Measured:
        """What this step comes to; all processes come here. No scalars where there is nothing to
        look at, and none of images that can be read no more.

        samples: of the batch at hand, if there is one. beat: called again and again, while all is
        well. A plain grid's scores are added to the events at the first call, to judge by. Raises
        UserError before the first step, when nothing is lost by it, if no image can be read.
        """
        began = time.perf_counter()
        scalars: dict[str, float] = {}
        left_out: dict[str, int] = {}

        @contextmanager
        def going_on() -> Iterator[None]:
            try:
                yield
            except UserError as error:
                if not step:
                    raise
                events.add("evaluation_failed", step=step, reason=str(error))
                say(f"warning: no score at step {step}: {error}")

        def on_error(error: UserError) -> None:
            if str(error) not in self._told:
                self._told.add(str(error))
                events.add_own("evaluation_left_out", step=step, reason=str(error))
                say(f"warning: left out of the evaluation: {error}")

        grid, masks, pictures = {}, {}, {}
        if self._parts:
            with going_on():
                found = self._parts.measure(
                    teacher, grid=not self._described, beat=beat, on_error=on_error
                )
                scalars |= figures(found.scores) | health(found.health, heads=self._heads)
                grid, left_out["parts"] = figures(found.grid), found.left_out
                pictures = self._drawn(step, found.shown)
                masks = found.truth._asdict()
                masks |= {"report": report(found.truth), "notes": list(self._parts.notes)}
                for line in () if self._described else masks["report"]:
                    if line.startswith("warning: "):
                        say(f"{line} (config.evaluation.parts)")
        elif samples is not None:
            sums = jax.device_get(self._of_batch(teacher, samples))
            scalars |= health(sums, heads=self._heads)
        if self._knn:
            with going_on():
                scores, left_out["knn"] = self._knn.measure(teacher, beat=beat, on_error=on_error)
                scalars |= scores
        if not scalars:
            return Measured({}, {})
        if self.about and not self._described:
            events.add("evaluation", step=step, **self.about, grid=grid, masks=masks)
        self._described = True
        judged = dict(scalars)
        for on, count in left_out.items():
            if count != (first := self._left_out.setdefault(on, count)):
                say(
                    f"warning: the evaluation of {on} at step {step} leaves out {count} images, "
                    f"{first} at first: it is not judged for the best checkpoint"
                )
                judged = {name: x for name, x in judged.items() if measured_on(name) != on}
        scalars["evaluation/seconds"] = time.perf_counter() - began
        scalars["evaluation/left_out"] = float(sum(left_out.values()))
        say(_line(step, scalars))
        scalars = {"epoch": step / self._steps_per_epoch} | scalars
        return Measured(scalars, judged, pictures)

    def _drawn(self, step: int, shown: Sequence[Shown]) -> dict[str, np.ndarray]:
        """What goes wrong is said, for a run is worth more than its pictures."""
        if jax.process_index() or not shown:
            return {}
        try:
            return {"parts/regions": part_picture(shown, k=self._parts.k)[None]}
        except Exception as error:
            say(f"warning: the parts at step {step} could not be drawn ({error})")
            return {}


#: Of the registers' figures, those in the line to read.
SAID = {
    "registers/distinct": "distinct registers",
    "registers/attention_entropy": "attention entropy",
}


def _line(step: int, scalars: Mapping[str, float]) -> str:
    """An evaluation as a line to read; scores in percent."""
    parts = [f"evaluation at step {step}"]
    for name, value in scalars.items():
        if is_score(name):
            parts.append(f"{called(name)} {told(name, value)}")
        elif name in SAID:
            parts.append(f"{SAID[name]} {value:.2f}")
    return "  ".join([*parts, f"({scalars['evaluation/seconds']:.1f} s)"])
