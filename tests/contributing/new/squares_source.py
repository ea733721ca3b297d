"""Gray squares of two classes, the even and the odd ones."""

import numpy as np

SIDE = 16


class Squares:
    """The square of an index has this index as its gray value."""

    def __init__(self, length: int):
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, int]:
        return np.full((SIDE, SIDE, 3), index, np.uint8), index % 2
