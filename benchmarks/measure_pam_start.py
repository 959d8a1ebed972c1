"""Measures the time from the start of `voiceauth-pam` to its request on the socket, which every login has to wait for.

    python benchmarks/measure_pam_start.py [RUNS]

Nothing answers the request: the connection is closed once it has arrived.
"""

from __future__ import annotations

import os
import pwd
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("voiceauth-pam")

TIMEOUT = 10.0
"""Seconds for the program to connect and to send its request."""


def start_to_request(path: str, listening: socket.socket) -> float:
    """Seconds from just before the start of the executable until its whole request has arrived at `listening`."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    command = [PROGRAM, "--socket", path, "--timeout", "1", "--allow-root", "--daemon-user", user]
    variables = {"PAM_TYPE": "auth", "PAM_SERVICE": "login", "PAM_USER": user}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            request = b""
            while not request.endswith(b"\0"):
                request += connection.recv(65536)
            return time.perf_counter() - began
    finally:
        process.wait()


def times(runs: int, folder: str) -> list[float]:
    """Seconds of each run, after one run to warm up. `folder`: one that nobody else can write to."""
    path = os.path.join(folder, "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        listening.settimeout(TIMEOUT)
        return [start_to_request(path, listening) for _ in range(runs + 1)][1:]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    # Not below /tmp: the program does not use a socket in a folder that everybody may write to.
    parent = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", os.path.expanduser("~"))
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        measured = sorted(1000 * seconds for seconds in times(runs, folder))
    median, load = statistics.median(measured), os.getloadavg()[0]
    span = f"{measured[0]:.1f} to {measured[-1]:.1f}"
    print(f"start to request: median {median:.1f} ms, {span}, n {runs}; load {load:.1f}")


if __name__ == "__main__":
    main()
