"""Reads pickles of torch.save without executing anything in them.

A pickle is a program: it may name any function of Python and call it, and Python's unpicklers
execute it. This one follows only the instructions that torch.save needs, and a pickle may use only
the names in `pickle_values.NAMES`, each of which stands for a function of ours. Tensors are read as
views of storages (`pickle_values.Tensor`), without their numbers.

So a file can neither import nor call anything, nor set an attribute. The memory that it can use is
limited by its size and by `MOST` instructions, since no instruction copies existing values.
"""

import os
import struct
from typing import BinaryIO

from rats_jax.weights.pickle_values import (
    NAMES,
    DamagedPickle,
    Foreign,
    Ignored,
    Name,
    Namespace,
    NumpyType,
    OrderedDict,
    Refused,
    Sharded,
    Storage,
    check,
    one_line,
)

#: Most instructions in one pickle. A tensor takes 20 to 30.
MOST = 2_000_000
MOST_ARGUMENTS = 100
LONGEST_LINE = 1000


def load(file: BinaryIO) -> tuple[object, dict[str, Storage]]:
    """Reads the pickle at the file's position. Returns its value and the storages that it names.

    The value consists of plain values, `Tensor`s and `Namespace`s. Sets become lists. Raises only
    Refused and errors of the disk.
    """
    reader = _Reader(file)
    try:
        return reader.read(), reader.storages
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise DamagedPickle("its pickle") from None  # an instruction got values that it cannot use


def _unknown(name: str) -> Refused:
    """The error for a name that is not in `NAMES`."""
    shown = one_line(name)
    if name.startswith("torch.distributed."):
        return Sharded(shown)
    if name.startswith(("torch._utils._rebuild_", "torch._tensor._rebuild_")) or (
        name.startswith("torch.") and name.endswith("Storage")
    ):
        return Refused(
            f"holds a tensor of a kind that cannot be read ({shown}): make it an ordinary one with "
            ".float(), .dequantize() or .to_dense(), and save the file again"
        )
    return Foreign(shown)


