"""The unpickler: what torch.save wrote comes back, and a file cannot make it do anything else."""

import argparse
import collections
import contextlib
import io
import pathlib
import pickle
import pickletools
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from rats_jax.weights import unpickler
from rats_jax.weights.pickle_values import (
    DamagedPickle,
    Foreign,
    Ignored,
    Namespace,
    Refused,
    Tensor,
)
from rats_jax.weights.unpickler import load

REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def part(value, protocol: int = 2) -> bytes:
    """The instructions that make a value, without the pickle around them."""
    return pickle.dumps(value, protocol)[2:-1]


def storage(count, *, word="storage", kind=b"ctorch\nFloatStorage\n", key="0") -> bytes:
    return b"(" + part(word) + kind + part(key) + part("cpu") + part(count) + b"tQ"


def tensor(*, count=12, offset=0, shape=(3, 4), strides=(4, 1), **fields) -> bytes:
    """The pickle of a tensor with any numbers in it."""
    arguments = storage(count, **fields) + part(offset) + part(shape) + part(strides)
    return b"\x80\x02" + REBUILD + b"(" + arguments + b"\x89)tR."


def loads(data: bytes):
    return load(io.BytesIO(data))[0]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_come_back(protocol):
    shared = [1]
    value = {
        "numbers": [0, 255, 256, -1, 2**31 - 1, -(2**40), 2**100, 1.5, float("-inf")],
        "others": [None, True, False, "", "naïve \ud800", "x" * 300, (), (1,), (1, 2, 3, 4), [[]]],
        "shared": [shared, shared, {3: {}}],
    }
    assert loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [2, 4])
def test_arguments_of_a_run_become_plain_values(protocol):
    value = {
        "args": argparse.Namespace(lr=np.float64(0.1), n=np.int32(-3), yes=np.True_),
        "path": pathlib.PosixPath("/a/b"),
        "counts": collections.Counter("aab"),
        "ordered": collections.OrderedDict(b=1, a=2),
        "defaults": collections.defaultdict(list, x=[1]),
        "set": {7},
        "rng": ("MT19937", np.arange(600, dtype=np.uint32), 3, np.array([])),
        "dtype": torch.bfloat16,
    }
    read = loads(pickle.dumps(value, protocol))
    args = read.pop("args")
    assert isinstance(args, Namespace)
    assert args.attributes == {"lr": 0.1, "n": -3, "yes": True}
    assert type(args.attributes["lr"]) is float
    name, array, place, empty = read.pop("rng")
    assert (name, place) == ("MT19937", 3) and type(array) is type(empty) is Ignored
    assert read.pop("dtype").make is None
    assert read == {
        "path": None,
        "counts": {"a": 2, "b": 1},
        "ordered": {"b": 1, "a": 2},
        "defaults": {"x": [1]},
        "set": [7],
    }


@pytest.mark.parametrize("order", "<>")
def test_a_numpy_number_comes_back_in_any_byte_order(order):
    scalar = b"cnumpy.core.multiarray\nscalar\n"
    arguments = part(np.dtype(f"{order}f8")) + part(struct.pack(f"{order}d", 1.5))
    assert loads(b"\x80\x02" + scalar + arguments + b"\x86R.") == 1.5


def test_a_tensor_is_where_it_lies():
    read = loads(tensor(offset=2, shape=(2, 5), strides=(5, 1)))
    assert isinstance(read, Tensor)
    assert (read.offset, read.shape, read.strides) == (2, (2, 5), (5, 1))
    assert (read.storage.key, read.storage.count, read.storage.dtype) == ("0", 12, np.float32)


@pytest.mark.parametrize(
    "fields",
    [
        {"offset": 1},
        {"offset": -1},
        {"offset": True},
        {"offset": 2.0},
        {"offset": 2**70},
        {"shape": (3, 5)},
        {"shape": (-3, -4)},
        {"shape": (3.0, 4)},
        {"shape": [3, 4]},
        {"shape": (12,)},
        {"shape": "34"},
        {"shape": (2**62, 2**62)},
        {"shape": (2**40,), "strides": (0,)},  # far larger than the file, were it an array
        {"shape": (13,), "strides": (0,)},
        {"strides": (-4, -1)},
        {"strides": (4, 2**62)},
        {"strides": None},
        {"shape": (1,) * 65, "strides": (1,) * 65},
        {"count": -1},
        {"count": 2**63},
        {"count": "12"},
        {"word": "module"},
        {"kind": b"ctorch\nSize\n"},
        {"kind": part("FloatStorage")},
        {"key": 0},
        {"key": None},
    ],
    ids=str,
)
def test_a_tensor_that_is_not_inside_its_storage_is_refused(fields):
    with pytest.raises(DamagedPickle):
        loads(tensor(**fields))


