"""Events of a run other than its metrics: one JSON object per line in events.jsonl."""

import json
from datetime import datetime
from pathlib import Path

import jax


class Events:
    """Writes events.jsonl. Other processes write events.1.jsonl, ..., for their own events.

    process: the number of this process; by default JAX's.
    """

    def __init__(self, folder: Path, *, process: int | None = None):
        self._process = jax.process_index() if process is None else process
        name = f"events.{self._process}.jsonl" if self._process else "events.jsonl"
        self.file = folder / name

    def add(self, event: str, *, step: int, **details) -> None:
        """Adds an event that process 0 writes for all processes.

        event: its name. step: the number of steps taken. details: any JSON values.
        """
        if self._process == 0:
            self.add_own(event, step=step, **details)

    def add_own(self, event: str, *, step: int, **details) -> None:
        """As `add`, for an event with details of this process: each process writes its own."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        line = json.dumps({"time": now, "step": step, "event": event, **details})
        with self.file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
