"""Checks after each step that may end a run early."""

from collections.abc import Mapping

import jax

from rats_jax.runs.guards.nonfinite import SkippedSteps
from rats_jax.runs.guards.unreadable import Unreadable
from rats_jax.runs.guards.watchdog import Watchdog
from rats_jax.runs.opened import OpenRun


class Guards:
    """Guards against unreadable images, steps that are not applied, failed saves, and hangs.

    A context manager: while the block runs, a hang ends the process.

    Attributes:
      unreadable: the images that could not be read.
      beat: signals progress to the watchdog.
    """

    def __init__(self, run: OpenRun, *, start: int):
        guards = run.config.guards
        self.unreadable = Unreadable(
            run.source, run.folder, max_share=run.config.data.max_unreadable, start=start
        )
        self._checkpoints = run.checkpoints
        self._skipped = SkippedSteps(run.source, run.events, limit=guards.nonfinite_steps)
        self._watchdog = Watchdog(run.folder, seconds=60 * guards.stall_minutes)
        self.beat = self._watchdog.beat

    def check(self, step: int, metrics: dict[str, jax.Array], host: Mapping) -> None:
        """Call after each step, perhaps not yet computed. host: as `DeviceBatches` returned it.

        Raises UserError for too many unreadable images, for too many steps in a row that were not
        applied, and for a disk error while saving.
        """
        self.unreadable.add(host["unreadable"], replaced=host["replaced"], drawn=len(host["index"]))
        self._checkpoints.check()
        self._skipped.add(step, metrics, host["index"])
        self.beat()

    def finish(self) -> None:
        """Waits for the last step and checks it."""
        self._skipped.finish()

    def __enter__(self) -> "Guards":
        self._watchdog.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        self._watchdog.__exit__(*exception)
