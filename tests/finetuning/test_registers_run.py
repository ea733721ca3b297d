"""Fine-tuning in JAX: by the loop of pretraining, from weights that are read once."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from rats_jax.backbones import open_backbone, open_with_twin
from rats_jax.errors import UserError
from rats_jax.finetuning.registers_run import evaluate, finetune
from rats_jax.runs.learned_dictionary import learned_entries
from rats_jax.runs.loop import train
from tests.finetuning.tiny import metrics, saved, tiny_finetune, tiny_options, write_weights
from tests.runs.tiny import tiny_config


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "rats", tiny_options())


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, weights) -> Path:
    config = tiny_finetune(model__checkpoint=str(weights))
    return finetune(config, str(tmp_path_factory.mktemp("run") / "whole"))


def test_a_run_leaves_what_pretraining_leaves_and_the_scores_of_its_best_checkpoint(whole_run):
    rows = metrics(whole_run)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {
        "loss",
        "class_loss",
        "mask_loss",
        "dice_loss",
        "class_accuracy",
        "learning_rate",
    } <= rows[0].keys()
    scored = {row["step"]: row["semantic/miou"] for row in rows if "semantic/miou" in row}
    assert scored.keys() == {3, 6}
    assert rows[-1]["loss"] < rows[0]["loss"]
    results = json.loads((whole_run / "results/results.json").read_text())
    assert results["step"] == max(scored, key=lambda step: (scored[step], step))
    assert results["scores"]["semantic/miou"]["value"] == pytest.approx(max(scored.values()))
    assert (whole_run / "results/predictions.png").stat().st_size > 1000
    config = json.loads((whole_run / "config.json").read_text())
    assert len(config["data"]["classes"]) == 41
    assert json.loads(config["model"]["backbone"])["parallel"] == "shared"
    assert (whole_run / "dynamics.png").exists()


@pytest.mark.slow
def test_a_resume_is_the_same_and_reads_no_weights(whole_run, weights, tmp_path, capsys):
    moved = Path(shutil.copytree(weights, tmp_path / "moved"))
    start = tiny_finetune(model__checkpoint=str(moved), run__stop_after=3)
    finetune(start, str(tmp_path / "run"))
    shutil.rmtree(moved)
    finetune(tiny_finetune(model__checkpoint=str(moved)), str(tmp_path / "run"))
    assert "resuming from the checkpoint at step 3" in capsys.readouterr().out
    assert metrics(tmp_path / "run") == metrics(whole_run)
    assert saved(tmp_path / "run", 6) == saved(whole_run, 6)


def test_a_frozen_backbone_keeps_its_weights_under_a_linear_layer(weights, tmp_path):
    config = tiny_finetune(model__checkpoint=str(weights), model__freeze="backbone")
    config.decoder.name, config.model.parallel = "linear", "none"
    run = finetune(config, str(tmp_path / "run"))
    assert metrics(run)[-1]["loss"] < metrics(run)[0]["loss"]
    given, trained = (open_backbone(path).params for path in (weights, run))
    jax.tree.map(np.testing.assert_array_equal, given, trained)


def test_the_best_checkpoint_is_scored_again_with_the_same_result(whole_run, tmp_path, capsys):
    run = Path(shutil.copytree(whole_run, tmp_path / "run"))
    before = (run / "results/results.json").read_text()
    shutil.rmtree(run / "results")
    config = json.loads((run / "config.json").read_text())
    config["mesh"].update(data=4, fsdp=2)  # of a larger machine, without the training images here
    config["data"]["train"] = f"folder:{tmp_path}/none"
    (run / "config.json").write_text(json.dumps(config))
    evaluate(str(run))
    assert "of the run do not fit the devices here: images are scored on" in capsys.readouterr().out
    again, before = json.loads((run / "results/results.json").read_text()), json.loads(before)
    assert again["scores"] == before["scores"] and again["step"] == before["step"]


def test_other_commands_open_its_backbone_and_say_what_it_does_not_have(
    whole_run, tmp_path, capsys
):
    backbone = open_backbone(whole_run)
    assert backbone.options.parallel == "shared"
    assert "the best of semantic/miou" in backbone.origin
    assert open_backbone(whole_run / "checkpoints/2").step == 2
    with pytest.raises(UserError, match="is of a run of rats finetune, and this needs a run of"):
        learned_entries(whole_run)
    open_backbone(whole_run, weights="student")
    assert "--weights=student has no effect: a run of rats finetune" in capsys.readouterr().out
    with pytest.raises(UserError, match="this is one of rats finetune, which starts from weights"):
        open_with_twin(str(whole_run), weights="teacher", untrained=True)
    copy = shutil.copytree(whole_run / "checkpoints/2", tmp_path / "copy/2")
    with pytest.raises(UserError, match="read in its run only: put it back"):
        open_backbone(copy)
    with pytest.raises(UserError, match="contains a run of rats finetune: choose another"):
        train(tiny_config(), str(whole_run))
    (tmp_path / "config.json").write_text(json.dumps(tiny_config().to_dict()))
    with pytest.raises(UserError, match="contains a run of rats train: choose another"):
        finetune(tiny_finetune(), str(tmp_path))


@pytest.mark.slow
def test_pretraining_starts_from_a_fine_tuned_backbone(whole_run, tmp_path, capsys):
    config = tiny_config(init__checkpoint=str(whole_run), run__stop_after=1)
    config.model.parallel = "shared"
    config.crops.update(global_size=16)
    train(config, str(tmp_path / "run"))
    assert "taken: backbone; the same for student and teacher" in capsys.readouterr().out


def test_what_cannot_be_used_is_said_in_one_line(whole_run, weights, tmp_path):
    def refused(**fields) -> str:
        with pytest.raises(UserError) as error:
            finetune(tiny_finetune(**fields), str(workdir))
        return str(error.value)

    workdir = tmp_path / "new"
    vit = tiny_options(architecture="rats").asdict()
    vit = {k: v for k, v in vit.items() if k in ("width", "depth", "heads", "patch", "image_size")}
    plain = write_weights(tmp_path / "vit", tiny_options_of_vit(vit))
    given = {"model__checkpoint": str(weights)}
    assert "has none: set --decoder=mask2former" in refused(model__checkpoint=str(plain))
    assert "config.data.train is empty" in refused(**given, data__train="")
    assert "config.data.test is empty" in refused(**given, data__test="")
    assert "best_metric is 'semantic/iou'" in refused(**given, run__best_metric="semantic/iou")
    assert not workdir.exists()
    workdir = Path(shutil.copytree(whole_run, tmp_path / "old"))
    classes = ("1", "2")
    said = refused(**given, data__classes=classes, data__train="procedural_parts:24")
    assert "the classes of the data are not those that the run was started with" in said
    said = refused(**given, data__train="procedural_parts:25")
    assert "there were 24 images, now there are 25 (config.data.train procedural_parts:25)" in said
    said = refused(**given, decoder__width=8)
    assert "config.decoder.width is 16 there and 8 here" in said


def tiny_options_of_vit(options: dict):
    from rats_jax.models.options import options_of

    return options_of({"architecture": "vit", **options})
