"""Reads files of weights: their tensors by name, as arrays. The content determines the format.

The formats are safetensors and that of torch.save, as one file or in parts with an index. The
config.json next to them is read too. PyTorch is not needed, and nothing in a file is executed.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from rats_jax.errors import UserError
from rats_jax.weights.pickle_values import DamagedPickle, Namespace, Refused, Tensor, one_line
from rats_jax.weights.places import INDEX, read_json, weights_file, what_else
from rats_jax.weights.renaming import Tensors
from rats_jax.weights.sets import choose
from rats_jax.weights.torch_file import ZIP, open_torch

PICKLE = b"\x80"
LONGEST_HEADER = 100_000_000  # bytes of a safetensors header
LONGEST_NAME = 300
#: Limits of the arguments in a checkpoint: number and depth of nesting.
MOST_VALUES, DEEPEST = 10_000, 5
#: Limits of the search for tensors in dictionaries and lists: values and depth of nesting.
MOST_SEARCHED, DEEPEST_SEARCHED = 2_000_000, 12
#: Keys of the optimizers in a training checkpoint: their moments are not weights.
OPTIMIZER = re.compile(r"opt|optim|(\w+_)?optimi[sz]ers?(_\w+)?")


class Weights(NamedTuple):
    """tensors: the tensors of one set. settings: the `args` of a checkpoint merged with the
    config.json next to the file, which takes precedence; or None. about: whose weights these are,
    for messages. not_chosen: the other sets of the file. file: the file itself, even if a folder
    was named."""

    tensors: Tensors
    settings: dict | None
    about: str
    not_chosen: list[str]
    file: Path

    def __repr__(self) -> str:
        return f"Weights({self.about}, {len(self.tensors.arrays)} tensors of {self.file})"


class Stored(NamedTuple):
    """names: the names of all tensors; in dictionaries or lists, the path with dots. read:
    reads tensors by name; floating point becomes float32, other dtypes are unchanged. settings,
    epoch: those in the file, or None."""

    names: Collection[str]
    read: Callable[[Collection[str]], dict[str, np.ndarray]]
    settings: dict | None = None
    epoch: int | None = None


def read(path: Path, *, weights: str = "teacher", flag: str = "--weights") -> Weights:
    """Reads one set of weights from a file, from the parts that an index lists, or from a folder.

    weights, flag: which set to read if there are several, see `sets.choose`. Nothing else is read.

    Raises:
      UserError: the path has anything else; the message is one line.
    """
    with opened(path) as (file, stored):
        beside = file.with_name("config.json")
        settings = read_json(beside) if beside.exists() else None
        chosen = choose(stored.names, weights, source=str(file), flag=flag)
        arrays = stored.read(chosen.keys.values())
    if stored.settings is not None:
        settings = stored.settings | (settings or {})
    about = chosen.name or "weights"
    # In DINO and iBOT this is the number of finished epochs; in Lightning and others it is not.
    if stored.epoch is not None and chosen.prefix.startswith(("teacher.", "student.")):
        about += f" after {stored.epoch} epochs"
    tensors = Tensors(
        str(file),
        chosen.prefix,
        {name: arrays[key] for name, key in chosen.keys.items()},
        chosen.keys,
        chosen.left_out,
    )
    return Weights(tensors, settings, about, chosen.not_chosen, file)


@contextmanager
def opened(path: Path) -> Iterator[tuple[Path, Stored]]:
    """Yields the file that a path refers to, and its content, which can be read inside the block.
    Raises UserError."""
    with ExitStack() as stack:
        try:
            file = weights_file(path)
            opening = _open_parts if file.name.endswith(INDEX) else _open_one
            stored = opening(file, stack)
            for name in stored.names:
                if len(name) > LONGEST_NAME or not name.isprintable():
                    raise UserError(
                        f"{file} has a tensor of the name {one_line(name)}: name another file"
                    )
            yield file, stored
        except OSError as error:
            raise UserError(
                f"{error.filename or path} cannot be read ({error.strerror or error}): name a file "
                "or a folder of weights"
            ) from None


def _open_one(path: Path, stack: ExitStack) -> Stored:
    file = stack.enter_context(path.open("rb"))
    start = file.read(1024)
    with _named(path):
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER:
            stored = _open_safetensors(path, stack)
        elif start.startswith((ZIP, PICKLE)):
            saved = open_torch(file)
            stored = _stored(saved.content, saved.arrays)
        else:
            raise Refused(what_else(start))

    def read(names: Collection[str]) -> dict[str, np.ndarray]:
        with _named(path):
            return {name: _float32(array) for name, array in stored.read(names).items()}

    return stored._replace(read=read)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Adds the file's name to the message of `Refused`, as a UserError."""
    try:
        yield
    except Refused as reason:
        raise UserError(f"{path} {reason}") from None


