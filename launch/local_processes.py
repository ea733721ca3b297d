#!/usr/bin/env python3
"""Several processes on this machine, as on several hosts, for trying it.

    python launch/local_processes.py --processes=2 --devices=4 -- \\
        python -m rats_jax.train --config=configs/demo.py --workdir=runs/two

starts the command twice, on four pretended CPU devices each. Without --devices each takes a GPU of
its own, where there are any. When one ends with an error all are ended, and its exit status is the
launcher's: 85 or 130 where SIGTERM, the end of the terminal, or Ctrl-C made them save and end. A
second Ctrl-C ends all at once.
"""

import argparse
import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

PATIENCE = 10  # seconds that the others have to end by themselves when one has ended with an error
SAVING = 300  # seconds that all have to save and end after a signal
INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, required=True, help="how many")
    parser.add_argument("--devices", type=int, help="pretended CPU devices of each")
    parser.add_argument("command", nargs="+", help="after --, without the flags of processes")
    options = parser.parse_args()
    if options.processes < 1 or (options.devices or 1) < 1:
        parser.error("--processes and --devices must be at least 1")
    gpus = 0 if options.devices else len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    if gpus and gpus < options.processes:
        parser.error(f"{options.processes} processes for {gpus} GPUs: give --devices to use CPUs")

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if not gpus:
        count = f"--xla_force_host_platform_device_count={options.devices or 1}"
        environ["XLA_FLAGS"] = f"{environ.get('XLA_FLAGS', '')} {count}".strip()
        environ["JAX_PLATFORMS"] = "cpu"
    heard = deque()
    # Before any start: what this process ignores, as in the background of a shell, they would too.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as by nohup
            signal.signal(number, lambda number, _: heard.append(number))
    started, relays = [], []
    try:
        for i in range(options.processes):
            flags = [f"--coordinator=127.0.0.1:{port}", f"--processes={options.processes}"]
            flags += [f"--process={i}"] + ([f"--local_devices={i}"] if gpus else [])
            process = start([*options.command, *flags], environ)
            started.append(process)
            for stream, to in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                relays.append(threading.Thread(target=relay, args=(i, stream, to), daemon=True))
                relays[-1].start()
    except OSError as error:
        print(f"error: {shlex.join(options.command)}: {error.strerror}", file=sys.stderr)
        for process in started:
            process.kill()
        return 2
    status = wait(started, heard)
    for thread in relays:
        thread.join(PATIENCE)  # what a process has left running may hold its output open
    return status


def start(command: list[str], environ: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C comes from here, once
    )


def wait(started: list[subprocess.Popen], heard: deque[int]) -> int:
    """Waits until all have ended, and tells them of the signals `heard`.

    Returns 0 if all ended well, or the first other exit status, as a shell gives it.
    """
    first, interrupts, until = 0, 0, math.inf
    while True:
        statuses = [process.poll() for process in started]
        if not first and (first := next(filter(None, statuses), 0)):
            until = min(until, time.monotonic() + PATIENCE)
        if None not in statuses:
            break
        while heard:
            interrupt = heard.popleft() == signal.SIGINT
            interrupts += interrupt
            until = min(until, time.monotonic() + SAVING)
            for process in started:
                process.send_signal(signal.SIGINT if interrupt else signal.SIGTERM)
        if interrupts > 1 or time.monotonic() > until:
            for process in started:
                process.kill()
        time.sleep(0.1)
    if interrupts > 1:
        return INTERRUPTED
    return first if first >= 0 else 128 - first


def relay(number: int, stream, to) -> None:
    for line in stream:
        end = "" if line.endswith("\n") else "\n"
        try:
            print(f"[{number}] {line}", end=end, file=to, flush=True)
        except OSError:  # the terminal has gone; the process must not wait for a reader
            os.dup2(os.open(os.devnull, os.O_WRONLY), to.fileno())


if __name__ == "__main__":
    sys.exit(main())
