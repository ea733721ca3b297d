"""An export of Mask2Former opens in transformers, in a process that has no rats_jax."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former import export as exporting
from rats_jax.finetuning.mask2former.export import export
from tests.finetuning.mask2former.models import BACKBONES, CLASSES, backbone_of, draw, make

ABOUT = {"origin": "a test", "semantic/miou": 0.25}

REOPEN = """
import sys
sys.modules["rats_jax"] = None  # importing it is an error, wherever it is installed
import torch
from PIL import Image
import numpy as np
from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation

folder, images = sys.argv[1:]
model, info = AutoModelForUniversalSegmentation.from_pretrained(
    folder, trust_remote_code=True, output_loading_info=True
)
assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
assert not model.training and "transformers_modules" in type(model).__module__
images = np.load(images)
processor = AutoImageProcessor.from_pretrained(folder)
image = Image.fromarray(images[0].transpose(1, 2, 0).astype(np.uint8))
inputs = processor(image, return_tensors="pt", do_resize=False)
with torch.no_grad():
    outputs = model(pixel_values=inputs["pixel_values"])
    resized = model(**processor(image.crop((0, 0, 50, 40)), return_tensors="pt"))
semantic = processor.post_process_semantic_segmentation(outputs, target_sizes=[(64, 96)])[0]
instances = processor.post_process_instance_segmentation(outputs, target_sizes=[(64, 96)])[0]
np.savez(
    sys.argv[2] + ".npz",
    classes=outputs.class_queries_logits.numpy(),
    masks=outputs.masks_queries_logits.numpy(),
    semantic=semantic.numpy(),
    resized=resized.masks_queries_logits.shape,
    names=[model.config.id2label[i] for i in range(model.config.num_labels)],
    instances=instances["segmentation"].shape,
)
"""


@pytest.mark.processes
@pytest.mark.parametrize("name, queries", [("rats", "registers"), ("dinov2", "learned")])
def test_a_process_without_rats_jax_opens_it_with_the_same_outputs(tmp_path, name, queries):
    model = make(backbone_of(**BACKBONES[name]), **{"decoder.queries": queries}).eval()
    images = draw(1, 3, 64, 96)
    with torch.no_grad():
        classes, masks, _ = model(images)
    export(model, tmp_path / "an.export", ABOUT, short_side=64, long_side=128)
    np.save(tmp_path / "images.npy", images.numpy())
    packages = sorted({str(Path(module.__file__).parents[1]) for module in (torch, transformers)})
    code = f"import sys; sys.path[:0] = {packages!r}\n" + REOPEN
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PYTHONPATH", None)
    arguments = [str(tmp_path / "an.export"), str(tmp_path / "images.npy")]
    # -I and -S: neither the clone nor what a virtual environment adds to the path
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    found = np.load(tmp_path / "images.npy.npz")
    np.testing.assert_allclose(found["classes"], classes, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["masks"], masks, rtol=0, atol=1e-5)
    assert found["semantic"].shape == tuple(found["instances"]) == (64, 96)
    assert set(np.unique(found["semantic"])) <= {0, 1, 2}
    # 50 x 40 becomes 80 x 64, and 96 x 64 for a patch of 16
    stride = model.backbone.patch_size // 4
    assert tuple(found["resized"][2:]) == (64 // stride, (96 if stride == 4 else 80) // stride)
    assert list(found["names"]) == list(CLASSES)


def test_files_of_an_export(tmp_path):
    model = make()
    export(model, tmp_path / "model", ABOUT)
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert names == {
        *("config.json", "preprocessor_config.json", "model.safetensors", "README.md"),
        *("rats_mask2former.py", "rats_pyramid.py", "modeling_rats.py"),
    }
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["made_from"] == ABOUT and config["num_queries"] == 6
    state = load_file(tmp_path / "model/model.safetensors")
    assert state.keys() == model.network.state_dict().keys()
    processor = json.loads((tmp_path / "model/preprocessor_config.json").read_text())
    assert processor["size_divisor"] == 32
    np.testing.assert_allclose(processor["image_mean"], (0.4, 0.5, 0.6), rtol=1e-6)
    assert '"model", trust_remote_code=True' in (tmp_path / "model/README.md").read_text()


def test_an_export_replaces_an_older_one_and_nothing_else(tmp_path):
    model = make()
    export(model, tmp_path / "model", ABOUT)
    with torch.no_grad():
        model.network.class_predictor.bias.fill_(7)
    export(model, tmp_path / "model", ABOUT)
    assert (load_file(tmp_path / "model/model.safetensors")["class_predictor.bias"] == 7).all()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        export(model, tmp_path / "other", ABOUT)
    assert (tmp_path / "other/notes.txt").read_text() == "mine"


def test_a_failed_export_leaves_the_older_one(tmp_path, monkeypatch):
    model = make()
    export(model, tmp_path / "model", ABOUT)
    before = (tmp_path / "model/model.safetensors").read_bytes()
    monkeypatch.setattr(
        exporting.card, "write", lambda *_, **__: (_ for _ in ()).throw(OSError(28))
    )
    with torch.no_grad():
        model.network.class_predictor.bias.fill_(7)
    with pytest.raises(UserError, match="cannot be written"):
        export(model, tmp_path / "model", ABOUT)
    assert (tmp_path / "model/model.safetensors").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
