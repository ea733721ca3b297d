"""A run from its start to its results, and what it refuses."""

import json
import math
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from rats_jax import demo_model
from rats_jax.config import default_config
from rats_jax.errors import Stopped, UserError
from rats_jax.finetuning import images
from rats_jax.finetuning.mask2former import evaluation as mask2former_evaluation
from rats_jax.finetuning.mask2former import tensor_files
from rats_jax.finetuning.mask2former.opening import first_backbone
from rats_jax.finetuning.mask2former.run import evaluate, finetune
from rats_jax.finetuning.mask2former.step import TrainStep
from rats_jax.runs.workdir import load_config, write_config
from rats_jax.segmentation import evaluation
from tests.finetuning.mask2former.tiny import tiny_config, tiny_parts


@pytest.fixture(autouse=True)
def tiny_model():
    with tiny_parts():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run after its last step; no test may change it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with tiny_parts():
        finetune(tiny_config(), str(folder))
    return folder


def read(file) -> dict:
    return json.loads(file.read_text())


def scores_in(folder) -> dict[int, float]:
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["semantic/miou"] for row in rows if "semantic/miou" in row}


def test_results_and_export_are_those_of_the_best_checkpoint(finished):
    scores = scores_in(finished)
    assert list(scores) == [4, 8]
    results = read(finished / "results/results.json")
    best = max(step for step in (4, 8) if scores[step] == max(scores[4], scores[8]))
    assert results["step"] == best
    assert results["scores"]["semantic/miou"]["value"] == pytest.approx(scores[best])
    assert f"'step': {best}" in (finished / "export/about.txt").read_text()
    assert (finished / "results/predictions.png").exists()


def test_evaluate_scores_the_best_checkpoint_again(finished):
    before = read(finished / "results/results.json")
    (finished / "results/results.json").unlink()
    evaluate(str(finished))
    assert read(finished / "results/results.json") == before


def test_a_finished_run_has_nothing_to_train(finished, capsys):
    finetune(tiny_config(), str(finished))
    assert "already at step 8 of 8: nothing to train" in capsys.readouterr().out


def test_a_run_stops_where_it_is_asked_and_continues_without_the_weights(tmp_path, capsys):
    folder = str(tmp_path / "run")
    finetune(tiny_config(run__stop_after=3), folder)
    assert "stopped at step 3 of 8" in capsys.readouterr().out
    finetune(tiny_config(model__checkpoint="gone", optimizer__clip=0.1), folder)
    said = capsys.readouterr().out
    assert "resuming from the checkpoint at step 3" in said
    assert "config.optimizer.clip was 0.01 and is 0.1 from now on" in said
    assert "the untrained" not in said and "step 8/8" in said


def test_a_signal_interrupts_an_evaluation_which_a_resume_repeats(finished, tmp_path):
    calls = []

    def asked(*given, **options):
        calls.append(given)
        if len(calls) == 2:  # the first is the trial before the first step
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)  # until the thread that hears signals has heard it
        return evaluation.evaluate(*given, **options)

    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask2former_evaluation, "evaluate", asked)
        with pytest.raises(Stopped, match="saved at step 4"):
            finetune(tiny_config(), str(folder))
    assert "semantic/miou" not in read(folder / "checkpoints/4/checkpoint.json")["metrics"]
    finetune(tiny_config(), str(folder))
    assert scores_in(folder) == scores_in(finished)
    results = [read(of / "results/results.json")["scores"] for of in (folder, finished)]
    assert results[0] == results[1]


def test_no_evaluation_before_the_last_step_if_none_is_wanted(tmp_path, capsys):
    finetune(tiny_config(evaluation__every_steps=0), str(tmp_path / "run"))
    assert "tried out" not in capsys.readouterr().out
    assert list(scores_in(tmp_path / "run")) == [8]


def test_other_classes_are_refused_even_if_the_images_are_accepted(tmp_path):
    folder = str(tmp_path / "run")
    finetune(tiny_config(run__stop_after=1), folder)
    opened = images.open_both

    def renamed(*given, **options):
        return tuple(
            replace(each, classes=("other", *each.classes[1:]))
            for each in opened(*given, **options)
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "open_both", renamed)
        with pytest.raises(UserError, match="the classes of the data are not those") as error:
            finetune(tiny_config(), folder)
    assert "accept" not in str(error.value) and "\n" not in str(error.value)


def test_a_full_disk_is_one_line(tmp_path):
    full = SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    )

    def save_file(*given, **options):
        raise full

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_files, "save_file", save_file)
        with pytest.raises(UserError, match="model.safetensors cannot be written .*free some") as e:
            finetune(tiny_config(), str(tmp_path / "run"))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"data__train": ""}, "config.data.train is empty"),
        ({"optimizer__accumulation": 4, "optimizer__batch_size": 6}, "accumulation"),
        ({"data__crop": 33}, "config.data.crop 33 is not a multiple"),
        ({"decoder__width": 40}, "config.decoder.width=40 must be a multiple of 32"),
        ({"model__checkpoint": "nowhere.pth"}, "nowhere.pth does not exist"),
    ],
)
def test_a_config_that_cannot_be_trained_makes_no_folder(tmp_path, fields, problem):
    with pytest.raises(UserError, match=problem) as error:
        finetune(tiny_config(**fields), str(tmp_path / "run"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_other_runs_in_the_folder_are_refused(finished, tmp_path):
    cases = {
        "rats train": (default_config(), tiny_config()),
        "config.decoder.name is registers there": (
            tiny_config(decoder__name="registers"),
            tiny_config(),
        ),
    }
    for number, (problem, (was, now)) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        (folder / "checkpoints/5").mkdir(parents=True)
        write_config(folder, was)
        with pytest.raises(UserError, match=problem):
            finetune(now, str(folder))
        with pytest.raises(UserError, match="not the workdir of a run of rats finetune --decoder"):
            evaluate(str(folder))
        assert [p.name for p in (folder / "checkpoints").iterdir()] == ["5"]
    with pytest.raises(UserError, match="the images are not those of the checkpoint at step 8"):
        finetune(tiny_config(data__train="procedural_parts:48"), str(finished))


def test_steps_that_are_not_finite_end_the_run(tmp_path, capsys):
    take = TrainStep.__call__

    def diverged(self, step, parts, counts):
        if step > 3:
            parts[0].images[0] = math.inf
        return take(self, step, parts, counts)

    config = tiny_config()
    config.guards.nonfinite_steps = 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStep, "__call__", diverged)
        with pytest.raises(UserError, match="3 steps in a row were not applied, the last .* 6"):
            finetune(config, str(tmp_path / "run"))
    assert "step 4 was not applied: loss nan" in capsys.readouterr().out


def test_too_little_memory_is_one_line(tmp_path):
    def full(self, step, parts, counts):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nand more")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStep, "__call__", full)
        with pytest.raises(UserError, match="out of memory on the device: lower config") as error:
            finetune(tiny_config(), str(tmp_path / "run"))
    assert "\n" not in str(error.value)


def test_random_weights_depend_on_the_seed_and_have_the_scale_of_pretraining():
    config = tiny_config(model__random=True)
    kernels = []
    for config.seed in (0, 0, 1):
        backbone = first_backbone(config)
        kernels.append(np.asarray(backbone.params["blocks"]["attn"]["qkv"]["kernel"]))
    scale = load_config(demo_model.FOLDER).model
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.allclose(kernels[0], kernels[2])
    std = scale.kernel_std * np.array(
        [scale.query_key_gain, scale.query_key_gain, scale.value_gain]
    )
    assert np.allclose(kernels[0].std((0, 1, 3, 4)), std, rtol=0.05)