class _Reader:
    def __init__(self, file: BinaryIO):
        self.storages: dict[str, Storage] = {}
        self._file = file
        start = file.tell()
        self._left = file.seek(0, os.SEEK_END) - start
        file.seek(start)
        self._stack: list = []
        self._below: list[list] = []  # stacks under the marks
        self._memo: dict[int, object] = {}

    def read(self) -> object:
        for _ in range(MOST):
            instruction = self._take(1)
            if instruction == b".":
                return self._stack.pop()
            self._follow(instruction)
        raise Foreign(f"more than {MOST:,} values")

    def _follow(self, instruction: bytes) -> None:
        """Follows one instruction. The names in the comments are those of pickletools."""
        stack = self._stack
        match instruction:
            case b"q":  # BINPUT
                self._memo[self._number(1)] = stack[-1]
            case b"r":  # LONG_BINPUT
                self._memo[self._number(4)] = stack[-1]
            case b"\x94":  # MEMOIZE
                self._memo[len(self._memo)] = stack[-1]
            case b"h":  # BINGET
                stack.append(self._memo[self._number(1)])
            case b"j":  # LONG_BINGET
                stack.append(self._memo[self._number(4)])
            case b"K":  # BININT1
                stack.append(self._number(1))
            case b"M":  # BININT2
                stack.append(self._number(2))
            case b"J":  # BININT
                stack.append(self._number(4, signed=True))
            case b"\x8a":  # LONG1
                stack.append(self._number(self._number(1), signed=True))
            case b"G":  # BINFLOAT
                stack.append(struct.unpack(">d", self._take(8))[0])
            case b"N":  # NONE
                stack.append(None)
            case b"\x88":  # NEWTRUE
                stack.append(True)
            case b"\x89":  # NEWFALSE
                stack.append(False)
            case b"\x8c" | b"U":  # SHORT_BINUNICODE, SHORT_BINSTRING
                stack.append(self._text(1))
            case b"X" | b"T":  # BINUNICODE, BINSTRING
                stack.append(self._text(4))
            case b"\x8d":  # BINUNICODE8
                stack.append(self._text(8))
            case b"C":  # SHORT_BINBYTES
                stack.append(self._take(self._number(1)))
            case b"B":  # BINBYTES
                stack.append(self._take(self._number(4)))
            case b"(":  # MARK
                self._below.append(stack)
                self._stack = []
            case b")":  # EMPTY_TUPLE
                stack.append(())
            case b"]" | b"\x8f":  # EMPTY_LIST, EMPTY_SET
                stack.append([])
            case b"}":  # EMPTY_DICT
                stack.append({})
            case b"t":  # TUPLE
                self._down().append(tuple(stack))
            case b"\x91":  # FROZENSET
                self._down().append(stack)
            case b"\x85" | b"\x86" | b"\x87":  # TUPLE1, TUPLE2, TUPLE3
                count = instruction[0] - 0x84
                check(len(stack) >= count, "its pickle")
                stack[-count:] = [tuple(stack[-count:])]
            case b"a":  # APPEND
                self._extend(stack[-2], [stack.pop()])
            case b"e" | b"\x90":  # APPENDS, ADDITEMS
                self._extend(self._down()[-1], stack)
            case b"s":  # SETITEM
                value, key = stack.pop(), stack.pop()
                self._update(stack[-1], [key, value])
            case b"u":  # SETITEMS
                self._update(self._down()[-1], stack)
            case b"c":  # GLOBAL
                stack.append(self._find(self._line(), self._line()))
            case b"\x93":  # STACK_GLOBAL
                name, module = stack.pop(), stack.pop()
                stack.append(self._find(module, name))
            case b"i":  # INST
                self._find(self._line(), self._line())
                raise DamagedPickle("its pickle")
            case b"R" | b"\x81":  # REDUCE, NEWOBJ
                arguments = stack.pop()
                check(type(arguments) is tuple and len(arguments) < MOST_ARGUMENTS, "its pickle")
                stack.append(stack.pop().make(*arguments))
            case b"b":  # BUILD
                self._build(stack.pop())
            case b"Q":  # BINPERSID
                stack.append(self._storage(*stack.pop()))
            case b"\x80":  # PROTO
                self._take(1)
            case b"\x95":  # FRAME
                self._take(8)
            case _:
                raise DamagedPickle(
                    f"its pickle has the byte {instruction[0]} where an instruction is"
                )

    def _take(self, count: int) -> bytes:
        """The next bytes. Never allocates more memory than the size of the file."""
        check(count <= self._left, "its pickle has no end")
        self._left -= count
        data = self._file.read(count)
        check(len(data) == count, "its pickle has no end")
        return data

    def _line(self) -> str:
        line = self._file.readline(LONGEST_LINE)
        self._left -= len(line)
        check(line.endswith(b"\n"), "its pickle has no end")
        return line[:-1].decode()

    def _number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self._take(size), "little", signed=signed)

    def _text(self, size: int) -> str:
        return self._take(self._number(size)).decode("utf-8", "surrogatepass")

    def _down(self) -> list:
        """The stack under the last mark."""
        self._stack = self._below.pop()
        return self._stack

    def _extend(self, items: list, more: list) -> None:
        check(type(items) is list, "no list")
        items.extend(more)

    def _update(self, items: dict, more: list) -> None:
        check(isinstance(items, dict) and len(more) % 2 == 0, "no dictionary")
        for key, value in zip(more[::2], more[1::2], strict=True):
            # Keys of other types can take forever to compare.
            if type(key) is not str and not (type(key) is int and abs(key) < 2**64):
                raise Foreign(f"a dictionary with a {type(key).__name__} for a key")
            items[key] = value

    def _find(self, module: str, name: str) -> Name:
        check(type(module) is str and type(name) is str, "a name that is no text")
        name = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if name not in NAMES:
            raise _unknown(name)
        return NAMES[name]

    def _build(self, state) -> None:
        made = self._stack[-1]
        if isinstance(made, Namespace):
            check(type(state) is dict, "no Namespace")
            made.attributes = state
        elif isinstance(made, NumpyType):
            check(state[1] in ("<", ">", "=", "|"), "a NumPy type")
            made.dtype = made.dtype.newbyteorder(state[1])
        elif not isinstance(made, OrderedDict | Ignored):
            raise Foreign(f"attributes of a {type(made).__name__}")

    def _storage(self, word, kind, key, location, count, view=None) -> Storage:
        check(word == "storage" and type(key) is str and view is None, "no storage")
        check(type(count) is int and 0 <= count < 2**62, "a storage of impossible size")
        check(type(kind) is Name and kind.dtype is not None, "a storage of no type")
        storage = Storage(key, kind.dtype, count)
        check(self.storages.setdefault(key, storage) == storage, "a storage of two types")
        return storage