def _open_safetensors(path: Path, stack: ExitStack) -> Stored:
    """NumPy knows the dtype name bfloat16 because `pickle_values` imports ml_dtypes."""
    try:
        content = stack.enter_context(safe_open(path, framework="np"))
        names = content.keys()
    except SafetensorError as error:
        raise DamagedPickle(one_line(str(error))) from None

    def read(names: Collection[str]) -> dict[str, np.ndarray]:
        try:
            return {name: content.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise DamagedPickle(one_line(str(error))) from None
        except (TypeError, AttributeError) as error:
            raise Refused(
                f"has a tensor that NumPy has no dtype for ({error}): convert it"
            ) from None

    return Stored(names, read)


def _stored(content, read: Callable) -> Stored:
    """The content of a file of torch.save."""
    if not isinstance(content, dict):
        raise Refused("holds no dictionary of tensors: torch.save the model's state_dict()")
    tensors = _tensors(content)
    if not tensors:
        raise Refused("holds no tensors: torch.save the model's state_dict()")
    epoch = content.get("epoch")
    return Stored(
        tensors,
        lambda names: read({name: tensors[name] for name in names}),
        _arguments(content.get("args")),
        epoch if type(epoch) is int and 0 <= epoch < 1_000_000 else None,
    )


def _tensors(content: dict) -> dict[str, Tensor]:
    """The tensors in dictionaries and lists by their paths, without those of optimizers."""
    found: dict[str, Tensor] = {}
    left = MOST_SEARCHED

    def search(items: dict | list | tuple, path: str, depth: int) -> None:
        nonlocal left
        pairs = items.items() if isinstance(items, dict) else enumerate(items)
        for key, value in pairs:
            left -= 1
            if left < 0 or depth > DEEPEST_SEARCHED:
                raise Refused("is nested too deeply: torch.save the model's state_dict()")
            if not isinstance(value, Tensor | dict | list | tuple):
                continue
            if len(name := f"{path}{key}") > LONGEST_NAME:
                raise Refused(f"has a tensor of the name {one_line(name)}: name another file")
            if not isinstance(value, Tensor):
                if not OPTIMIZER.fullmatch(str(key)):
                    search(value, f"{name}.", depth + 1)
            elif name in found:
                raise Refused(f"has two tensors of the name {one_line(name)}: name another file")
            else:
                found[name] = value

    search(content, "", 0)
    return found


def _arguments(args) -> dict | None:
    """Plain values in dictionaries and lists; None for everything else."""
    left = MOST_VALUES

    def plain(value, depth: int):
        nonlocal left
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise Refused("has too many arguments: torch.save the model's state_dict()")
        if type(value) in (list, tuple):
            return [plain(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {key: plain(item, depth + 1) for key, item in value.items()}
        return value if type(value) in (str, int, float, bool) else None

    args = args.attributes if isinstance(args, Namespace) else args
    return plain(args, 0) if isinstance(args, dict) else None


def _open_parts(index: Path, stack: ExitStack) -> Stored:
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(part, str) for part in listed.values()):
        raise UserError(f"{index} has no weight_map: copy or download it again")
    parts = {}
    for part in sorted(set(listed.values())):
        if not re.fullmatch(r"\w[\w.-]*", part):  # otherwise it could be any file
            raise UserError(
                f"{index} names the part {one_line(part)}, which is no file beside it: copy or "
                "download the folder again"
            )
        file = index.with_name(part)
        if not file.exists():
            raise UserError(f"{file} is missing, which {index.name} lists: copy it there")
        parts[part] = _open_one(file, stack)
        for name in sorted({*parts[part].names} ^ {n for n in listed if listed[n] == part}):
            has = "has" if name in parts[part].names else "has no"
            raise UserError(
                f"{file} {has} {one_line(name)}, unlike {index.name} says: copy or download the "
                "folder again"
            )

    def read(names: Collection[str]) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        for part, stored in parts.items():
            arrays |= stored.read([name for name in names if listed[name] == part])
        return arrays

    return Stored(list(listed), read)


def _float32(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "iubc":
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32, order="C", copy=False)
