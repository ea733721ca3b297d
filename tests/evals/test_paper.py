"""rats reproduce: the paper's numbers beside ours, and what of it could not be run."""

import json
import math
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from rats_jax.backbones import open_backbone
from rats_jax.evals.paper import cost, curves
from rats_jax.evals.paper.blocks import Block, Interval
from rats_jax.evals.paper.experiments import ALL, BY_NAME, variant_of
from rats_jax.evals.paper.inputs import Inputs
from rats_jax.evals.paper.numbers import FIVE_SETS, PAPER, find
from rats_jax.evals.paper.rows import _paper, _rows
from rats_jax.evals.paper.running import reproduce
from rats_jax.evals.paper.scores import possible
from rats_jax.evals.part_evaluation import evaluate_parts
from rats_jax.evals.part_scores import Row, summarised
from rats_jax.models import SIZES
from rats_jax.models.options import PerceiverOptions, RATSOptions, ViTOptions
from rats_jax.parts.datasets.drawings import drawings
from rats_jax.parts.ways import RegionOptions
from rats_jax.procedural_parts import Composites, ProceduralParts

SIDE = 32


def with_options(options, **config):
    """A backbone without weights, of a run with these values of config.dino."""
    settings = SimpleNamespace(dino=SimpleNamespace(**config)) if config else None
    return SimpleNamespace(options=options, config=settings)


def test_every_number_belongs_to_a_row_of_its_experiment():
    for number in PAPER:
        names = [variant.name for variant in BY_NAME[number.experiment].variants]
        assert number.variant in names, number
    assert len({number[:3] + number[4:] for number in PAPER}) == len(PAPER)
    assert find("table 1", "RATS-B/16", "M2O", k=192, on=FIVE_SETS) == 39.54
    assert find("table 1", "RATS-B/16", "M2O", k=12) is None
    assert find("table 4", "8 registers per head", "M2O", k=None) == 35.4


@pytest.mark.parametrize(
    ("name", "options", "config", "row"),
    [
        ("table 1", RATSOptions(**SIZES["S"]), {}, "RATS-S/16"),
        ("table 1", RATSOptions(**SIZES["S"], communicate="learned"), {}, None),
        ("table 1", RATSOptions(**SIZES["B"]), {}, "RATS-B/16"),
        ("table 1", ViTOptions(**SIZES["B"]), {}, "DINO ViT-B/16"),
        ("table 1", ViTOptions(**SIZES["B"], plain_registers=4), {}, None),
        (
            "table 1",
            ViTOptions(**SIZES["B"], plain_registers=4, positions="rope"),
            {},
            "DINOv3 ViT-B/16",
        ),
        ("table 1", RATSOptions(width=96, depth=4, heads=4), {}, None),
        ("table 3", RATSOptions(**SIZES["S"], sharing="shared"), {}, "shared registers"),
        ("table 3", PerceiverOptions(**SIZES["S"]), {}, "Perceiver-IO style"),
        ("table 4", RATSOptions(**SIZES["B"], registers_per_head=8), {}, "8 registers per head"),
        ("table 4", RATSOptions(**SIZES["S"], registers_per_head=16), {}, None),
        ("table 6", RATSOptions(**SIZES["S"]), {"loss_scope": "head"}, "a loss for each head"),
        ("table 6", RATSOptions(**SIZES["S"]), {}, None),
    ],
)
def test_a_backbone_stands_beside_the_row_that_it_is_of(name, options, config, row):
    found = variant_of(BY_NAME[name], with_options(options, **config))
    assert (found and found.name) == row


def test_numbers_of_regions_are_those_that_a_model_can_have():
    rats, vit = (with_options(kind(**SIZES["S"])) for kind in (RATSOptions, ViTOptions))
    assert possible((6, 33, 192, ALL), rats, resolution=512) == [6, 33, 96]
    assert possible((6, 33), rats, resolution=64) == [6]  # 16 patches
    assert possible((12, ALL), vit, resolution=512) == [6, 12]


