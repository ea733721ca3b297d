"""What runs on this machine (Linux)."""

from pathlib import Path


def session(leader: int) -> dict[int, str]:
    """Command lines of the living processes of a session, by process id."""
    living = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
            if int(of) == leader and state != "Z":
                living[int(stat.parent.name)] = (stat.parent / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            pass
    return living
