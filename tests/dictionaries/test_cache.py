"""--cache: vectors of other weights or images are refused, and what was left out stays known."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from rats_jax.dictionaries.cache_key import digest_of_images, digest_of_model
from rats_jax.dictionaries.images import Images, open_images
from rats_jax.errors import UserError
from tests.dictionaries.test_dictionary import KINDS, made, splits
from tests.gallery.looks import backbone


@pytest.fixture(scope="module")
def rats():
    return backbone(KINDS["rats"])


def test_vectors_of_other_weights_with_the_same_origin_are_refused(rats, tmp_path):
    made(rats, tmp_path / "one", cache=tmp_path / "cache")
    params = jax.tree.map(lambda x: x * 1.001, rats.params)
    with pytest.raises(UserError, match="has other vectors"):
        made(rats._replace(params=params), tmp_path / "two", cache=tmp_path / "cache")


def test_the_digest_of_a_model_is_of_all_that_changes_vectors(rats):
    leaves, tree = jax.tree.flatten(rats.params)
    leaves[-1] = leaves[-1].at[(0,) * leaves[-1].ndim].add(1e-3)
    others = [
        rats._replace(params=jax.tree.unflatten(tree, leaves)),
        rats._replace(mean=(0.5, 0.5, 0.5)),
    ]
    assert len({digest_of_model(model) for model in (rats, rats._replace(origin="x"))}) == 1
    assert len({digest_of_model(model) for model in (rats, *others)}) == 3


@pytest.fixture
def images(tmp_path) -> list[Images]:
    """Two splits of drawings in files."""
    found = []
    for split, seed in (("train", 1), ("dataset", 2)):
        drawings = splits(f"procedural_parts:17@{seed}")[0].dataset
        for i, drawing in enumerate(map(drawings.sample, range(17))):
            for name, pixels in (("images", drawing.image), ("masks", drawing.mask)):
                file = tmp_path / split / name / f"{i:02}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(file)
        found.append(open_images(f"--{split}", f"folder:{tmp_path / split}", 40))
    return found


@pytest.mark.parametrize("kind", ["folder:", "image_folder:"])
@pytest.mark.parametrize("limit", [None, 3])
def test_the_digest_of_images_changes_with_a_file(images, kind, limit):
    def digest() -> str:
        return digest_of_images(open_images("--train", spec, 40).limited(limit))

    (path,) = {folder.parent for folder in images[0].folders}
    spec, before = f"{kind}{path}", None
    for name in ("images", "masks") if kind == "folder:" else ("images",):
        before = digest()
        assert digest() == before
        os.utime(path / name / "00.png", (1, 1))
        assert digest() != before


def test_what_a_cache_left_out_is_known_in_a_second_run(rats, tmp_path, images):
    (broken,) = Path(images[1].folders[0]).glob("03.png")
    broken.write_bytes(b"no image")
    given = {"images": images, "cache": tmp_path / "cache"}
    one = made(rats, tmp_path / "one", skip_broken=True, **given)
    two = made(rats, tmp_path / "two", skip_broken=True, **given)
    assert len(one.skipped) == 1 and one.skipped == two.skipped
    with pytest.raises(UserError, match=r"03.png .*\(or skip it with --skip_broken\)"):
        made(rats, tmp_path / "three", **given)
