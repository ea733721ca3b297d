"""Files with tensors of every kind, and what PyTorch reads of them."""

import zipfile

import numpy as np
import torch

from rats_jax.weights.files import opened

DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
FORMATS = {"zip": True, "stream": False}


def tensors() -> dict[str, torch.Tensor]:
    """Of every dtype, and lying in every way."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, generator=draws)
    state = {name: (x * 50).to(getattr(torch, name)) for name in DTYPES}
    return state | {
        "transposed": x.t(),
        "row": x[3],
        "columns": x[:, 1:3],
        "every other": x.flatten()[1::2],
        "windows": x.unfold(0, 2, 4),
        "number": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "shared": x,
        "parameter": torch.nn.Parameter(x.bfloat16()),
    }


def save(content, path, *, zipped: bool = True, **options):
    torch.save(content, path, _use_new_zipfile_serialization=zipped, **options)
    return path


def rezip(path, change, compression=zipfile.ZIP_STORED):
    """The archive again, with each part as change(name, data) makes it; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            if (data := change(name.partition("/")[2], data)) is not None:
                archive.writestr(name, data)
    return path


def read_all(path) -> dict[str, np.ndarray]:
    """All tensors of a file, whatever they are of."""
    with opened(path) as (_, stored):
        return stored.read(list(stored.names))


def assert_read_as_torch_does(path, expected: dict[str, torch.Tensor]):
    arrays = read_all(path)
    assert arrays.keys() == expected.keys()
    for name, tensor in expected.items():
        tensor = tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
        assert arrays[name].dtype == tensor.numpy().dtype, name
        np.testing.assert_array_equal(arrays[name], tensor.numpy(), err_msg=name)
