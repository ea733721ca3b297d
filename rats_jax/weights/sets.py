"""Finds the sets of weights in a file by the names of its tensors, and chooses one.

A training checkpoint contains several models (student and teacher, or a model and its moving
average) and tensors that belong to none of them (heads, decoders, centers). A set is a group of
tensors of a ViT under one prefix. The prefix comes from nested dictionaries or from the names.
"""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from rats_jax.errors import UserError
from rats_jax.weights.layout_tables import LAYOUTS
from rats_jax.weights.pickle_values import Sharded, one_line

#: Parts of a name that a wrapper around a module adds; they say nothing about the weights.
WRAPPERS = {
    "module",  # DataParallel, DistributedDataParallel, AveragedModel, DeepSpeed
    "_orig_mod",  # torch.compile
    "_checkpoint_wrapped_module",  # activation checkpointing
    "_fsdp_wrapped_module",
    "_fpw_module",  # FSDP before PyTorch 1.13
    "_forward_module",  # Lightning Fabric
    "_module",  # Opacus
}
#: The patch embedding shows where a set is; a set without one is found by its layers.
PATCHES = tuple(dict.fromkeys(layout.names["patch_embed.proj.weight"][0] for layout in LAYOUTS))
LAYERS = tuple(
    re.compile(r"(?:(?P<start>.*)\.)?" + re.escape(name).replace(r"\{i\}", r"\d+(\.\d+)?"))
    for name in dict.fromkeys(layout.names["blocks.{i}.norm1.weight"][0] for layout in LAYOUTS)
)
#: First part of the names of tensors that are not part of a backbone.
BESIDE = re.compile(
    r"(\w+_)?(heads?|classifier|decoder|predictor|projector|projection|pooler|neck|queue|center"
    r"|loss|criterion)(_\w+)?|pre_logits|fc|n_averaged|num_updates|logit_(scale|bias)"
)
#: Models that are not plain ViTs, by a tensor that each has.
OF_OTHERS = {
    r"patch_embed\.proj\.\d+\..*": "a ViT with a convolutional stem",
    r"visual\.conv1\.weight": "a CLIP, whose ViT normalises before its first layer",
    r"vision_model\.embeddings\.patch_embedding\.weight": "a CLIP or SigLIP of transformers",
    r"conv_proj\.weight": "a ViT of torchvision",
    r"patch_embed\.projection\.weight": "a ViT of mmpretrain",
    r"conv1\.weight": "a convolutional network",
}
DEFAULT = "teacher"
MOST_SETS, MOST_NAMED = 100, 8


class Chosen(NamedTuple):
    """keys: maps the names of the set's tensors, without prefix and wrappers, to the names in the
    file. prefix: the prefix in the file. name: the name of the set. If it is the only one,
    "teacher" or "student" if its name says so, else None. not_chosen: the other sets. left_out:
    the tensors that are in no set."""

    keys: dict[str, str]
    prefix: str
    name: str | None
    not_chosen: list[str]
    left_out: list[str]


class _Set(NamedTuple):
    """title: the name of the set. prefix: what precedes the names of its tensors, split at dots.
    root: the start of the prefix that its head and similar tensors share."""

    title: str
    prefix: tuple[str, ...]
    root: tuple[str, ...]


def choose(names: Collection[str], weights: str, *, source: str, flag: str = "--weights") -> Chosen:
    """Chooses the set that `weights` names among the tensors of a file.

    weights: the name of a set, or a word in it, such as "teacher" for `teacher_backbone`. The
        default, "teacher", also chooses the only set of a file that does not say whose it is.
    source, flag: the file, and the flag that `weights` is given by, for messages.

    Raises:
      UserError: there is no such set, several sets have the name, or the choice is not clear.
    """
    sets = _sets(_prefixes(names, source))
    chosen = _named(sets, weights, source, flag)
    others = [other for other in sets if other != chosen]
    keys: dict[str, str] = {}
    left_out = []
    for key in names:
        parts = tuple(key.split("."))
        owner = max((s for s in sets if _under(parts, s.prefix)), key=_length, default=None)
        if owner == chosen:
            # DINOv2 trains with its blocks in chunks: blocks.CHUNK.LAYER.
            name = re.sub(
                r"^blocks\.\d+\.(\d+\.)", r"blocks.\1", _plain(parts[len(chosen.prefix) :])
            )
            if BESIDE.fullmatch(name.partition(".")[0]):
                left_out.append(key)
            elif name in keys:
                raise UserError(f"{source} has one tensor twice, as {keys[name]} and as {key}")
            else:
                keys[name] = key
        elif owner is None and not any(_under(parts, other.root) for other in others):
            left_out.append(key)
    return Chosen(
        keys,
        "".join(f"{part}." for part in chosen.prefix),
        chosen.title if others else whose(chosen.title),
        [other.title for other in others],
        left_out,
    )