@pytest.mark.parametrize(
    "data",
    [
        REBUILD + b"(K\x01K\x00)))tR.",  # a tensor of a number
        REBUILD + b")R.",
        b"ctorch\nFloatStorage\n)R.",
        b"ctorch._utils\n_rebuild_parameter\n(K\x01t\x81.",
        b"K\x01Q.",
        part("storage") + b"Q.",
        b"cnumpy\ndtype\n" + part(("f8",)) + b"R" + part((3, "x" * 9)) + b"b.",
        b"cargparse\nNamespace\n)\x81]b.",
        b"h\x00.",
        b"K\x00a.",
        b"]K\x00K\x01s.",
        b"}K\x00a.",
        b"e.",
        b"t.",
        b"\x87.",
        b"R.",
        b"b.",
        b".",
        b"",
        b"\x93.",
        part("a") + b"K\x01\x93.",
        b"X\xff\xff\xff\x7fabc.",
        b"B\xff\xff\xff\xffabc.",
        b"\x8d" + struct.pack("<Q", 2**63) + b"abc.",
        b"\x96" + struct.pack("<Q", 2**40) + b"abc.",
        b"r\xff\xff\xff\xff.",
        b"ctorch\n",
        b"c" + b"x" * 5000,
        b"I12\n.",
    ],
    ids=repr,
)
def test_instructions_without_sense_are_damage(data):
    with pytest.raises(DamagedPickle):
        loads(b"\x80\x02" + data)


@pytest.mark.parametrize(
    "data",
    [
        b"}(K\x01K\x02tK\x03s.",  # a tuple for a key: hashing nested ones takes forever
        b"}G" + bytes(8) + b"K\x03s.",
        REBUILD + b"}b.",
        b"]}b.",
        b"ctorch\nFloatStorage\n}b.",
        b"}}b.",
        tensor()[2:-1] + b"}b.",
    ],
    ids=repr,
)
def test_what_no_weights_hold_is_refused(data):
    with pytest.raises(Foreign):
        loads(b"\x80\x02" + data)


def test_an_array_of_objects_is_refused():
    with pytest.raises(Foreign, match="holds a NumPy O8"):
        loads(pickle.dumps(np.array([None]), 2))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.to(torch.float8_e4m3fn),
        lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        lambda x: x.to_sparse(),
    ],
    ids=["8 bits", "quantised", "sparse"],
)
def test_a_tensor_of_another_kind_says_how_to_convert_it(make):
    file = io.BytesIO()
    torch.save({"norm.weight": make(torch.ones(3, 3))}, file)
    with zipfile.ZipFile(file) as saved:
        (name,) = [name for name in saved.namelist() if name.endswith("data.pkl")]
        data = saved.read(name)
    with pytest.raises(Refused, match="of a kind that cannot be read .*: make it an ordinary one"):
        loads(data)


@pytest.mark.parametrize(
    "name", ["_shard.sharded_tensor.api.ShardedTensor", "tensor.DTensor", "_tensor.api.DTensor"]
)
def test_a_part_of_a_sharded_checkpoint_says_what_to_save_instead(name):
    module, _, kind = f"torch.distributed.{name}".rpartition(".")
    with pytest.raises(Refused, match=rf"holds torch.distributed.{name}, one process's part.*FULL"):
        loads(f"\x80\x02c{module}\n{kind}\n)\x81.".encode("latin-1"))


def test_every_beginning_of_a_pickle_is_damage():
    data = pickle.dumps({"args": argparse.Namespace(lr=np.float64(0.1), x=["a", (1, 2.5)])}, 2)
    loads(data)
    for end in range(len(data)):
        with pytest.raises(DamagedPickle):
            loads(data[:end])


