"""Evaluations are what the config lists; another one is a class and an entry in the list."""

from typing import Any

import jax
import pytest

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.errors import UserError
from rats_jax.parts.region_metrics import HEADERS
from rats_jax.runs.events import Events
from rats_jax.runs.metric_names import SCORES, display_name, formatted, is_score, measured_on
from rats_jax.runs.online.evaluation import OnlineEvaluation, open_evaluation
from rats_jax.runs.online.evaluators import EVALUATORS
from tests.contributing.new.patch_norm import PatchNorm
from tests.runs.online.evaluated import evaluated, measured


def opened(**evaluation: Any) -> OnlineEvaluation:
    config = evaluated(run__keep_best=0, **{f"evaluation__{k}": x for k, x in evaluation.items()})
    mesh = make_mesh(config, jax.devices()[:1])
    return open_evaluation(config, make_dino(config, images=40), mesh)


def test_names_say_of_which_evaluation_a_metric_is():
    groups = [group for kind in EVALUATORS.values() for group in kind.groups]
    assert len(groups) == len(set(groups))
    names = opened().names
    assert {name.partition("/")[0] for name in names} <= set(groups)
    on = {"parts": "parts", "knn": "knn", "registers": "parts", "heads": "parts"}
    assert all(measured_on(name) == on.get(name.partition("/")[0], "parts") for name in names)
    assert [name for name in names if is_score(name)] == [
        *(f"parts/{part}_{k}" for k in (2, 4) for part in HEADERS),
        "knn/top1_3",
    ]
    dense = [f"in-context {title}" for title in ("mIoU", "aAcc", "mAcc")]
    assert list(SCORES.values()) == [*HEADERS.values(), "k-NN top-1", *dense]
    assert (
        display_name("parts/ari_8") == "ARI (K = 8)"
        and display_name("knn/top1_20") == "k-NN top-1 (k = 20)"
    )
    assert display_name("registers/dead") == "registers/dead" and not is_score("registers/dead")
    assert (formatted("knn/top1_20", 0.271), formatted("loss", 2.71828)) == ("27.1 %", "2.718")


@pytest.mark.parametrize(
    "measures, groups, about",
    [
        (("knn",), {"knn"}, {"knn"}),
        (("parts",), {"parts"}, {"parts"}),
        (("knn", "registers"), {"knn", "registers", "heads", "patches"}, {"knn", "parts"}),
    ],
)
def test_what_is_not_listed_is_not_measured(measures, groups, about):
    evaluation = opened(measures=measures)
    assert {name.partition("/")[0] for name in evaluation.names} == groups
    assert set(evaluation.about) == about


def test_another_one_is_a_class_and_an_entry(monkeypatch, tmp_path):
    config = evaluated(run__keep_best=0, evaluation__knn_train="", evaluation__knn_test="")
    plain = measured(config.copy_and_resolve_references(), Events(tmp_path))
    monkeypatch.setattr(
        "rats_jax.runs.online.evaluators.EVALUATORS", {**EVALUATORS, "norm": PatchNorm}
    )
    config.evaluation.measures = ("parts", "registers", "norm")
    found = measured(config, Events(tmp_path))
    assert found.pop("patch_norm/mean") > 0.1 and found == plain


def test_registers_are_of_the_images_with_parts_also_where_parts_are_not_listed(tmp_path):
    both = measured(evaluated(run__keep_best=0), Events(tmp_path))
    alone = measured(
        evaluated(run__keep_best=0, evaluation__measures=("registers",)), Events(tmp_path)
    )
    assert alone == {name: x for name, x in both.items() if name in alone}
    assert "registers/distinct" in alone and not any(map(is_score, alone))


@pytest.mark.parametrize("measures", [(), ("knn",)])
def test_an_evaluation_that_would_measure_nothing_is_refused(measures):
    with pytest.raises(
        UserError, match="measures is .*, of which nothing can be measured: add registers"
    ):
        opened(measures=measures, knn_train="", knn_test="")