def grouped(names: Sequence[str], prefix: str) -> list[str]:
    """Names of tensors for messages. Tensors with the same first part become one entry. The start
    that they share with the prefix of the chosen set is removed."""
    groups: dict[str, list[str]] = {}
    chosen = prefix.split(".")[:-1]
    for key in names:
        parts = key.split(".")
        shared = 0
        while shared < min(len(chosen), len(parts) - 1) and parts[shared] == chosen[shared]:
            shared += 1
        groups.setdefault(parts[shared], []).append(".".join(parts[shared:]))
    return [
        members[0] if len(members) == 1 else f"{group} ({len(members)} tensors)"
        for group, members in groups.items()
    ]


def whose(title: str) -> str | None:
    """ "teacher" or "student", if the name of a set says so."""
    return next((name for name in ("teacher", "student") if name in _words(title)), None)


def _words(title: str) -> list[str]:
    return re.split(r"[._]", title.lower())


def _plain(parts: Iterable[str]) -> str:
    return ".".join(part for part in parts if part not in WRAPPERS)


def _under(parts: tuple[str, ...], prefix: tuple[str, ...]) -> bool:
    return parts[: len(prefix)] == prefix


def _length(found: _Set) -> int:
    return len(found.prefix)


def _before(parts: tuple[str, ...], last: int) -> tuple[str, ...]:
    """The parts without the last `last` ones; wrappers do not count."""
    end = len(parts)
    while last:
        end -= 1
        last -= parts[end] not in WRAPPERS
    return parts[:end]


def _prefixes(names: Collection[str], source: str) -> list[tuple[str, ...]]:
    """The prefix of each set."""
    whole: dict[tuple[str, ...], None] = {}
    for key in names:
        parts = tuple(key.split("."))
        plain = _plain(parts)
        for patches in PATCHES:
            if plain == patches or plain.endswith("." + patches):
                whole[_before(parts, 1 + patches.count("."))] = None
    if not whole:
        raise UserError(f"{source} {_no_patches(names)}")
    if len(whole) > MOST_SETS:
        raise UserError(f"{source} holds {len(whole):,} sets of weights: name a file with fewer")
    found = dict(whole)
    for key in names:
        parts = tuple(key.split("."))
        if any(_under(parts, prefix) for prefix in whole):
            continue
        plain = _plain(parts)
        starts = [match["start"] or "" for layer in LAYERS if (match := layer.fullmatch(plain))]
        if starts:
            start = min(starts, key=len)
            if not any(BESIDE.fullmatch(part) for part in start.split(".")):
                name = plain.removeprefix(start).removeprefix(".")
                found[_before(parts, 1 + name.count("."))] = None
    return list(found)


def _no_patches(names: Collection[str]) -> str:
    """The message if there is no set: the reason, and what to do."""
    if any(name.endswith("_flat_param") for name in names):
        return str(Sharded("flat parameters"))
    for pattern, what in OF_OTHERS.items():
        if any(re.fullmatch(rf"(.*\.)?{pattern}", name) for name in names):
            return f"holds {what}, which cannot be read: name the weights of another ViT"
    return f"has no {' or '.join(PATCHES)}: name the weights of a ViT"


def _sets(prefixes: Sequence[tuple[str, ...]]) -> list[_Set]:
    """Names each set by the part of its prefix that it does not share with the others, or by the
    whole prefix if that is not enough."""
    paths = [tuple(part for part in prefix if part not in WRAPPERS) for prefix in prefixes]
    if len(prefixes) == 1:
        return [_Set(".".join(paths[0]), prefixes[0], prefixes[0])]
    start, end = _shared(paths), _shared([path[::-1] for path in paths])
    titles = [".".join(path[start : len(path) - end]) for path in paths]
    if all(titles) and len(set(titles)) == len(titles):
        roots = [_before(prefix, end) for prefix in prefixes]
    else:
        titles, roots = [".".join(prefix) or "." for prefix in prefixes], list(prefixes)
    return list(map(_Set, titles, prefixes, roots))


def _shared(paths: Sequence[tuple[str, ...]]) -> int:
    """The number of first parts that all paths share."""
    return len(os.path.commonprefix(paths))


def _named(sets: Sequence[_Set], weights: str, source: str, flag: str) -> _Set:
    """The set that `weights` refers to. Raises UserError."""
    by_word = [one for one in sets if weights.lower() in _words(one.title)]
    found = [one for one in sets if one.title == weights] or by_word
    if len(found) == 1:
        return found[0]
    first, *others = titles = [one_line(one.title) for one in sets]
    listed = ", ".join(titles[:MOST_NAMED]) + (", ..." if len(titles) > MOST_NAMED else "")
    if by_word:
        raise UserError(
            f"{source} holds several sets of weights that {flag}={weights} may mean: give the "
            f"whole name, of {listed}"
        )
    if others and weights == DEFAULT:
        raise UserError(
            f"{source} holds several sets of weights ({listed}): choose one, such as {flag}={first}"
        )
    if not others and not whose(first):
        if weights == DEFAULT:
            return sets[0]
        raise UserError(
            f"{source} has one set of weights and does not say whose: leave out {flag}={weights}"
        )
    raise UserError(
        f"{source} has no {weights}; it has {listed}: choose {flag}={whose(first) or first}"
    )
