"""Drawings as a data set of parts: what the generator draws, opened by a name."""

import pickle

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.parts.datasets import open_dataset
from rats_jax.parts.datasets.drawings import drawings
from rats_jax.procedural_parts import PARTS, SUPER_CATEGORIES, Composites, ProceduralParts


def test_samples_are_what_the_generator_draws():
    dataset = open_dataset("procedural_parts:5@3")
    drawn = ProceduralParts(size=128, length=5, seed=3).sample(2)
    sample = pickle.loads(pickle.dumps(dataset)).sample(2)
    np.testing.assert_array_equal(sample.image, drawn.image)
    np.testing.assert_array_equal(sample.mask, drawn.parts)
    assert sample.mask.dtype == np.int32 and sample.group == SUPER_CATEGORIES[drawn.label]
    assert sample.labels[0] == PARTS[0] and sample.labels[40] == "background"
    assert len(dataset) == 5 and dataset.folders == []


def test_composites_have_the_same_ids_and_their_own_groups():
    dataset, ordinary = open_dataset("composites:4@3"), open_dataset("procedural_parts:4@3")
    drawn, sample = Composites(size=128, length=4, seed=3).sample(1), dataset.sample(1)
    np.testing.assert_array_equal(sample.image, drawn.image)
    np.testing.assert_array_equal(sample.mask, drawn.parts)
    assert sample.group == Composites.classes[drawn.label] and " + " in sample.group
    assert sample.labels == ordinary.sample(1).labels and dataset.name == "composites"


def test_a_part_of_them_keeps_their_numbers():
    chosen = drawings(ProceduralParts(size=32, length=9)).limited(3)
    last = chosen.sample(2)
    whole = ProceduralParts(size=32, length=9)
    np.testing.assert_array_equal(last.image, whole.sample(int(last.name.split()[1])).image)


@pytest.mark.parametrize("place", ["3000000000@3", f"60@{2**64}"])
def test_what_cannot_be_drawn_is_refused_at_once(place):
    with pytest.raises(UserError, match="COUNT is at most 1,000,000, and SEED less than 2.64"):
        open_dataset(f"procedural_parts:{place}")


@pytest.mark.parametrize("place", ["0", "x", "9@x", "9@"])
def test_a_mistake_shows_how_to_write_it(place):
    for kind in ("procedural_parts", "composites"):
        with pytest.raises(UserError, match=rf"write {kind}:COUNT, or COUNT@SEED"):
            open_dataset(f"{kind}:{place}")
