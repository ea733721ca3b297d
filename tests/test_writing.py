"""Results are written whatever names are made of, and whatever the locale is."""

import csv
import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from rats_jax.evals import norm_results, part_plots, part_results
from rats_jax.evals.part_results import write_results
from rats_jax.evals.part_scores import Measured, PartScores, Row, Scored
from rats_jax.evals.token_norms import ModelNorms, Norms, TokenNorms, outlier
from rats_jax.parts.region_metrics import HEADERS, RegionScores
from rats_jax.parts.saved_regions import open_saved_regions
from rats_jax.parts.truth import Truth
from rats_jax.paths import printable
from rats_jax.writing import markdown_table, with_interval

NAMES = [
    os.fsdecode(b"caf\xe9.jpg"),
    "two\nlines\t.jpg",
    'commas, and "quotes".jpg',
    "日本.jpg",
    "long" * 200,
    "esc\x1b[31m.jpg",
]


def scored(ways):
    """An image of each name, which is its class as well."""
    rows = {Row(6, None, way): Measured(RegionScores(*[0.1] * len(HEADERS)), 4) for way in ways}
    truth = Truth(1, 2, 0.0, *[0] * 7)
    return PartScores([Scored(name, name, rows, truth) for name in NAMES], NAMES)


def norms() -> TokenNorms:
    found, shown = Norms(1), np.ones((1, 4), np.float32)
    found.add(shown[:, None])
    return TokenNorms(
        {"m": ModelNorms({"patches": found}, shown)}, 1, np.zeros((1, 8, 8, 3), np.uint8)
    )


def test_fractions_are_written_in_percent():
    rows = [("model", 10, 0.12345), ("none", "", 1.0)]
    assert markdown_table(("features", "k", "top-1"), rows) == (
        "| features | k | top-1 |\n|---|---|---|\n| model | 10 | 12.3 |\n| none |  | 100.0 |"
    )


def test_an_interval_with_a_negative_end_has_no_dash():
    assert with_interval(0.5, 0.25, 0.75) == "50.0 (25.0-75.0)"
    assert with_interval(-0.086, -0.133, -0.048) == "-8.6 (-13.3 to -4.8)"
    assert with_interval(0.5, 0.25, 0.75, signed=True) == "+50.0 (+25.0 to +75.0)"


def test_every_name_is_a_line_of_its_own(tmp_path):
    write_results(tmp_path, scored(["grid"]), about={"name": NAMES[0], NAMES[1]: [NAMES]})
    for file, column in (("images.csv", "name"), ("classes.csv", "class")):
        with (tmp_path / file).open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert sorted(row[column] for row in rows) == sorted(map(printable, NAMES))
        assert len((tmp_path / file).read_bytes().splitlines()) == 1 + len(NAMES)
    results = json.loads((tmp_path / "results.json").read_bytes().decode("utf-8"))
    assert results["skipped"] == results[printable(NAMES[1])][0] == [*map(printable, NAMES)]
    assert results["name"] == r"caf\udce9.jpg"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", ["_mine", "$x^_$", os.fsdecode(b"\xe9"), "a\tb", "日本", "long" * 50]
)
def test_plots_name_whatever_was_given(tmp_path, monkeypatch, name):
    from matplotlib.figure import Figure

    save, legends = Figure.savefig, []

    def saved(self, file, **options):
        save(self, file, **options | {"dpi": 40})
        legends.append([text.get_text() for text in self.legends[0].get_texts()])

    monkeypatch.setattr(Figure, "savefig", saved)
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps/x.npy", np.zeros((2, 2), int))
    (regions,) = open_saved_regions([f"{name}={tmp_path}/maps"], ["x.jpg"], skip_broken=False)
    write_results(tmp_path, scored(["grid", regions.name]), about={})
    shown = printable(name)
    assert legends == [[shown if len(shown) < 40 else shown[:39] + "…", "grid"]]
    assert printable(name) in (tmp_path / "table.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS])
def test_scores_are_printed_before_anything_can_fail_to_be_written(
    tmp_path, monkeypatch, capsys, error
):
    def full(*_):
        raise OSError(error, os.strerror(error))

    of_norms = {"limit": outlier("3x"), "about": {}}
    for module, write in (
        (part_results, lambda: part_results.write_results(tmp_path, scored(["grid"]), about={})),
        (norm_results, lambda: norm_results.write_norms(tmp_path, norms(), **of_norms)),
    ):
        monkeypatch.setattr(module, "write_json", full)
        with pytest.raises(OSError):
            write()
        assert capsys.readouterr().out.startswith("| ")


def test_a_plot_that_fails_loses_nothing_else(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError("no space\nleft")

    monkeypatch.setattr(part_plots, "draw", fail)
    write_results(tmp_path, scored(["grid"]), about={})
    said = capsys.readouterr().out
    table, _, warning = said.partition("warning")
    assert table.startswith("| K | label maps |")
    assert "warning" + warning == (
        "warning: scores.png cannot be drawn (OSError: no space\\nleft); the numbers are complete\n"
    )
    assert {file.name for file in tmp_path.iterdir()} == {
        *("results.json", "table.md", "images.csv", "classes.csv")
    }


SCRIPT = r"""
import sys
from pathlib import Path
from rats_jax.writing import write_csv, write_json, write_text
from tests.test_writing import NAMES, scored, write_results
folder = Path(sys.argv[1])
write_results(folder, scored(["\u65e5\u672c"]), about={"a": NAMES})
write_csv(folder / "a.csv", ["\u65e5"], [NAMES])
write_json(folder / "a.json", {"\u65e5": NAMES})
write_text(folder / "a.md", "\u65e5")
"""


@pytest.mark.processes
def test_files_are_utf_8_in_any_locale(tmp_path):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path],
        env=os.environ | ascii_only,
        check=True,
    )
    for file in ("table.md", "images.csv", "a.csv", "a.json", "a.md"):
        text = (tmp_path / file).read_bytes().decode("utf-8")
        assert "日" in (text if file != "a.json" else json.loads(text))
