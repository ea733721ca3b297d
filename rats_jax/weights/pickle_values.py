"""The names that a pickle of torch.save may use, and the harmless values that they make here.

Every function here is called with arguments from a file. For arguments that it cannot use, it
raises `Refused` or an error of Python, which `unpickler.load` treats as damage. The result of a
call is always small, so a file cannot exhaust the memory with many calls.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import ml_dtypes
import numpy as np

LONGEST = 32  # most bytes of a number


class Refused(Exception):
    """Content that cannot be read. The message follows the file's name, and gives the remedy."""


class DamagedPickle(Refused):
    """A damaged or incomplete file."""

    def __init__(self, what: str):
        super().__init__(f"is damaged, or a part of a file ({what}): copy or download it again")


class Foreign(Refused):
    """A file with other things than weights."""

    def __init__(self, what: str):
        super().__init__(
            f"holds {what}, which is no part of weights; nothing of it was run: take a file of "
            "tensors alone, as torch.save(model.state_dict(), ...) writes; of a file of your own, "
            "torch.load(FILE, weights_only=False)['state_dict'], or the like, saved again"
        )


class Sharded(Refused):
    """One of several files that several processes have written together."""

    def __init__(self, what: str):
        super().__init__(
            f"holds {what}, one process's part of a sharded checkpoint: save the full state dict "
            "(StateDictType.FULL_STATE_DICT of FSDP), or name the teacher_checkpoint.pth that "
            "DINOv2 writes"
        )


@dataclass(frozen=True, slots=True)
class Storage:
    """`count` contiguous numbers. One or more tensors are views of them."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view that is entirely inside a storage; offset and strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(slots=True)
class Namespace:
    """An argparse.Namespace."""

    attributes: dict


class Ignored:
    """A value that is not needed, such as a NumPy array: its content is dropped."""


class OrderedDict(dict):
    """Without the attributes that PyTorch adds to its ordered dictionaries."""


@dataclass(slots=True)
class NumpyType:
    """A NumPy dtype. Its byte order follows in the pickle."""

    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class Name:
    """The function that a name stands for, or the dtype."""

    make: Callable | None = None
    dtype: np.dtype | None = None


def one_line(text: str) -> str:
    """A name from a file, made printable and short for a message."""
    start = text[:100]
    start = start if start.isprintable() else ascii(start)
    return start if len(text) <= 100 else f"{start}..."


def check(holds: bool, what: str) -> None:
    if not holds:
        raise DamagedPickle(what)


def _tensor(storage, offset, shape, strides, *_) -> Tensor:
    check(isinstance(storage, Storage), "a tensor without its storage")
    check(type(shape) is tuple and type(strides) is tuple, "a tensor without its shape")
    check(len(shape) == len(strides) <= 32, "a tensor with too many axes")
    numbers = (offset, *shape, *strides)
    check(all(type(n) is int and 0 <= n < 2**62 for n in numbers), "a tensor of impossible shape")
    if all(shape):
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        check(last < storage.count, "a tensor that goes beyond its storage")
        check(prod(shape) <= storage.count, "a tensor larger than its storage")
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor, *_) -> Tensor:
    check(isinstance(tensor, Tensor), "a parameter without its tensor")
    return tensor


def _ordered_dict(*filled) -> OrderedDict:
    if filled:  # as Python 2 writes it
        raise Foreign("a dictionary of Python 2")
    return OrderedDict()


def _as_it_is(kind: type) -> Callable:
    def make(value=None):
        value = kind() if value is None else value
        check(type(value) is kind, f"no {kind.__name__}")
        return value

    return make


def _nothing(*_) -> None:
    """Makes None for paths and devices, which are not needed."""


def _namespace() -> Namespace:
    return Namespace({})


def _encode(text: str, _) -> bytes | Ignored:
    """Bytes as encoded in protocol 2. Only short ones are kept, such as those of a NumPy number."""
    return text.encode("latin-1") if len(text) <= LONGEST else Ignored()


def _numpy_type(code: str, *_) -> NumpyType:
    if not re.fullmatch("[iu][1248]|f[248]|b1", code):
        raise Foreign(f"a NumPy {one_line(code)}")
    return NumpyType(np.dtype(code))


def _numpy_scalar(kind: NumpyType, data: bytes) -> bool | int | float:
    (value,) = np.frombuffer(data, kind.dtype)
    return value.item()


_DTYPES = {
    "DoubleStorage float64": np.float64,
    "FloatStorage float32": np.float32,
    "HalfStorage float16": np.float16,
    "BFloat16Storage bfloat16": ml_dtypes.bfloat16,
    "LongStorage int64": np.int64,
    "IntStorage int32": np.int32,
    "ShortStorage int16": np.int16,
    "CharStorage int8": np.int8,
    "ByteStorage uint8": np.uint8,
    "BoolStorage bool": np.bool_,
}
#: All names that a pickle may use.
NAMES = {
    f"torch.{name}": Name(dtype=np.dtype(dtype))
    for names, dtype in _DTYPES.items()
    for name in names.split()
} | {
    "torch._utils._rebuild_tensor": Name(_tensor),
    "torch._utils._rebuild_tensor_v2": Name(_tensor),
    "torch._utils._rebuild_parameter": Name(_parameter),
    "torch.Size": Name(_as_it_is(tuple)),
    "torch.device": Name(_nothing),
    "collections.OrderedDict": Name(_ordered_dict),
    "collections.Counter": Name(_as_it_is(dict)),
    "collections.defaultdict": Name(lambda *factory: OrderedDict()),
    "builtins.bytes": Name(lambda: b""),  # protocol 2 has no other way to write empty bytes
    "builtins.dict": Name(_as_it_is(dict)),
    "builtins.list": Name(_as_it_is(list)),
    "builtins.set": Name(_as_it_is(list)),
    "argparse.Namespace": Name(_namespace),
    "pathlib.PosixPath": Name(_nothing),
    "pathlib._local.PosixPath": Name(_nothing),
    "numpy.dtype": Name(_numpy_type),
    "numpy.ndarray": Name(),
    "numpy.core.multiarray._reconstruct": Name(lambda *_: Ignored()),
    "numpy._core.multiarray._reconstruct": Name(lambda *_: Ignored()),
    "numpy.core.multiarray.scalar": Name(_numpy_scalar),
    "numpy._core.multiarray.scalar": Name(_numpy_scalar),
    "_codecs.encode": Name(_encode),
}
