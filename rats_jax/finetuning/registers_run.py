"""Trains and scores the decoders in JAX, by the loop, checkpoints and guards of pretraining."""

from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.assemble import make_mesh
from rats_jax.errors import UserError
from rats_jax.finetune_validation import check_backbone
from rats_jax.finetuning.assembly import make_decoder
from rats_jax.finetuning.evaluator import OnlineScores
from rats_jax.finetuning.images import check_same_classes, open_data, open_test
from rats_jax.finetuning.initial import initial_backbone, open_start
from rats_jax.finetuning.method import FineTuning, schedules_of
from rats_jax.finetuning.results import write_results
from rats_jax.parallel.mesh import describe
from rats_jax.parallel.mesh import make_mesh as mesh_of
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.compilation_cache import keep_compiled_programs
from rats_jax.runs.loop import run_in
from rats_jax.runs.memory import check_address_space
from rats_jax.runs.method import Method
from rats_jax.runs.online.evaluation import OnlineEvaluation
from rats_jax.runs.opened import Run
from rats_jax.runs.programs import abstract_state
from rats_jax.runs.same_data import data_facts
from rats_jax.runs.workdir import check_command, folder_of, load_config
from rats_jax.voice import say


def finetune(config: ConfigDict, workdir: str) -> Path:
    """Trains from the newest checkpoint to the end of the run, then scores its best checkpoint.

    Returns the workdir. Raises UserError for what cannot be used, Stopped after SIGTERM or Ctrl-C,
    once the run is saved.
    """
    check_command(folder_of(workdir), config)
    check_address_space()
    keep_compiled_programs(config.run.compilation_cache)
    run, scores = _prepared(config, workdir)
    folder, is_finished = run_in(workdir, run)
    if is_finished:
        _score_best(run.config, run.method, run.mesh, scores, folder)
    return folder


def evaluate(workdir: str) -> None:
    """Scores the best checkpoint of the run in a workdir. Raises UserError."""
    folder = folder_of(workdir)
    start = open_start(load_config(folder), workdir)
    config, options = start.config, start.options
    test = open_test(config)  # the training images are not needed
    if start.classes is not None:
        check_same_classes(start.classes, test.classes)
    mesh = _mesh_for_scores(config, options.heads)
    schedules = schedules_of(config, images=1)  # an epoch's length has no effect here
    decoder = make_decoder(config, options, schedules, classes=len(test.classes), scales={})
    method = FineTuning(config, decoder, schedules)
    scores = OnlineScores(test, decoder.network, mesh, config, patch=options.patch)
    _score_best(config, method, mesh, scores, folder)


def _mesh_for_scores(config: ConfigDict, heads: int) -> Mesh:
    """The mesh of the run; or of all devices, if it does not fit those of this machine."""
    try:
        return make_mesh(config, heads=heads)
    except UserError:
        mesh = mesh_of()
        say(
            "config.mesh and config.optimizer.batch_size of the run do not fit the devices here: "
            f"images are scored on {describe(mesh)}, with mesh.data=-1, mesh.fsdp=1, mesh.tensor=1"
        )
        return mesh


def _prepared(config: ConfigDict, workdir: str) -> tuple[Run, OnlineScores]:
    """The run, and what scores it."""
    start = open_start(config, workdir)
    config = start.config
    check_backbone(config, start.options)
    data = open_data(config)
    if start.classes is not None:
        check_same_classes(start.classes, data.classes)
    config.data.classes = data.classes  # () means those of the data, which a resume must have too
    mesh = make_mesh(config, heads=start.options.heads)
    schedules = schedules_of(config, images=len(data.source))
    decoder = make_decoder(
        config, start.options, schedules, classes=len(data.classes), scales=start.scales
    )
    method = FineTuning(config, decoder, schedules)
    scores = OnlineScores(data.test, decoder.network, mesh, config, patch=start.options.patch)
    run = Run(
        config=config,
        method=method,
        mesh=mesh,
        source=data.source,
        evaluation=OnlineEvaluation(
            {"scores": scores},
            config.run,
            every=config.evaluation.every_steps,
            steps_per_epoch=schedules.steps_per_epoch,
            at_start=False,
        ),
        data=data_facts(data.source, seed=config.seed),
        initial=initial_backbone(start, abstract_state(method, config.seed, mesh)),
    )
    return run, scores


def _score_best(
    config: ConfigDict, method: Method, mesh: Mesh, scores: OnlineScores, folder: Path
) -> None:
    """Scores the best checkpoint by `config.run.best_metric`, and writes WORKDIR/results."""
    settings = config.run
    by_metric = {"best_metric": settings.best_metric, "best_is": settings.best_is}
    like = {"student": abstract_state(method, config.seed, mesh)["student"]}
    with Checkpoints(folder, read_only=True, **by_metric) as checkpoints:
        restore = checkpoints.restore_best if settings.keep_best else checkpoints.restore_part
        found = restore(like)
    if found is None:
        raise UserError(f"{folder} contains no checkpoint yet: wait until the run has saved one")
    which = "the best" if settings.keep_best and found.value is not None else "the newest"
    say(f"scoring the checkpoint at step {found.step:,}, {which}")
    scorer, evaluated = scores.score(
        found.state["student"], on_error=lambda error: say(f"warning: left out: {error}")
    )
    if jax.process_index() == 0:
        about = {
            "command": "rats finetune",
            "workdir": folder.name,
            "step": found.step,
            "decoder": config.decoder.name,
            "config": config.to_dict(),
        }
        write_results(folder / "results", scores.data, scorer, evaluated, about=about)
        say(f"results in {folder / 'results'}")
