"""model.onnx in onnxruntime, against JAX."""

import jax
import numpy as np
import pytest
from flax import nnx

from rats_jax.models import SIZES, options_of
from rats_jax.torch_export import one_file, onnx_graph
from tests.torch_export.models import MODELS, SMALL, draw, random_params

# The small ones of all others need their graphs traced too, at ten seconds each.
CASES = [
    pytest.param(size, name, marks=() if size == "small" and name == "vit" else pytest.mark.slow)
    for size in ("small", "Ti", "S")
    for name in MODELS
    if size != "S" or name in ("rats", "vit")
]


@pytest.mark.parametrize("size, name", CASES)
def test_one_graph_computes_what_jax_computes_at_any_size_and_batch(size, name, tmp_path):
    options = (SMALL if size == "small" else SIZES[size]) | MODELS[name]
    graph, params = random_params(options)
    one_file.write(tmp_path, options=options_of(options), params=params, about={})
    onnx_graph.write(tmp_path)
    assert not list(tmp_path.glob("*.data"))  # one file
    features = jax.jit(lambda params, x: nnx.merge(graph, params)(x)[:3])
    for pixels in ((64, 64), (320, 224)):
        for batch in (1, 3):
            images = draw(batch, pixels)
            with jax.default_matmul_precision("highest"):
                expected = features(params, np.moveaxis(images, 1, -1))
            for ours, theirs in zip(expected, onnx_graph.outputs(tmp_path, images), strict=True):
                np.testing.assert_allclose(theirs, ours, rtol=0, atol=2e-5)


def test_weights_beyond_one_file_are_refused(tmp_path, monkeypatch):
    options = SMALL | MODELS["rats"]
    one_file.write(
        tmp_path, options=options_of(options), params=random_params(options)[1], about={}
    )
    monkeypatch.setattr(onnx_graph, "LARGEST", 1000)
    with pytest.raises(Exception, match="do not fit into one ONNX file"):
        onnx_graph.write(tmp_path)
    assert not (tmp_path / "model.onnx").exists()