def test_without_data_and_checkpoints_it_says_what_each_row_needs():
    outcomes = {o.name: o for o in reproduce([*BY_NAME.values()], Inputs({}, {}))}
    text = "\n".join(outcomes["table 1"].not_run)
    assert "need --data=KIND:PATH" in text
    assert "RATS-S/16 (the paper: M2O 37.15 at K = 96" in text and "--regions=AdaSlot=" in text
    assert "needs --checkpoint of rats train --config=rats_b16_in1k" in text
    text = outcomes["table 1"].markdown()
    assert "regions of DINO and DINOv3 ViT-B is not known" in text
    assert outcomes["figure 8"].not_run and not outcomes["figure 8"].blocks
    (figure,) = outcomes["figure 6"].blocks
    of_model = {row["model"]: row for row in figure.rows}
    for row in of_model.values():  # the paper's figure was read to two digits
        assert row["2048 px"] == pytest.approx(row["paper: 2048 px"], rel=0.02)
    (table,) = outcomes["table 3"].blocks
    assert [row["parameters"] for row in table.rows] == [
        *("21,701,760", "22,586,496", "21,701,760", "21,732,480", "21,665,664")
    ]


def test_scores_are_those_of_evaluate_beside_all_nulls(run_folder):
    backbone = open_backbone(str(run_folder))
    sets = {
        "drawings": drawings(ProceduralParts(size=SIDE, length=6, seed=4)),
        "composites": drawings(Composites(size=SIDE, length=5, seed=4)),
    }
    inputs = Inputs({"mine": backbone}, sets, resolution=SIDE, sweep=(16, SIDE))
    found = {o.name: o for o in reproduce([BY_NAME["table 4"], BY_NAME["figure 7"]], inputs)}
    (block,) = found["table 4"].blocks
    k = backbone.options.registers
    rows = {(row["data"], row["score"]): row for row in block.rows}
    assert {row["K"] for row in block.rows} == {k} and len(rows) == 9
    means = []
    for name, dataset in sets.items():
        options = RegionOptions()
        alone = evaluate_parts(
            {"model": backbone, "untrained": backbone.before_training()},
            dataset,
            top_k=(k,),
            resolutions=(SIDE,),
            options=options,
            saved=(),
            skip_broken=False,
        )
        of_way = {result.row: result.scores for result in summarised(alone.images)}
        ours = of_way[Row(k, SIDE, "model: registers")]
        row = rows[name, "M2O"]
        assert row["ours"] == Interval(ours.mean.m2o, ours.low.m2o, ours.high.m2o)
        assert row["untrained"].mean == of_way[Row(k, SIDE, "untrained: registers")].mean.m2o
        gain = row["ours"].mean - row["untrained"].mean
        assert row["ours - untrained"].mean == pytest.approx(gain)
        assert row["grid"].mean == of_way[Row(k, None, "grid")].mean.m2o
        assert row["paper"] is None  # beside the mean only
        means.append(ours.mean.m2o)
    mean = rows["mean of 2 sets", "M2O"]
    assert mean["ours"].mean == pytest.approx(np.mean(means)) and math.isnan(mean["ours"].low)
    assert mean["paper"] is None  # such a model is not in the paper
    (sweep,) = found["figure 7"].blocks
    assert {row["px"] for row in sweep.rows} == {16, SIDE}
    json.dumps(found["table 4"].record(), allow_nan=False)
    assert "| mean of 2 sets | M2O | - |" in block.markdown()


def test_numbers_of_other_data_name_these():
    names = ["a", "coco", "mean of 2 sets"]
    of_sets = {name: {(6, 512): {"M2O": {}}} for name in names}

    def shown(experiment: str, variant: str, k: int | None) -> list:
        paper = partial(_paper, experiment, variant, known_k=[k])
        return [row["paper"] for row in _rows({}, paper, of_sets, (6, 512), ["coco"])]

    assert shown("table 1", "RATS-S/16", 6) == [None, "9.9 (COCO, SAM masks)", "not known"]
    assert shown("table 1", "RATS-S/16", 96) == [None, "17.3 (COCO, SAM masks)", 37.15]
    unknown = "36.6 (data that are not known)"
    assert shown("table 4", "16 registers per head", None) == [None, None, unknown]
    assert shown("table 1", "", 6) == [None] * 3


