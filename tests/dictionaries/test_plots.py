"""The matrix of names, and purity against use."""

import numpy as np
from PIL import Image

from rats_jax.dictionaries.plots import draw_name_similarity, draw_purity, name_similarity
from rats_jax.parts.dictionary.saved import Dictionary


def dictionary(names: dict[int, str], labels: list[int]) -> Dictionary:
    rng = np.random.default_rng(0)
    return Dictionary(
        entries=rng.standard_normal((len(labels), 16)).astype(np.float32) + 2,
        labels=np.array(labels, np.int32),
        purity=np.ones(len(labels), np.float32),
        counts=np.ones(len(labels), np.int64),
        parts=names,
    )


def test_parts_of_a_super_category_are_neighbours():
    names = {0: "quadruped head", 1: "bird wing", 2: "quadruped foot", 7: "bird head"}
    one = dictionary(names, [0, 1, 2, 7, -1, 0, 7])
    parts, cosine = name_similarity(one)
    assert parts.tolist() == [7, 1, 2, 0]
    np.testing.assert_allclose(np.diag(cosine), 1)
    head, wing = one.entries[[3, 6]].mean(0), one.entries[1]
    expected = head @ wing / np.linalg.norm(head) / np.linalg.norm(wing)
    np.testing.assert_allclose(cosine[0, 1], expected, rtol=1e-5)
    _, centered = name_similarity(one, centered=True)
    assert centered[0, 1] < cosine[0, 1]


def test_parts_without_super_categories_are_in_the_order_of_their_ids():
    parts, _ = name_similarity(dictionary({0: "wing", 1: "bird head"}, [1, 0, 5]))
    assert parts.tolist() == [0, 1, 5]


def test_plots_are_drawn(tmp_path):
    named = dictionary({n: f"kind{n // 5} part {n}" for n in range(20)}, list(range(20)))
    draw_name_similarity(named, tmp_path / "names.png")
    counts = np.array([0, 3, 500])
    purity = np.array([np.nan, 0.5, 0.9])
    draw_purity(counts, purity, purity, 0.2, tmp_path / "purity.png")
    for name in ("names", "purity"):
        picture = np.asarray(Image.open(tmp_path / f"{name}.png"))
        assert picture.std() > 5
    draw_name_similarity(dictionary({}, [-1, -1]), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
