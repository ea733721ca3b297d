"""What torch.save writes, in both of its formats, is read as PyTorch reads it."""

import io
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch

from rats_jax.errors import UserError
from rats_jax.weights.files import read
from tests.weights import official
from tests.weights.saved import (
    DTYPES,
    FORMATS,
    assert_read_as_torch_does,
    read_all,
    rezip,
    save,
    tensors,
)


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_of_torch_come_back(tmp_path, zipped, protocol):
    path = save(tensors(), tmp_path / "x.pth", zipped=zipped, pickle_protocol=protocol)
    assert_read_as_torch_does(path, tensors())


def test_what_a_big_endian_machine_wrote_comes_back(tmp_path):
    state = {name: tensors()[name] for name in DTYPES}
    sizes = [tensor.element_size() for tensor in state.values()]

    def swap(name, data):
        if name == "byteorder":
            return b"big"
        if not name.startswith("data/"):
            return data
        size = sizes[int(name.removeprefix("data/"))]
        return np.frombuffer(data, f"u{size}").byteswap().tobytes()

    assert_read_as_torch_does(rezip(save(state, tmp_path / "x.pth"), swap), state)


def test_what_is_not_asked_for_is_not_read_all(tmp_path):
    student = official.vit().state_dict() | {"norm.bias": torch.full((128,), 7.0)}
    content = {"teacher": official.vit().state_dict(), "student": student}
    path = save(content, tmp_path / "x.pth")
    other = student["norm.bias"].numpy().tobytes()
    path.write_bytes(path.read_bytes().replace(other, bytes(len(other))))
    assert len(read(path).tensors.arrays) == len(student)
    with pytest.raises(UserError, match="is damaged"):  # the checksum is wrong
        read(path, weights="student")


def test_archives_that_torch_did_not_write_are_told(tmp_path):
    def keep(name, data):
        return data

    path = rezip(save({"w": torch.zeros(9999)}, tmp_path / "x.pth"), keep, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="is a compressed archive"):
        read_all(path)
    np.savez(tmp_path / "x.npz", w=np.ones(2))
    with pytest.raises(UserError, match="not one of torch.save"):
        read_all(tmp_path / "x.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "x.pt"))
    with pytest.raises(UserError, match="is a TorchScript program"):
        read_all(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: None if name == "data/0" else data,
        lambda name, data: data[:-4] if name == "data/0" else data,
        lambda name, data: data + bytes(4) if name == "data/0" else data,
        lambda name, data: data[:-9] if name == "data.pkl" else data,
        lambda name, data: b"middle" if name == "byteorder" else data,
        lambda name, data: data * 9 if name == "byteorder" else data,
    ],
)
def test_an_archive_whose_parts_do_not_fit_is_damaged(tmp_path, change):
    path = rezip(save({"w": torch.ones(10)}, tmp_path / "x.pth"), change)
    with pytest.raises(UserError, match="is damaged"):
        read_all(path)


def test_a_flipped_bit_of_the_numbers_is_found(tmp_path):
    path = save({"w": torch.full((10,), 7.0)}, tmp_path / "x.pth")
    data = path.read_bytes()
    place = data.index(np.full(10, 7, np.float32).tobytes())
    path.write_bytes(data[:place] + b"\1" + data[place + 1 :])
    with pytest.raises(UserError, match="is damaged"):
        read_all(path)


def test_an_archive_that_says_it_is_larger_than_the_file_is_damaged(tmp_path):
    path = save({"w": torch.ones(10)}, tmp_path / "x.pth")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        place = data.index(b"PK\x01\x02", archive.start_dir)
    data[place + 20 : place + 28] = (2**31).to_bytes(4, "little") * 2  # of data.pkl
    path.write_bytes(data)
    with pytest.raises(UserError, match="its parts are larger than it is"):
        read_all(path)


def test_a_stream_that_says_it_is_larger_than_the_file_is_damaged(tmp_path):
    path, count = tmp_path / "x.pth", 4321
    save({"w": torch.ones(count)}, path, zipped=False)
    data, huge = path.read_bytes(), 2**47
    in_the_pickle = b"M" + struct.pack("<H", count), b"\x8a\x08" + struct.pack("<q", huge)
    before_the_numbers = struct.pack("<q", count), struct.pack("<q", huge)
    path.write_bytes(data.replace(*in_the_pickle, 1).replace(*before_the_numbers))
    with pytest.raises(UserError, match="562,949,953,.* are said to be"):
        read_all(path)


def test_one_storage_under_many_names_does_not_fill_the_memory(tmp_path):
    shared = torch.ones(1000)
    path = save({f"w{i}": shared for i in range(300)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="its tensors are larger than it is"):
        read_all(path)