def test_no_more_memory_is_asked_for_than_the_file_is_long(tmp_path):
    path = tmp_path / "pickle"
    path.write_bytes(b"\x80\x02B" + struct.pack("<I", 2**30) + b"abc.")
    tracemalloc.start()
    with path.open("rb") as file, pytest.raises(DamagedPickle):
        load(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize(
    "call",
    [
        b"cpathlib\nPosixPath\n" + part(("x" * 999,) * 90),
        b"ctorch\ndevice\n" + part(("x" * 999,) * 90),
        b"c_codecs\nencode\n" + part(("x" * 999, "latin1")),
        b"cnumpy.core.multiarray\n_reconstruct\n" + part(("x" * 999, (0,), "b")),
        b"cbuiltins\nlist\n" + part((list(range(200)),)),
        b"cbuiltins\ndict\n" + part((dict.fromkeys(map(str, range(200))),)),
        REBUILD + part((1,) * 90),
    ],
    ids=lambda call: call.split(b"\n")[1].decode(),
)
def test_no_call_makes_much_of_little(call):
    """Each call is 6 bytes of the file, its arguments come from the memo."""
    name, arguments = call[: call.index(b"\n", call.index(b"\n") + 1) + 1], None
    arguments = call[len(name) :]
    calls = 2000
    data = b"\x80\x02(" + name + b"q\xfe" + arguments + b"q\xff" + b"h\xfeh\xffR" * calls + b"t."
    tracemalloc.start()
    with contextlib.suppress(Refused):
        loads(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * len(data) + 200_000


def test_a_storage_of_two_sizes_is_refused():
    """By the first, the second tensor would be read beyond the end."""
    two = tensor(count=12)[2:-1] + tensor(count=1200, shape=(30, 40), strides=(40, 1))[2:-1]
    with pytest.raises(DamagedPickle, match="a storage of two types"):
        loads(b"\x80\x02(" + two + b"t.")


def test_every_changed_byte_is_refused_or_a_value():
    whole = tensor()
    for place in range(len(whole)):
        for byte in range(256):
            data = whole[:place] + bytes([byte]) + whole[place + 1 :]
            try:
                read = loads(data)
            except Refused:
                continue
            if isinstance(read, Tensor) and all(read.shape):
                ends = [(n - 1) * by for n, by in zip(read.shape, read.strides, strict=True)]
                assert read.offset + sum(ends) < read.storage.count


def test_an_instruction_of_pickle_is_known_or_refused():
    for code in pickletools.opcodes:
        with pytest.raises(Refused):
            loads(b"\x80\x02" + code.code.encode("latin-1") + b"\xfe")


def test_a_pickle_without_end_in_sight_is_refused(monkeypatch):
    monkeypatch.setattr(unpickler, "MOST", 1000)
    with pytest.raises(Foreign, match="1,000 values"):
        loads(b"N" * 2000)


#: Thirty tuples, each of the last one twice: a billion values to whoever walks them.
DOUBLED = b")q\x00" + b"h\x00\x86q\x00" * 30


@pytest.mark.parametrize(
    "data",
    [
        DOUBLED,
        DOUBLED + b")\x93",
        part("os") + DOUBLED + b"\x93",
        DOUBLED + part("os") + b"\x93",
        b"}" + DOUBLED + b"Ns",
        b"ctorch\ndevice\n" + DOUBLED + b"\x85R",
        b"ctorch\ndevice\n" + DOUBLED + b"R",
        b"cpathlib\nPosixPath\n" + DOUBLED + b"\x85R",
        b"cnumpy\ndtype\n" + DOUBLED + b"R",
        b"cargparse\nNamespace\n)\x81" + DOUBLED + b"b",
        REBUILD + b"(" + storage(1) + b"K\x00" + DOUBLED + b"h\x00tR",
        REBUILD + b"(" + DOUBLED + b"h\x00h\x00h\x00tR",
        DOUBLED + b"Q",
        b"(" + part("storage") + b"ctorch\nFloatStorage\n" + DOUBLED + b"NNtQ",
        b"]" * 100_000,  # a depth that recursion would not survive
        b"(" * 100_000,
        # a million values, handed over a hundred thousand times
        b"(" + b"N" * 1_000_000 + b"tq\x00" + b"ctorch\ndevice\nq\x01h\x00R" * 100_000,
        b"(" + b"N" * 1_000_000 + b"tq\x00ctorch\nSize\nq\x01" + b"h\x01h\x00\x85R" * 100_000,
    ],
    ids=lambda data: ascii(data.replace(DOUBLED, b"DOUBLED")[:60]),
)
def test_nothing_takes_forever(data):
    with contextlib.suppress(Refused):
        loads(b"\x80\x02" + data + b".")
