"""Which parts of a dictionary an image has, and where: against a literal reading."""

import numpy as np
import pytest

from rats_jax.models.options import PerceiverOptions
from rats_jax.parts.dictionary.detectors import detect
from rats_jax.parts.dictionary.part_maps import Assigned, assign, entry_maps, named_maps
from rats_jax.parts.dictionary.saved import Dictionary
from tests.gallery.looks import GRID, RATS, SHAPE, VIT, features


def dictionary_of(entries: np.ndarray, labels, **facts) -> Dictionary:
    labels, count = np.array(labels, np.int32), len(entries)
    purity, counts = np.full(count, 0.5, np.float32), np.arange(count)
    parts = {0: "leg", 1: "head"}
    return Dictionary(entries.astype(np.float32), labels, purity, counts, parts, **facts)


ASSIGNED = Assigned(
    np.array([3, 0, 1, 3, 2]),
    np.array([2, 5, 1, 4, 3], np.float32),
    np.array([[1, 0, 0], [0, 1, 0.2], [0, 0.5, 1], [0.3, 0, 1], [1, 1, 0]], np.float32),
)


def test_maps_of_one_name_are_merged_by_maximum_and_those_without_a_name_left_out():
    dictionary = dictionary_of(np.zeros((4, 2)), [1, 1, -1, 0])
    head, leg = named_maps(ASSIGNED, dictionary)
    assert (leg.key, leg.count, leg.distance) == ("leg", 2, 2)
    assert (head.key, head.count, head.distance) == ("head", 2, 1)
    np.testing.assert_array_equal(leg.map, np.float32([1, 0, 1]))
    np.testing.assert_array_equal(head.map, np.float32([0, 1, 1]))


def test_parts_with_more_detectors_come_first_then_the_nearer():
    assert [(part.key, part.count) for part in entry_maps(ASSIGNED)] == [
        (3, 2),
        (1, 1),
        (2, 1),
        (0, 1),
    ]


def test_without_any_name_parts_are_entries():
    dictionary = dictionary_of(np.zeros((4, 2)), [-1, -1, -1, -1])
    names = [part.key for part in named_maps(ASSIGNED, dictionary)]
    assert names == ["entry 3", "entry 1", "entry 2", "entry 0"]


@pytest.mark.parametrize("unit", [False, True])
def test_the_nearest_entry_is_that_of_a_search_through_all(unit):
    seen, draws = features(), np.random.default_rng(0)
    vectors, entries = np.asarray(seen.registers[0]), draws.normal(size=(30, 8)).astype(np.float32)
    dictionary = dictionary_of(entries, np.zeros(30), unit=unit)
    found = assign(seen, RATS, dictionary, grid=GRID)
    for vector, entry, distance in zip(vectors, found.entries, found.distances, strict=True):
        vector = vector / np.linalg.norm(vector) if unit else vector
        distances = [np.sqrt(((vector - other) ** 2).sum()) for other in entries]
        assert entry == np.argmin(distances)
        assert distance == pytest.approx(min(distances), rel=1e-4)


@pytest.mark.parametrize("options", [RATS, VIT, PerceiverOptions(**SHAPE)])
def test_detectors_of_any_backbone_go_to_their_nearest_entries(options):
    seen = features()
    if not options.registers:
        seen = seen._replace(registers=seen.registers[:, :0])
    alone = seen if options is RATS else seen._replace(attention={})
    detectors = detect(alone, options, grid=GRID, regions=4)
    vectors = np.asarray(detectors.vectors[0])
    order = np.random.default_rng(1).permutation(len(vectors))
    kind = "registers" if options.registers else "regions"
    dictionary = dictionary_of(vectors[order], [0] * len(order), kind=kind, regions=4)
    found = assign(seen, options, dictionary, grid=GRID)
    np.testing.assert_array_equal(order[found.entries], np.arange(len(vectors)))
    np.testing.assert_allclose(found.distances, 0, atol=1e-3)
    np.testing.assert_array_equal(found.maps, detectors.maps[0])
    np.testing.assert_allclose(found.maps.max(1), 1, rtol=1e-6)


def test_a_cluster_without_a_patch_is_no_detector():
    seen = features()
    seen = seen._replace(patches=np.ones_like(seen.patches), registers=seen.registers[:, :0])
    dictionary = dictionary_of(np.zeros((2, 8)), [0, 0], kind="regions", regions=4)
    assert len(assign(seen, VIT, dictionary, grid=GRID).entries) == 1
