"""What happened to a run, beside its metrics: a JSON object a line in its events.jsonl."""

import json
from datetime import datetime
from pathlib import Path

import jax


class Events:
    """Further processes of a run have events.1.jsonl, ..., for what only they know."""

    def __init__(self, folder: Path):
        self._process = jax.process_index()
        name = f"events.{self._process}.jsonl" if self._process else "events.jsonl"
        self.file = folder / name

    def add(self, event: str, *, step: int, **details) -> None:
        """`event` is a word, `step` the number of steps taken, details anything of JSON. Said by
        process 0 for all."""
        if self._process == 0:
            self.add_own(event, step=step, **details)

    def add_own(self, event: str, *, step: int, **details) -> None:
        """As `add`, of what each process knows something else."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        line = json.dumps({"time": now, "step": step, "event": event, **details})
        with self.file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
