"""Differences from the untrained model: paired by image, signed, narrower than those of means."""

import json

import numpy as np
import pytest

from rats_jax.evals.differences import difference_table, from_untrained, mean_difference
from rats_jax.evals.part_results import write_results
from rats_jax.evals.part_scores import Measured, PartScores, Row, Scored
from rats_jax.parts.region_metrics import HEADERS, UNSCORED, RegionScores, mean_scores
from rats_jax.parts.truth import Truth

GAIN = np.resize([0.02, 0.0, -0.01], len(HEADERS))


@pytest.fixture(scope="module")
def pairs():
    """Scores of 200 images, easy and hard ones: untrained, and trained, which adds a little."""
    rng = np.random.default_rng(1)
    before = rng.uniform(0.1, 0.9, (200, len(HEADERS)))
    after = before + GAIN + rng.normal(0, 0.02, before.shape)
    return [[RegionScores(*row) for row in scores] for scores in (after, before)]


def test_the_difference_is_that_of_the_means_and_its_interval_is_that_of_pairs(pairs):
    after, before = pairs
    found = mean_difference(after, before)
    apart = [mean_scores(of) for of in pairs]
    np.testing.assert_allclose(found.mean, np.subtract(apart[0].mean, apart[1].mean), atol=1e-12)
    # The normal approximation of the mean of differences: independent of any resampling.
    differences = np.subtract(after, before)
    error = 1.96 * differences.std(0, ddof=1) / np.sqrt(len(differences))
    np.testing.assert_allclose(found.low, differences.mean(0) - error, atol=5e-4)
    np.testing.assert_allclose(found.high, differences.mean(0) + error, atol=5e-4)
    narrower = np.subtract(found.high, found.low) / np.subtract(apart[0].high, apart[0].low)
    assert (narrower < 0.2).all()
    assert found.low.m2o > 0 and found.low.o2o < 0 < found.high.o2o and found.high.ari < 0


def test_an_image_without_a_labelled_pixel_is_left_out(pairs):
    after, before = pairs
    found = mean_difference([*after, UNSCORED], [*before, UNSCORED])
    assert found == mean_difference(after, before) and found.images == 200


def rows(pairs, resolutions=(64,)):
    """What part evaluation measures, with rows that have no twin."""
    images = []
    for trained, untrained in zip(*pairs, strict=True):
        ways = {"model: registers": trained, "untrained: registers": untrained}
        images.append(
            {Row(8, side, way): Measured(of, 8) for side in resolutions for way, of in ways.items()}
            | {Row(8, None, "grid"): Measured(untrained, 8)}
            | {Row("own", None, "model: mine"): Measured(untrained, 8)}
        )
    return images


def test_only_twins_are_compared(pairs):
    (found,) = from_untrained(rows(pairs))
    assert (found.k, found.resolution) == (8, 64)
    assert found.name == "model: registers - untrained: registers"
    assert found.scores == mean_difference(*pairs)
    assert from_untrained([{Row(8, None, "grid"): Measured(UNSCORED, 8)}]) == []


def test_the_table_is_signed_and_names_resolutions_where_there_are_several(pairs):
    one = difference_table(from_untrained(rows(pairs)))
    assert one.splitlines()[0] == f"| K | difference | {' | '.join(HEADERS.values())} |"
    mean, low, high = (
        getattr(mean_difference(*pairs), part).m2o for part in ("mean", "low", "high")
    )
    assert f"| {100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) |" in one
    assert "| +" in one and "| -" in one
    several = difference_table(from_untrained(rows(pairs, (32, 64)))).splitlines()
    assert several[0].startswith("| K | resolution | difference |") and len(several) == 4


def test_they_are_written_with_the_results(pairs, tmp_path):
    truth = Truth(*(0,) * len(Truth._fields))._replace(images=1, regions=3)
    images = [Scored(f"{i}.png", None, of, truth) for i, of in enumerate(rows(pairs))]
    table = write_results(tmp_path, PartScores(images, []), about={})
    assert difference_table(from_untrained(rows(pairs))) in table
    assert (tmp_path / "table.md").read_text().rstrip("\n") == table
    (written,) = json.loads((tmp_path / "results.json").read_text())["differences"]
    assert written["difference"] == "model: registers - untrained: registers"
    assert written["mean"] == mean_difference(*pairs).mean._asdict()
