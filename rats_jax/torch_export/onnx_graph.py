"""model.onnx: one graph for any batch and any size that is a multiple of the patch."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rats_jax.errors import UserError
from rats_jax.models.options import options_of
from rats_jax.torch_export.one_file import modeling

LARGEST = 2**31 - 2**20  # bytes of weights: a protobuf, and so the file, has at most 2 GiB
OPSET = 18


def write(folder: Path) -> None:
    """Traces the model of the folder to model.onnx. The graph has the outputs `registers` (if the
    model has any), `patches` and `global_vector`, float32."""
    import torch

    model = modeling(folder).load(folder)
    size = sum(4 * parameter.numel() for parameter in model.parameters())
    if size > LARGEST:
        raise UserError(
            f"--format=onnx: {size / 2**30:.1f} GiB of weights do not fit into one ONNX file: "
            "choose other formats"
        )
    names = ["registers", "patches", "global_vector"]
    if not options_of(model.options).registers:
        names.remove("registers")

    class Outputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            features = self.model(images)
            return tuple(getattr(features, name) for name in names)

    patch = model.patch_size
    side = model.native * patch
    # Not the native size, for which tracing might treat an interpolation as a constant.
    example = torch.zeros(2, 3, side + patch, side + 3 * patch)
    sizes = {0: torch.export.Dim("batch")}
    sizes |= {2: patch * torch.export.Dim("rows"), 3: patch * torch.export.Dim("columns")}
    with _quietly():
        program = torch.onnx.export(
            Outputs().eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes={"images": sizes},
            input_names=["images"],
            output_names=names,
            verbose=False,
        )
    program.save(folder / "model.onnx", external_data=False)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silences the messages of torch and onnxscript."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def outputs(folder: Path, images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Registers, patches and global vectors of images [B, 3, h, w], by the written model."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    found = dict(
        zip(
            [x.name for x in session.get_outputs()],
            session.run(None, {"images": images}),
            strict=True,
        )
    )
    patches = found["patches"]
    nothing = np.zeros((len(patches), 0, patches.shape[-1]), np.float32)
    return found.get("registers", nothing), patches, found["global_vector"]
