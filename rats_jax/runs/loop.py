"""The training loop."""

import math
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.assemble import make_dino, make_mesh, make_samples, make_source
from rats_jax.command_line import say
from rats_jax.config import validate
from rats_jax.data.device import device_batches, rows_here
from rats_jax.data.device_crops import crop_canvases, flip_crops
from rats_jax.data.pipeline import BatchStream, open_batches
from rats_jax.data.sources import Source
from rats_jax.dino.augment import Photometrics, augment, draw_parameters
from rats_jax.dino.step import DINO, step_key
from rats_jax.errors import UserError
from rats_jax.parallel.distributed import agree
from rats_jax.parallel.mesh import batch_sharding, describe, on_mesh, replicated
from rats_jax.parallel.rules import state_shardings
from rats_jax.runs.checkpoint import Checkpoints
from rats_jax.runs.compilation_cache import keep_compiled_programs
from rats_jax.runs.reporting import Progress, open_writer, say_parameters
from rats_jax.runs.unreadable import Unreadable
from rats_jax.runs.workdir import open_workdir, sign, take_part


def train(config: ConfigDict, workdir: str, *, source: Source | None = None) -> Path:
    """Trains until the recipe's end, or `config.run.stop_after`, from the newest checkpoint on.

    Args:
      config: a recipe, see `rats_jax.config`.
      workdir: where the run is kept.
      source: the images; by default those that `config.data` names.

    Returns the workdir. Raises UserError for a config, data set or workdir that cannot be used.
    """
    validate(config)
    keep_compiled_programs(config.run.compilation_cache)
    if source is None:
        source = make_source(config)
    dino = make_dino(config, images=len(source))
    mesh = make_mesh(config)
    folder = _open_together(workdir, config, images=len(source))
    steps = dino.schedules.steps
    say(
        f"{len(source):,} images, batch {config.optimizer.batch_size} on {describe(mesh)}: "
        f"{steps:,} steps of {dino.schedules.steps_per_epoch:,} to the epoch"
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
    like = abstract_state(dino, seed, mesh)
    step = checkpoints.latest()
    if step is None:
        shardings = jax.tree.map(lambda x: x.sharding, like)
        return jax.jit(dino.init, static_argnums=0, out_shardings=shardings)(seed), 0
    say(f"going on from the checkpoint at step {step}")
    return checkpoints.restore(step, like), step


def _open_together(path: str, config: ConfigDict, *, images: int) -> Path:
    """The workdir, opened by process 0; the others see that it is theirs, too."""
    if jax.process_count() == 1:
        return open_workdir(path, config)
    if jax.process_index() == 0:
        folder = open_workdir(path, config)
        agree({"sign": sign(folder), "images": images})
        return folder
    told = agree()
    if told["images"] != images:
        raise UserError(
            f"config.data has {images:,} images here and {told['images']:,} for process 0: give "
            "all processes the same"
        )
    return take_part(path, config, told["sign"])


def abstract_state(dino: DINO, seed: int, mesh: Mesh) -> dict:
    """Shapes, dtypes and shardings of the state."""
    state = jax.eval_shape(dino.init, seed)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        state,
        state_shardings(mesh, state),
    )


def abstract_samples(config: ConfigDict, mesh: Mesh) -> dict:
    """Shapes, dtypes and shardings of the samples of a global batch."""
    batch_size, sharding = config.optimizer.batch_size, batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=sharding)
        for name, (shape, dtype) in make_samples(config).fields.items()
    }


def make_train_step(dino: DINO, config: ConfigDict, mesh: Mesh):
    """(state, uint8 samples) -> (state, metrics), jitted; the state is donated."""
    settings = Photometrics(**config.photometrics)
    crops = config.crops

    def make_crops(batch: dict) -> dict[str, jax.Array]:
        samples = batch["samples"]
        if "canvas" in samples:
            sizes = {"global_size": crops.global_size, "local_size": crops.local_size}
            cut = crop_canvases(samples, **sizes)
        else:
            cut = flip_crops(samples)
        return augment(cut, batch["draws"], settings=settings)

    def train_step(state: dict, samples: dict[str, jax.Array]) -> tuple[dict, dict]:
        with on_mesh(mesh):
            draws = draw_parameters(
                step_key(state, "photometrics"),
                images=len(samples["flips"]),
                local_crops=crops.local_crops,
                settings=settings,
            )
            return dino.step(state, {"samples": samples, "draws": draws}, make_crops=make_crops)

    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(dino, config.seed, mesh))
    return jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))


def _run(config, dino: DINO, source: Source, mesh, state, start, last, checkpoints, folder):
    batch_size, run = config.optimizer.batch_size, config.run
    train_step = make_train_step(dino, config, mesh)
    progress = Progress(
        batch_size=batch_size,
        steps=last,
        steps_per_epoch=dino.schedules.steps_per_epoch,
    )
    unreadable = Unreadable(source, folder, max_share=config.data.max_unreadable)
    writer = open_writer(folder if jax.process_index() == 0 else None)
    try:
        sharding = batch_sharding(mesh)
        stream = _open_input(config, source, rows_here(sharding, batch_size), start)
        with device_batches(
            stream, sharding, batch_size=batch_size, depth=config.data.prefetch
        ) as batches:
            say("compiling the training step")
            train_step = _compiled(train_step.lower(state, abstract_samples(config, mesh)))
            agree()  # to compile takes longer on some hosts than on others
            for step in range(start + 1, last + 1):
                samples, host = next(batches)
                unreadable.add(
                    host["unreadable"], replaced=host["replaced"], drawn=len(host["index"])
                )
                state, metrics = train_step(state, samples)
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


def _compiled(step: jax.stages.Lowered) -> jax.stages.Compiled:
    try:
        return step.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            "the training step does not fit in the devices' memory: python -m rats_jax.plan with "
            "the same flags finds what does (model.remat, optimizer.accumulation, mesh.fsdp)"
        ) from None


def _open_input(config: ConfigDict, source: Source, rows: np.ndarray, start: int) -> BatchStream:
    data = config.data
    stream = open_batches(
        source,
        samples=make_samples(config),
        seed=config.seed,
        batch_size=config.optimizer.batch_size,
        start_step=start,
        workers=data.workers,
        threads=data.threads,
        rows=rows,
    )
    say(
        f"input: {data.cropping}, workers {data.workers}, threads {data.threads}, "
        f"{stream.bytes / 2**20:,.1f} MB of batches in host memory"
    )
    return stream


def _check_finite(step: int, value: float, checkpoints: Checkpoints) -> None:
    """Before a report, the loss; before a checkpoint, the gradient: none is kept that has NaN."""
    if not math.isfinite(value):
        raise UserError(
            f"the loss is not finite at step {step}; the last checkpoint is at step "
            f"{checkpoints.latest()}: lower config.optimizer.learning_rate or set "
            "config.optimizer.clip, and start again in another --workdir"
        )
