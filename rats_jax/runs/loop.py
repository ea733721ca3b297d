"""The training loop."""

import math
from functools import partial
from pathlib import Path

import jax
from ml_collections import ConfigDict

from rats_jax.assemble import make_crops, make_dino, make_source
from rats_jax.command_line import say
from rats_jax.config import validate
from rats_jax.data.device import device_batches
from rats_jax.data.pipeline import open_batches
from rats_jax.data.sources import Source
from rats_jax.dino.augment import Photometrics, photometrics
from rats_jax.dino.step import DINO, step_key
from rats_jax.errors import UserError
from rats_jax.parallel.mesh import batch_sharding, data_mesh, replicated
from rats_jax.runs.checkpoint import Checkpoints
from rats_jax.runs.reporting import Progress, open_writer, say_parameters
from rats_jax.runs.workdir import open_workdir


def train(config: ConfigDict, workdir: str) -> Path:
    """Trains until the recipe's end, or `config.run.stop_after`, from the newest checkpoint on.

    Returns the workdir. Raises UserError for a config, data set or workdir that cannot be used.
    """
    validate(config)
    source = make_source(config)
    dino = make_dino(config, images=len(source))
    mesh = data_mesh(batch_size=config.optimizer.batch_size)
    folder = open_workdir(workdir, config)

    steps = dino.schedules.steps
    say(
        f"{len(source):,} images, batch {config.optimizer.batch_size} on {mesh.size} "
        f"{jax.devices()[0].device_kind} device(s): {steps:,} steps of "
        f"{dino.schedules.steps_per_epoch:,} to the epoch"
    )
    last = min(config.run.stop_after or steps, steps)
    with Checkpoints(folder, keep=config.run.keep_checkpoints) as checkpoints:
        state, start = _start(dino, config.seed, mesh, checkpoints)
        say_parameters(state["student"])
        if start >= last:
            say(f"already at step {start} of {last}: nothing to do")
        else:
            _run(config, dino, source, mesh, state, start, last, checkpoints, folder)
    say(f"done: step {max(start, last)}, results in {folder}")
    return folder


def _start(dino: DINO, seed: int, mesh, checkpoints: Checkpoints) -> tuple[dict, int]:
    """State and the number of steps it has taken: the newest checkpoint, or a fresh one."""
    init = jax.jit(dino.init, static_argnums=0, out_shardings=replicated(mesh))
    step = checkpoints.latest()
    if step is None:
        return init(seed), 0
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)),
        jax.eval_shape(init, seed),
    )
    say(f"going on from the checkpoint at step {step}")
    return checkpoints.restore(step, like), step


def make_train_step(dino: DINO, settings: Photometrics, mesh: jax.sharding.Mesh):
    """(state, uint8 crops) -> (state, metrics), jitted; the state is donated."""

    @partial(jax.jit, donate_argnums=0, out_shardings=replicated(mesh))
    def train_step(state: dict, crops: dict[str, jax.Array]) -> tuple[dict, dict]:
        key = step_key(state, "photometrics")
        return dino.step(state, photometrics(key, crops, settings=settings))

    return train_step


def _run(config, dino: DINO, source: Source, mesh, state, start, last, checkpoints, folder):
    optimizer, run = config.optimizer, config.run
    train_step = make_train_step(dino, Photometrics(**config.photometrics), mesh)
    stream = open_batches(
        source,
        crops=make_crops(config),
        seed=config.seed,
        batch_size=optimizer.batch_size,
        start_step=start,
        workers=config.data.workers,
        threads=config.data.threads,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    progress = Progress(
        batch_size=optimizer.batch_size,
        steps=last,
        steps_per_epoch=dino.schedules.steps_per_epoch,
    )
    unreadable = Unreadable(source, folder / "unreadable.txt")
    writer = open_writer(folder)
    try:
        with device_batches(stream, batch_sharding(mesh)) as batches:
            say("compiling the training step")
            for step in range(start + 1, last + 1):
                crops, host = next(batches)
                unreadable.add(host["unreadable"])
                state, metrics = train_step(state, crops)
                progress.add(metrics)
                if step == start + 1:
                    batches.take_seconds_waited()  # the first batch and compiling are not counted
                if step % run.log_every == 0 or step == last:
                    scalars = progress.report(step, seconds_waited=batches.take_seconds_waited())
                    scalars["unreadable_images"] = unreadable.count
                    writer.write_scalars(step, scalars)
                    writer.flush()
                    say(progress.line(step, scalars))
                    _check_finite(step, scalars["loss"], checkpoints)
                if step % run.checkpoint_every == 0 or step == last:
                    _check_finite(step, float(metrics["gradient_norm"]), checkpoints)
                    checkpoints.save(step, state)
    finally:
        writer.close()
    if unreadable.count:
        say(f"{unreadable.count} images could not be read: see {unreadable.file}")


def _check_finite(step: int, value: float, checkpoints: Checkpoints) -> None:
    """Before a report, the loss; before a checkpoint, the gradient: none is kept that has NaN."""
    if not math.isfinite(value):
        raise UserError(
            f"the loss is not finite at step {step}; the last checkpoint is at step "
            f"{checkpoints.latest()}: lower config.optimizer.learning_rate or set "
            "config.optimizer.clip, and start again in another --workdir"
        )


class Unreadable:
    """Counts the images that could not be read, and lists their names once each in a file."""

    def __init__(self, source: Source, file: Path):
        self.file = file
        self._names = getattr(source, "files", None)
        self._known = set(file.read_text().splitlines()) if file.exists() else set()

    @property
    def count(self) -> int:
        return len(self._known)

    def add(self, indices) -> None:
        """Indices of the images drawn but not read; below 0 for those that were."""
        names = {self._names[i] if self._names else str(i) for i in indices if i >= 0}
        for name in sorted(names - self._known):
            say(f"cannot read {name}: the next image takes its place")
            with self.file.open("a") as file:
                file.write(name + "\n")
        self._known |= names
