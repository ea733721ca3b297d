"""Reads back what a run writes for TensorBoard."""

import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


def events(folder: Path) -> list[Event]:
    """Of all files in a folder, in the order of their time."""
    found = [event for file in folder.glob("events.*") for event in _read(file.read_bytes())]
    return sorted(found, key=lambda event: event.wall_time)


def _read(data: bytes) -> Iterator[Event]:
    """Records: length, its check sum, content, its check sum."""
    while data:
        (length,) = struct.unpack_from("<Q", data)
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def scalars(found: list[Event]) -> dict[str, list[int]]:
    """Tag -> steps."""
    steps: dict[str, list[int]] = {}
    for event in found:
        for value in event.summary.value:
            if value.HasField("simple_value"):
                steps.setdefault(value.tag, []).append(event.step)
    return steps


def texts(found: list[Event]) -> dict[tuple[int, str], str]:
    """(step, tag) -> text."""
    return {
        (event.step, value.tag): value.tensor.string_val[0].decode()
        for event in found
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "text"
    }


def pictures(found: list[Event]) -> dict[tuple[int, str], bytes]:
    """(step, tag) -> PNG."""
    return {
        (event.step, value.tag): value.image.encoded_image_string
        for event in found
        for value in event.summary.value
        if value.HasField("image")
    }
