"""Checkpoints of the training state, by orbax."""

from pathlib import Path

import orbax.checkpoint as ocp


class Checkpoints:
    """Those under `workdir`/checkpoints, one directory a step, the newest `keep` of them.

    Saving is asynchronous: it returns when the state has been copied, so the next step may donate
    it. A directory takes its final name only when it is complete. Use as a context manager: leaving
    it waits for the last save.
    """

    def __init__(self, workdir: Path, *, keep: int):
        policy = ocp.checkpoint_managers.LatestN(keep)
        self._manager = ocp.CheckpointManager(
            (workdir / "checkpoints").absolute(),
            options=ocp.CheckpointManagerOptions(preservation_policy=policy),
        )

    def latest(self) -> int | None:
        """Step of the newest checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: dict) -> None:
        """Starts to write the state after `step` steps; does nothing if that step is there."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, step: int, like: dict) -> dict:
        """The state of a step, in the dtypes and shardings of the abstract state `like`."""
        return self._manager.restore(step, args=ocp.args.StandardRestore(like))

    def restore_part(self, step: int, like: dict) -> dict:
        """Those parts of a step's state that `like` has, such as {"teacher": ...}."""
        arguments = ocp.checkpoint_utils.construct_restore_args(like)
        return self._manager.restore(
            step,
            args=ocp.args.PyTreeRestore(like, restore_args=arguments, partial_restore=True),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        self._manager.wait_until_finished()
        self._manager.close()