def test_label_maps_of_another_program_stand_beside_its_row(tmp_path):
    """Maps that are the masks themselves."""
    dataset = drawings(ProceduralParts(size=SIDE, length=4, seed=4))
    for entry in dataset.entries:
        np.save(tmp_path / f"{entry.name}.npy", dataset.sample(entry.details).mask)
    inputs = Inputs({}, {"drawings": dataset}, regions=[f"adaslot={tmp_path}"])
    (outcome,) = reproduce([BY_NAME["table 1"]], inputs)
    (block,) = outcome.blocks
    of_score = {row["score"]: row for row in block.rows}
    assert (of_score["M2O"]["paper"], of_score["ARI"]["paper"]) == (27.45, "not known")
    assert of_score["M2O"]["K"] == "own" and of_score["M2O"]["paper's row"] == "AdaSlot"
    assert of_score["M2O"]["ours"].mean == 1 > of_score["M2O"]["grid"].mean > 0
    assert not any("AdaSlot" in line for line in outcome.not_run)


def test_the_curve_is_that_of_the_newest_evaluation(tmp_path):
    values = [0.2, 0.5, 0.3]
    lines = [
        {"step": 10 * i, "epoch": i / 2, "parts/m2o_4": x, "loss": 1.0}
        for i, x in enumerate(values)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "events.jsonl").write_text("")
    block = curves.curves("mine", SimpleNamespace(workdir=tmp_path))
    (row,) = block.rows
    assert row["score"] == "M2O (K = 4)" and row["points"] == 3
    assert (row["first"].mean, row["highest"].mean, row["last"].mean) == (0.2, 0.5, 0.3)
    assert (row["at"], row["epoch"]) == (0.5, 1.0) and "160 to 180" in row["paper"]
    assert curves.curves("weights", SimpleNamespace(workdir=None)) is None


def test_time_and_memory_are_of_each_model():
    models = {
        "ViT-S/16": ViTOptions(width=24, depth=2, heads=3),
        "RATS-S/16": RATSOptions(width=24, depth=2, heads=3, registers_per_head=2),
    }
    found = cost.measured(models, pixels=32, batch=2)
    assert found.keys() == models.keys()
    assert all(of.seconds > 0 and of.bytes > 2 * 32 * 32 * 3 * 4 for of in found.values())


def test_a_block_shows_what_there_is():
    block = Block(
        ["a", "b"], [{"a": Interval(0.123), "b": 2.12}, {"a": Interval(0.1, signed=True)}], "note"
    )
    assert block.markdown().splitlines()[2:] == ["| 12.3 | 2.12 |", "| +10.0 | - |", "", "note"]
    assert block.record()["rows"][0] == {"a": {"mean": 0.123}, "b": 2.12}


def command(*arguments: str) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "rats_jax.reproduce", *arguments]
    return subprocess.run(line, capture_output=True, text=True)


@pytest.mark.processes
def test_the_command_writes_its_tables(tmp_path):
    output = tmp_path / "out"
    done = command("--table=5", "--figure=6", f"--output={output}")
    assert done.returncode == 0, done.stderr
    results = json.loads((output / "results.json").read_text())["results"]
    assert list(results) == ["table 5", "figure 6"]
    assert (output / "table.md").read_text().strip() in done.stdout


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table=2"], "table 2 is transfer to dense prediction, which is not built yet"),
        (["--figure=9"], "figure 9 is not one of table 1, table 3, table 4, table 5, table 6"),
        (["--regions=a=b"], "--regions needs --data=KIND:PATH, the images and their masks"),
        (["--sweep=x"], "--sweep has 'x': give pixels, such as --sweep=224,512,1024"),
        (["--checkpoint=demo", "--resolution=50"], "--resolution=50 is not a multiple of the"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path):
    failed = command(*arguments, f"--output={tmp_path / 'out'}")
    assert failed.returncode == 2 and failed.stderr.startswith(f"error: {message}")
    assert failed.stderr.count("\n") == 1
