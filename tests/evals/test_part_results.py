"""What evaluate writes of part scores: means, by image and by class, and plots that open."""

import csv
import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rats_jax.evals.part_plots import _STYLES, draw
from rats_jax.evals.part_results import write_results
from rats_jax.evals.part_scores import Measured, PartScores, Row, Scored, summarised
from rats_jax.parts.region_metrics import HEADERS, UNSCORED, RegionScores
from rats_jax.parts.truth import Truth

ROWS = (
    *(Row(k, side, f"model: {way}") for side in (512, 224) for k in (33, 6) for way in ("a", "b")),
    *(Row(k, None, way) for k in (33, 6) for way in ("grid", "SLIC")),
    *(Row("own", None, way) for way in ("other", "grid like other", "SLIC like other")),
)


def scored(rows=ROWS):
    """Images of two classes; image 3 has no labelled pixel."""
    rng = np.random.default_rng(0)
    images = []
    for i in range(7):
        measured = {
            row: Measured(
                RegionScores(*rng.uniform(0, 1, len(HEADERS))) if i != 3 else UNSCORED,
                int(rng.integers(1, 99)),
            )
            for row in rows
        }
        truth = Truth(*(0,) * len(Truth._fields))._replace(images=1, regions=i)
        images.append(Scored(f"{i}.jpg", "ab"[i % 2], measured, truth))
    return PartScores(images, ["8.jpg is broken"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The scores, the folder of results, the table."""
    found, folder = scored(), tmp_path_factory.mktemp("results")
    return found, folder, write_results(folder, found, about={"task": "parts"})


def read_csv(file):
    with file.open() as lines:
        return list(csv.DictReader(lines))


def test_results_are_nested_by_resolution_and_hold_means(written):
    found, folder, _ = written
    results = json.loads((folder / "results.json").read_text())
    assert (results["task"], results["images"]) == ("parts", 7)
    assert results["skipped"] == ["8.jpg is broken"]
    scores = results["scores"]
    assert list(scores) == ["224", "512", "any"] and list(scores["any"]) == ["6", "33", "own"]
    assert list(scores["224"]["6"]) == ["model: a", "model: b"]
    for row in ROWS:
        told = scores[str(row.resolution or "any")][str(row.k)][row.way]
        measured = [image.rows[row] for i, image in enumerate(found.images) if i != 3]
        expected = np.mean([one.scores for one in measured], axis=0)
        np.testing.assert_allclose(list(told["mean"].values()), expected)
        assert told["regions"] == pytest.approx(np.mean([one.regions for one in measured]))
        assert told["images"] == 6 and told["low"]["m2o"] < told["mean"]["m2o"]


def test_the_table_has_a_column_of_resolutions_for_several(written):
    _, folder, table = written
    assert (folder / "table.md").read_text() == table + "\n"
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert lines[0] == ["K", "resolution", "label maps", "regions", *HEADERS.values()]
    assert [line[:3] for line in lines[2:]] == [
        *([str(k), side, f"model: {way}"] for k in (6,) for side in ("224", "512") for way in "ab"),
        *(["6", "any", way] for way in ("grid", "SLIC")),
        *(["33", side, f"model: {way}"] for side in ("224", "512") for way in "ab"),
        *(["33", "any", way] for way in ("grid", "SLIC")),
        *(["own", "any", way] for way in ("other", "grid like other", "SLIC like other")),
    ]
    for picture in ("scores.png", "resolution.png"):
        pixels = np.asarray(Image.open(folder / picture).convert("L"))
        assert pixels.shape[1] > 1000 and pixels.std() > 5


@pytest.mark.parametrize(
    "rows",
    [
        [row for row in ROWS if row.k in (6, "own") and row.resolution != 224],
        [row for row in ROWS if row.k == "own"],
    ],
)
def test_one_resolution_or_none_has_no_column_and_no_sweep(rows, tmp_path):
    table = write_results(tmp_path, scored(rows), about={})
    assert table.startswith(f"| K | label maps | regions | {' | '.join(HEADERS.values())} |\n")
    assert (tmp_path / "scores.png").exists() and not (tmp_path / "resolution.png").exists()


def drawn(rows, folder, monkeypatch):
    """The figures, by file."""
    figures = {}
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, file, **_: figures.update({file.name: self})
    )
    draw(summarised(scored(rows).images), folder)
    for name, figure in figures.items():
        save(figure, folder / name, dpi=40)  # lays it out
    return figures


@pytest.mark.parametrize(
    "rows, places",
    [
        ([row for row in ROWS if row.k == 6], 1),
        ([row for row in ROWS if row.k == "own"], 1),
        ([row for row in ROWS if row.k in (6, "own")], 2),
    ],
)
def test_points_of_one_k_stand_apart_in_the_middle_of_the_panel(
    rows, places, tmp_path, monkeypatch
):
    rows = [row for row in rows if row.resolution != 224]
    figure = drawn(rows, tmp_path, monkeypatch)["scores.png"]
    for panel in figure.axes:
        low, high = np.log(panel.get_xlim())
        at = [float(bars[0].get_xdata()[0]) for bars in panel.containers]
        assert len(set(at)) == len(rows)
        shares = (np.log(at) - low) / (high - low)
        assert shares.min() > 0.02 and shares.max() < 0.98
        if places == 1:
            assert abs(np.mean(shares) - 0.5) < 0.05 and np.ptp(shares) < 0.4
        ticks = panel.get_xticks()
        assert len(ticks) == 1 and low < np.log(ticks[0]) < high
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    own = np.mean(
        [one.rows[rows[-3]].regions for i, one in enumerate(scored(rows).images) if i != 3]
    )
    assert (f"other (K = {own:.1f})" in names) == (rows[-3].way == "other")


def test_a_sweep_says_which_k(tmp_path, monkeypatch):
    figures = drawn([row for row in ROWS if row.k == 6], tmp_path, monkeypatch)
    titles = [panel.get_title() for panel in figures["resolution.png"].axes]
    assert titles == [f"{score}, K = 6" for score in HEADERS.values()]


def test_images_and_classes_have_files_of_their_own(written):
    found, folder, _ = written
    images = read_csv(folder / "images.csv")
    assert len(images) == 7 * len(ROWS)
    first = next(iter(found.images[0].rows.items()))
    assert images[0] == {
        "name": "0.jpg",
        "resolution": "512",
        "k": "33",
        "label_maps": "model: a",
        "images": "1",
        **{name: f"{value:.6f}" for name, value in first[1].scores._asdict().items()},
        "regions": f"{first[1].regions:.6f}",
        "parts": "0",
    }
    blank = next(row for row in images if row["name"] == "3.jpg")
    assert (blank["images"], blank["m2o"]) == ("0", "")
    classes = [r for r in read_csv(folder / "classes.csv") if r["label_maps"] == "other"]
    assert [(r["class"], r["images"], r["resolution"]) for r in classes] == [
        ("a", "4", "any"),
        ("b", "2", "any"),
    ]
    assert [r["parts"] for r in classes] == ["3", "3"]
    of_a = [image.rows[Row("own", None, "other")].scores.m2o for image in found.images[::2]]
    assert float(classes[0]["m2o"]) == pytest.approx(np.mean(of_a), abs=1e-6)


def test_ways_have_different_markers():
    markers = [marker for _, marker in _STYLES.values()]
    assert len(set(markers)) == len(markers)
