"""Which images are shown of an entry, and what is drawn of them."""

import numpy as np
import pytest

from rats_jax.dictionaries.galleries import (
    Place,
    Seen,
    best_places,
    gallery,
    highlighted,
    title_of,
    transferred_places,
)
from rats_jax.parts.dictionary.saved import Dictionary

#: Entry 3 is in the images 0 (twice), 1, 3 and 4.
ENTRIES = np.array([[3, 3, 0], [1, 3, 1], [0, 0, 0], [3, 1, 1], [0, 0, 3]])
SQUARES = np.array([[5, 2, 0], [0, 1, 0], [0, 0, 0], [3, 0, 0], [0, 0, 4.0]])


def test_the_nearest_register_of_each_image_is_taken():
    assert best_places(ENTRIES, SQUARES, 3, 9) == [(1, 1), (0, 1), (3, 0), (4, 2)]
    assert best_places(ENTRIES, SQUARES, 3, 2) == [Place(1, 1), Place(0, 1)]
    assert best_places(ENTRIES, SQUARES, 7, 2) == []
    allowed = np.array([1, 0, 1, 1, 0], bool)
    assert best_places(ENTRIES, SQUARES, 3, 9, images=allowed) == [(0, 1), (3, 0)]


def test_transfer_shows_each_other_category_first():
    entries = np.zeros((7, 1), int)
    squares = np.array([[1, 2, 3, 4, 5, 6, 7.0]]).T
    groups = np.array([5, 5, 5, 8, 8, 2, 5])
    home, here, elsewhere = transferred_places(entries, squares, groups, 0, 3)
    assert home == 5
    assert [place.image for place in here] == [0, 1, 2]
    assert [place.image for place in elsewhere] == [3, 5, 4]
    assert transferred_places(entries, squares, groups, 1, 3) == (-1, [], [])


def test_an_image_is_red_where_the_map_is_1_and_grey_where_it_is_0():
    image = np.full((20, 40, 3), (200, 100, 0), np.uint8)
    map_ = np.repeat([[1, 1, 1, 1, 0, 0, 0, 0]], 4, 0)
    drawn = highlighted(image, map_, side=80).astype(int)
    assert drawn.shape == (40, 80, 3)
    assert (drawn[:, :30, 0] > drawn[:, :30, 1] + 100).all()
    assert (drawn[:, -30:] == drawn[0, -1, 0]).all()


def test_a_page_has_a_row_for_each_entry_with_places():
    seen = Seen(np.zeros((32, 32, 3), np.uint8), np.ones((4, 4)), "a caption")
    one = gallery([("first", [seen] * 3)], side=64)
    two = gallery([("first", [seen] * 3), ("none", []), ("second", [seen])], side=64)
    assert one.width == two.width
    assert two.height == 2 * one.height - 8  # of the margin
    with pytest.raises(ValueError, match="no place"):
        gallery([("none", [])])


def test_titles_say_name_purity_and_use():
    dictionary = Dictionary(
        entries=np.zeros((2, 3), np.float32),
        labels=np.array([4, -1], np.int32),
        purity=np.array([0.834, np.nan], np.float32),
        counts=np.array([1204, 7]),
        parts={4: "dog head"},
    )
    assert title_of(dictionary, 0) == "entry 0: dog head, purity 0.83, 1,204 registers"
    assert title_of(dictionary, 1) == "entry 1, 7 registers"
