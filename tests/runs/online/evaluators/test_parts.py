"""Scores of parts while a run trains: figures, masks, pictures, and what cannot be scored."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from rats_jax.data.subset import evenly
from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID
from rats_jax.parts.region_metrics import score
from rats_jax.procedural_parts import ProceduralParts
from rats_jax.runs import metric_files
from rats_jax.runs.events import Events
from rats_jax.runs.metric_files import MetricFiles
from rats_jax.runs.online.data import DRAWN_SEED
from rats_jax.runs.online.evaluators import parts as online_parts
from rats_jax.runs.online.pictures import COUNT
from rats_jax.runs.tensorboard import SummaryWriter
from tests.runs.online.evaluated import IMAGES, PATCH, SIDE, evaluated, measured, measuring


def test_figures_are_the_same_on_a_mesh(tmp_path):
    fields = {"model__heads": 4, "evaluation__images": 11}
    alone = measured(evaluated(**fields), Events(tmp_path))
    config = evaluated(**fields)
    config.mesh.update(data=1, fsdp=2, tensor=2)
    spread = measured(config, Events(tmp_path), devices=4)
    assert spread == pytest.approx(alone, rel=1e-4, abs=1e-5)
    assert 0.1 < alone["parts/m2o_4"] < 1 and alone["evaluation/left_out"] == 0


def test_a_vit_has_a_region_a_head(tmp_path, monkeypatch):
    regions, sigmas = online_parts.attention_regions, []

    def spied(*, sigma, **rest):
        sigmas.append(sigma)
        return regions(sigma=sigma, **rest)

    monkeypatch.setattr(online_parts, "attention_regions", spied)
    config = evaluated(model__architecture="vit", evaluation__top_k=(), run__keep_best=0)
    config.evaluation.update(knn_train="", knn_test="")
    found = measured(config, Events(tmp_path))
    assert 0 < found["parts/m2o_3"] < 1 and not any(name.endswith("_6") for name in found)
    assert {*sigmas} == {0.7}


def test_void_pixels_count_nowhere():
    rng = np.random.default_rng(0)
    labels, mask = rng.integers(0, 3, (1, 8, 8)), rng.integers(0, 3, (8, 8))
    mask[:, 5:] = VOID
    ((found,),) = online_parts._scored(labels, mask, (3,), grid=False, background=1)
    assert found == pytest.approx(score(labels[0, :, :5], mask[:, :5], background=1))


def test_images_that_cannot_be_read_are_left_out_and_named(tmp_path, capsys):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        noise = rng.integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"images/{i}.jpg")
        Image.fromarray(noise[:, :, 0] // 64).save(tmp_path / f"masks/{i}.png")
    (tmp_path / "images/3.jpg").write_bytes(b"no picture")
    config = evaluated(evaluation__parts=f"folder:{tmp_path}", evaluation__images=0)
    config.evaluation.update(knn_train="", knn_test="")
    config.evaluation.top_k = (2,)
    events = Events(tmp_path)
    measure = measuring(config, events)
    scalars, judged, _ = measure(1)
    assert scalars["evaluation/left_out"] == 1 and "parts/m2o_2" in judged
    told = [json.loads(line) for line in events.file.read_text().splitlines()]
    (reason,) = [e["reason"] for e in told if e["event"] == "evaluation_left_out"]
    assert "3.jpg is not a readable image" in reason
    said = capsys.readouterr().out
    assert reason in said
    assert f"M2O (K = 2) {100 * scalars['parts/m2o_2']:.1f} %" in said

    (tmp_path / "images/1.jpg").unlink()
    scalars, judged, _ = measure(2)
    assert "parts/m2o_2" in scalars and judged == {}
    assert (
        "at step 2 leaves out 2 images, but the first evaluation left out 1"
        in capsys.readouterr().out
    )

    shutil.rmtree(tmp_path / "images")
    assert measure(3) == ({}, {}, {})
    assert "warning: no score at step 3: config.evaluation.parts: " in capsys.readouterr().out
    assert json.loads(events.file.read_text().splitlines()[-1])["event"] == "evaluation_failed"
    with pytest.raises(UserError, match="could be read and scored"):
        measure(0)


def test_masks_of_one_region_are_warned_of_or_refused(tmp_path, capsys):
    """As `evaluate` has it; two crowds of the three objects of one image are said as well."""
    (tmp_path / "val2017").mkdir()
    squares = [[4 * i, 0, 4 * i + 3, 0, 4 * i + 3, 9, 4 * i, 9] for i in range(3)]

    def write(crowds):
        for i in range(3):
            Image.new("RGB", (40, 40)).save(tmp_path / f"val2017/{i}.png")
        annotations = [
            {"id": i, "image_id": i, "segmentation": [squares[i]], "iscrowd": crowds[i]}
            for i in range(3)
        ]
        images = [{"id": i, "file_name": f"val2017/{i}.png"} for i in range(3)]
        content = json.dumps({"images": images, "annotations": annotations})
        (tmp_path / "instances.json").write_text(content)

    write([0, 1, 1])
    config = evaluated(evaluation__parts=f"coco-instances:{tmp_path}/instances.json")
    config.evaluation.update(knn_train="", knn_test="", images=0)
    events = Events(tmp_path)
    measure = measuring(config, events)
    assert "warning: 2 of 3 objects are crowds" in capsys.readouterr().out
    assert "parts/m2o_2" in measure(0).scalars
    said = capsys.readouterr().out
    line = "warning: 2 of 3 images have a single region"
    assert said.count(line) == 1 and "(config.evaluation.parts)" in said
    (event,) = [json.loads(text) for text in events.file.read_text().splitlines()]
    assert (event["masks"]["single"], event["masks"]["images"]) == (2, 3)
    assert event["masks"]["report"][1].startswith(line)
    assert event["masks"]["notes"][0].startswith("warning: 2 of 3 objects are crowds")
    measure(1)
    assert line not in capsys.readouterr().out

    Image.new("RGB", (2, 2)).save(tmp_path / "val2017/0.png")  # the square covers all of it
    with pytest.raises(UserError, match="config.evaluation.parts: no image of .* has two regions"):
        measure(0)


def test_pictures_that_fail_are_said_and_end_nothing(tmp_path, capsys, monkeypatch):
    given = []

    def fails(shown, *, k):
        given.extend(shown)
        raise ValueError("no such colour")

    config = evaluated(evaluation__knn_train="", evaluation__knn_test="")
    measure = measuring(config, Events(tmp_path))
    assert measure(1).pictures.keys() == {"parts/regions"}
    monkeypatch.setattr(online_parts, "part_picture", fails)
    found = measure(2)
    assert found.pictures == {} and "parts/m2o_2" in found.scalars
    assert "warning: the parts at step 2 could not be drawn (no such colour)" in (
        capsys.readouterr().out
    )

    assert len(given) == COUNT
    for shown, i in zip(given, evenly(IMAGES, COUNT), strict=True):
        drawn = ProceduralParts(size=SIDE, length=IMAGES, seed=DRAWN_SEED).sample(int(i))
        np.testing.assert_array_equal(shown.image, drawn.image)
        np.testing.assert_array_equal(shown.mask, drawn.parts)
        assert shown.labels.shape == (SIDE // PATCH,) * 2 and {*shown.labels.flat} <= {0, 1}

    class Writer(SummaryWriter):
        def write_images(self, *_):
            raise ValueError("no such format")

    monkeypatch.setattr(metric_files, "SummaryWriter", Writer)
    MetricFiles(tmp_path, start=0).write_pictures(3, {})
    assert "pictures of step 3 could not be written" in capsys.readouterr().out
