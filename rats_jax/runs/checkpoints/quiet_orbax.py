"""Keeps what orbax says of a failed save out of a run's report, which says it in one line."""

import logging
import sys


def quiet_orbax() -> None:
    """From here on, and once however often it is called.

    Orbax logs an error, traceback and all, before it raises it; and of several writes that fail,
    the later ones come to its event loop when that has been closed. This may be long after the
    save, so nothing is undone.
    """
    logging.getLogger("absl").addFilter(_is_not_of_orbax)
    logging.getLogger("asyncio").addFilter(_is_retrieved)
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _is_retrieved(record: logging.LogRecord) -> bool:
    return "never retrieved" not in record.getMessage()


class _Hook:
    """`sys.unraisablehook` without errors of an event loop that was closed."""

    def __init__(self, before):
        self._before = before

    def __call__(self, error) -> None:
        if str(error.exc_value) != "Event loop is closed":
            self._before(error)
