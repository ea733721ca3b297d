"""What the demo does with its models, on few drawings."""

import json

import numpy as np
import pytest
from PIL import Image

from rats_jax import demo
from rats_jax.backbones import open_backbone
from tests.runs.untrained import make_run


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    rats = open_backbone(make_run(folder / "rats", model__registers_per_head=4))
    return {"model": rats, "untrained": rats.before_training()}


def test_scores_are_tables_with_paired_differences(models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "HELD_OUT", 24)
    monkeypatch.setattr(demo, "ENTRIES", 4)
    demo._score(models, tmp_path / "results")
    said = capsys.readouterr().out
    parts = json.loads((tmp_path / "results" / "parts" / "results.json").read_text())
    assert parts["images"] == 24 and parts["world"] == demo.HELD_OUT_SEED
    found = {(one["k"], one["difference"]): one for one in parts["differences"]}
    centered = "model: centered registers"
    for pair in (
        (4, f"{centered} - untrained: centered registers"),
        (8, f"{centered} - untrained: centered registers"),
        (4, f"{centered} - grid"),
        (8, f"{centered} - grid"),
    ):
        assert found[pair]["low"]["ari"] <= found[pair]["mean"]["ari"] <= found[pair]["high"]["ari"]
        assert pair[1] in said
    against = found[4, f"{centered} - grid"]["mean"]["o2o"]
    of = parts["scores"]["96"]["4"][centered]["mean"]["o2o"]
    assert against == pytest.approx(of - parts["scores"]["any"]["4"]["grid"]["mean"]["o2o"])
    consistency = json.loads((tmp_path / "results" / "consistency" / "results.json").read_text())
    assert consistency["images"] == 12 and "untrained: patch entries" in consistency["scores"]


def test_the_picture_has_a_row_for_each_category(models, tmp_path):
    file = demo._draw(models, tmp_path / "parts.png")
    picture = np.asarray(Image.open(file))
    assert picture.shape[0] > 11 * 224 and picture.shape[1] > 5 * 224
