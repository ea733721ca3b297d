"""Which maps of a model are shown, in what order, and that their regions are those scored."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from rats_jax.gallery.maps import attention_rows, map_sets
from rats_jax.models.options import PerceiverOptions
from rats_jax.parts.regions import attention_regions, register_regions
from tests.gallery.looks import GRID, RATS, SHAPE, VIT, features


@pytest.mark.parametrize("k", [1, 4, 6])
def test_the_regions_of_registers_are_those_that_are_scored(k):
    seen = features()
    (maps,) = map_sets(seen, RATS, grid=GRID)
    expected = register_regions(
        registers=seen.registers, patches=seen.patches, grid=GRID, top_k=k, size=None
    )
    np.testing.assert_array_equal(maps.regions(k), expected[0])


def test_registers_come_by_their_largest_cosine_under_the_names_of_their_heads():
    (maps,) = map_sets(features(), RATS, grid=GRID)
    assert (np.diff(maps.maps.max(1)) <= 0).all() and sorted(maps.kept) == list(range(6))
    assert maps.names[4] == "head 3, register 1" and maps.labels[4] == "3.1"
    assert maps.unit == "registers"


def test_shared_registers_and_queries_are_of_no_head():
    (shared,) = map_sets(features(), replace(RATS, sharing="shared"), grid=GRID)
    (queries,) = map_sets(features(), PerceiverOptions(**SHAPE), grid=GRID)
    assert shared.names[3] == "register 4" and queries.names[3] == "query 4"


def test_a_vit_has_a_map_for_each_head_in_multiples_of_uniform_attention():
    seen = features(tokens=1)
    (maps,) = map_sets(seen, VIT, grid=GRID)
    np.testing.assert_allclose(maps.maps.mean(1), 1, rtol=1e-5)
    assert maps.names == ["head 1", "head 2", "head 3"] and maps.unit == "heads"
    scored = attention_regions(attention=seen.attention[2][:, :, 0], grid=GRID)
    np.testing.assert_array_equal(maps.kept[maps.regions(3)], scored[0])


def test_plain_registers_have_maps_of_their_own_beside_the_heads():
    seen = features(tokens=5)
    heads, registers = map_sets(seen, VIT, grid=GRID)
    assert len(heads.maps) == 3 and len(registers.maps) == 4
    mean = np.asarray(seen.attention[2])[0, :, 1:].mean(0)
    expected = (mean / mean.mean(1, keepdims=True))[registers.kept]
    np.testing.assert_allclose(registers.maps, expected, rtol=1e-5)


def test_attention_has_a_row_a_head_and_of_a_vit_a_row_a_token():
    seen = features(heads=3, tokens=2)
    of_heads = attention_rows(seen, RATS)
    of_tokens = attention_rows(seen, VIT)
    assert [len(row) for _, row in of_heads] == [2, 2, 2]
    attention = np.asarray(seen.attention[2])[0]
    on_patches = [
        f"{share:.0%} of its attention is on patches" for share in attention.sum(-1).mean(0)
    ]
    assert [title for title, _ in of_tokens] == [
        f"[CLS]; {on_patches[0]}",
        f"register 1; {on_patches[1]}",
    ]
    expected = attention[2, 1] / attention[2, 1].mean()
    np.testing.assert_allclose(of_heads[2][1][1][1], expected, rtol=1e-6)
    np.testing.assert_allclose(of_tokens[1][1][2][1], expected, rtol=1e-6)


@pytest.mark.parametrize("options", [RATS, VIT])
def test_the_lead_is_between_the_two_strongest_maps_as_they_are_compared(options):
    (maps, *_) = map_sets(features(), options, grid=GRID)
    smooth = np.array(
        [gaussian_filter(one.reshape(GRID), 1, mode="reflect", truncate=4) for one in maps.maps[:3]]
    )
    np.testing.assert_array_equal(smooth.argmax(0), maps.regions(3))  # what the lead is about
    ordered = np.sort(smooth, axis=0)
    assert maps.lead(3, GRID) == pytest.approx(np.median(ordered[-1] - ordered[-2]), rel=1e-5)
    assert maps.lead(1, GRID) is None


def test_the_lead_of_maps_that_are_alike_is_zero():
    (maps,) = map_sets(features(), RATS, grid=GRID)
    alike = maps._replace(maps=np.tile(maps.maps[:1], (6, 1)))
    assert alike.lead(6, GRID) == pytest.approx(0, abs=1e-6)
