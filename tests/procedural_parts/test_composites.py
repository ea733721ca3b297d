"""Composites: pure in (seed, index), unlike the drawings, with the parts of two categories."""

import numpy as np
import pytest
from PIL import Image

from rats_jax.procedural_parts import (
    BACKGROUND,
    PARTS,
    SUPER_CATEGORIES,
    Composites,
    part_ids,
    render,
    render_composite,
)
from rats_jax.procedural_parts.__main__ import main
from rats_jax.procedural_parts.composites import COMPOSITES

MANY = Composites(size=32, length=450, seed=11)


def test_they_depend_on_seed_and_index_alone_and_are_no_drawings():
    again = Composites(size=32, length=9, seed=11)
    for i in reversed(range(9)):
        one, other = MANY.sample(i), again.sample(i)
        assert np.array_equal(one.image, other.image) and np.array_equal(one.parts, other.parts)
        assert one.label == other.label
        drawn = render(seed=11, index=i, size=32)
        assert np.abs(one.image.astype(float) - drawn.image).mean() > 5


def test_a_world_stays_the_same():
    labels = [render_composite(seed=0, index=i, size=8).label for i in range(12)]
    assert labels == [3, 8, 7, 3, 5, 1, 12, 11, 10, 9, 10, 10]
    _, parts, _ = render_composite(seed=0, index=1, size=64)
    counts = {PARTS[i]: int((parts == i).sum()) for i in np.unique(parts) if i != BACKGROUND}
    assert counts == pytest.approx(
        {"quadruped head": 170, "quadruped body": 395, "quadruped foot": 149, "fish tail": 71},
        abs=20,
    )


def test_each_shows_the_grafted_part_and_otherwise_those_of_its_host():
    shown, share = [], [[] for _ in COMPOSITES]
    for i in range(len(MANY)):
        sample = MANY.sample(i)
        composite = COMPOSITES[sample.label]
        grafted = PARTS.index(composite.part)
        host = set(part_ids(SUPER_CATEGORIES.index(composite.host)))
        if composite.without:
            host.remove(PARTS.index(f"{composite.host} {composite.without}"))
        present = set(np.unique(sample.parts).tolist()) - {BACKGROUND}
        assert present <= host | {grafted}, composite.name
        shown.append(len(present & host) / len(host))
        share[sample.label].append((sample.parts == grafted).mean())
    assert np.mean(shown) > 0.93
    assert all(len(of) > 12 and np.mean(of) > 0.02 and np.min(of) > 0 for of in share)


def test_labels_name_the_host_and_the_other_category():
    assert len(set(Composites.classes)) == len(COMPOSITES) == 15
    for name, composite in zip(Composites.classes, COMPOSITES, strict=True):
        host, other = name.split(" + ")
        assert host != other and {host, other} <= set(SUPER_CATEGORIES)
        assert composite.part in PARTS and composite.part.startswith(f"{other} ")


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"index": 2**63}, {"size": 7}])
def test_out_of_range_is_an_error(wrong):
    with pytest.raises(ValueError, match="range|size must"):
        render_composite(**{"seed": 0, "index": 0, "size": 32} | wrong)


def test_the_command_draws_a_sheet_of_them(tmp_path):
    sheet, other = tmp_path / "sheet.png", tmp_path / "other.png"
    options = ["--size=16", "--columns=1"]
    assert main([f"--output={sheet}", "--composites", *options]) == 0
    assert main([f"--output={other}", *options]) == 0
    with Image.open(sheet) as composites, Image.open(other) as drawings:
        assert composites.height == 15 * 20 + 4 and drawings.height == 11 * 20 + 4
