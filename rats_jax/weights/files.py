"""Files of weights: what is in them, as arrays and plain values, told by their content.

Read are safetensors and what torch.save writes, whole or in parts with an index, and the
config.json that lies beside them. PyTorch is not needed, and nothing in a file is run.
"""

import json
import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from rats_jax.errors import UserError
from rats_jax.weights.inert import Damaged, Namespace, Refused, Tensor, one_line
from rats_jax.weights.torch_file import ZIP, open_torch

#: What a folder holds, the first that is there; in parts if beside it is NAME.index.json.
NAMES = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
ENDINGS = (".safetensors", ".pth", ".pt", ".bin")
#: Under these a checkpoint keeps one model's weights, beside other things.
WRAPPERS = ("state_dict", "model")
PICKLE = b"\x80"
LONGEST_HEADER = 100_000_000  # bytes, of safetensors
LONGEST_NAME = 300
#: Of the arguments in a checkpoint: so many, nested so deep.
MOST_VALUES, DEEPEST = 10_000, 5


class Weights(NamedTuple):
    """arrays: a flat state dict, named as in the file; floating point is float32, other dtypes are
    as they were. settings: the `args` of a checkpoint, or else the config.json beside the file, or
    None. about: whose weights these are, for people."""

    arrays: dict[str, np.ndarray]
    settings: dict | None
    about: str


def read(path: Path, *, weights: str = "teacher") -> Weights:
    """The state dict in a file, in the parts that an index lists, or in a folder of `NAMES`.

    weights: which of them if it is a checkpoint of both, "teacher" or "student". A file with one
    state dict does not say whose it is, and has no student.

    Raises:
      UserError: in one line, whatever else is there.
    """
    try:
        if path.is_dir():
            path = _in_folder(path)
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file: name a file or a folder of weights")
        read_file = _read_parts if path.name.endswith(INDEX) else _read_one
        arrays, settings, about = read_file(path, weights)
        if settings is None:
            settings = _config_beside(path)
    except OSError as error:
        raise UserError(
            f"{error.filename or path} cannot be read ({error.strerror or error}): name a file or "
            "a folder of weights"
        ) from None
    for name in arrays:
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise UserError(f"{path} has a tensor of the name {one_line(name)}: name another file")
    return Weights({name: _float32(array) for name, array in arrays.items()}, settings, about)


def _in_folder(folder: Path) -> Path:
    for name in NAMES:
        for file in (folder / name, folder / (name + INDEX)):
            if file.exists():
                return file
    others = sorted(file for file in folder.iterdir() if file.suffix in ENDINGS)
    remedy = f"name the file itself, such as {others[0]}" if others else "name another folder"
    raise UserError(f"{folder} holds no {' or '.join(NAMES)}: {remedy}")


def _read_one(path: Path, weights: str) -> Weights:
    with path.open("rb") as file:
        start = file.read(1024)
        try:
            if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER:
                _check_nobodys(weights)
                return Weights(_read_safetensors(path), None, "weights")
            if start.startswith((ZIP, PICKLE)):
                return _read_torch(file, weights)
            raise Refused(_what_else(start))
        except Refused as reason:
            raise UserError(f"{path} {reason}") from None


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """NumPy knows bfloat16, by that name, once ml_dtypes has been imported, as `inert` does."""
    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise Damaged(one_line(str(error))) from None
    except (TypeError, AttributeError) as error:
        raise Refused(f"has a tensor that NumPy has no dtype for ({error}): convert it") from None


def _read_torch(file: BinaryIO, weights: str) -> Weights:
    saved = open_torch(file)
    content = saved.content
    if not isinstance(content, dict):
        raise Refused("holds no dictionary of tensors: torch.save the model's state_dict()")
    sets = [name for name in ("teacher", "student") if isinstance(content.get(name), dict)]
    if sets and weights not in sets:
        raise Refused(f"has no {weights}; it has {_keys(content)}: choose --weights={sets[0]}")
    if sets:
        about, state = weights, content[weights]
        if type(epoch := content.get("epoch")) is int and 0 <= epoch < 1_000_000:
            about += f" after {epoch} epochs"
    else:
        _check_nobodys(weights)
        wrapped = [content[name] for name in WRAPPERS if isinstance(content.get(name), dict)]
        about, state = "weights", wrapped[0] if wrapped else content
    return Weights(saved.arrays(_tensors(state)), _arguments(content.get("args")), about)


def _tensors(state: dict) -> dict[str, Tensor]:
    """Raises Refused unless it is a flat state dict."""
    for name, value in state.items():
        if type(name) is not str or not isinstance(value, Tensor):
            raise Refused(
                f"has {one_line(str(name))} where a tensor is looked for, and it is none (beside "
                f"{_keys(state)}): torch.save the model's state_dict()"
            )
    if not state:
        raise Refused("holds no tensors: torch.save the model's state_dict()")
    return state


def _check_nobodys(weights: str) -> None:
    if weights != "teacher":
        raise Refused(
            f"has one set of weights and does not say whose: leave out --weights={weights}"
        )


def _keys(content: dict) -> str:
    names = [one_line(str(name)) for name in list(content)[:8]]
    return ", ".join(names) + (" ..." if len(content) > 8 else "")


def _arguments(args) -> dict | None:
    """Plain values in dictionaries and lists; None for all else."""
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


def _read_parts(index: Path, weights: str) -> Weights:
    parts = read_json(index).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise UserError(f"{index} has no weight_map: copy or download it again")
    arrays = {}
    for part in sorted(set(parts.values())):
        if not re.fullmatch(r"\w[\w.-]*", part):  # it could be any file
            raise UserError(
                f"{index} names the part {one_line(part)}, which is no file beside it: copy or "
                "download the folder again"
            )
        file = index.with_name(part)
        if not file.exists():
            raise UserError(f"{file} is missing, which {index.name} lists: copy it there")
        there, listed = _read_one(file, weights).arrays, {n for n in parts if parts[n] == part}
        for name in sorted(there.keys() ^ listed):
            has = "has" if name in there else "has no"
            raise UserError(
                f"{file} {has} {one_line(name)}, unlike {index.name} says: copy or download the "
                "folder again"
            )
        arrays |= there
    return Weights(arrays, None, "weights")


def _config_beside(path: Path) -> dict | None:
    config = path.with_name("config.json")
    return read_json(config) if config.exists() else None


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises UserError."""
    if not path.is_file():
        raise UserError(f"{path} is no file: put the model's config.json there, or take it away")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object; copy or download it again")
    return content


def _float32(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "iubc":
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32, order="C", copy=False)


def _what_else(start: bytes) -> str:
    if not start:
        return "is empty: copy or download it again"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of git-lfs, not the weights: fetch them with git lfs pull"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not the weights: download from the address of the file itself"
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        return "is an archive: unpack it, and name the file of the weights in it"
    return "is no file of weights: name one of safetensors or of torch.save"
