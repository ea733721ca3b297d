"""Suppresses the messages of orbax about a failed save, which a run reports in one line."""

import logging
import sys


def quiet_orbax() -> None:
    """Installs the filters permanently; further calls have no additional effect.

    Orbax logs an error with its traceback before it raises it. If several writes fail, the later
    errors reach its event loop after that has been closed. This may be long after the save, so the
    filters are never removed.
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
