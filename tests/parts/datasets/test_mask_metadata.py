"""Masks with metadata over Pillow's limits are read: an editor's profile, a program's texts."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from rats_jax.errors import UserError
from rats_jax.parts.datasets.id_files import is_rgb, read_ids, read_rgb_ids

IDS = np.arange(12, dtype=np.uint8).reshape(3, 4)
LARGE = 2 << 20


def _text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "a" * LARGE, zip=True)
    return info


@pytest.mark.parametrize("options", [{"icc_profile": bytes(LARGE)}, {"pnginfo": _text()}])
def test_masks_are_read_whatever_their_metadata(tmp_path, options):
    Image.fromarray(IDS).save(tmp_path / "ids.png", **options)
    assert np.array_equal(read_ids(tmp_path / "ids.png"), IDS)
    rgb = np.stack([IDS, IDS, np.zeros_like(IDS)], -1)
    Image.fromarray(rgb).save(tmp_path / "rgb.png", **options)
    assert np.array_equal(read_rgb_ids(tmp_path / "rgb.png"), IDS * np.int32(257))
    assert is_rgb(tmp_path / "rgb.png") and not is_rgb(tmp_path / "ids.png")


def test_a_mask_of_another_format_is_named(tmp_path):
    Image.fromarray(IDS).save(tmp_path / "ids.jpg")
    (tmp_path / "ids.jpg").rename(tmp_path / "ids.png")
    with pytest.raises(UserError, match=r"ids.png is not a readable PNG \(JPEG: not PNG\)"):
        read_ids(tmp_path / "ids.png")
    assert not is_rgb(tmp_path / "ids.png")
