"""The names of a source's images, read one at a time."""

from collections.abc import Callable, Sequence, Sized


class Names(Sequence):
    """The names of a source's images, by index. A name is read only when it is asked for.

    name_of: returns the name of one image.
    """

    def __init__(self, source: Sized, name_of: Callable[[int], str]):
        self._source, self._name_of = source, name_of

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> str:
        return self._name_of(index)
