"""CPU time, threads and memory of a process, from proc(5)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.bench.report import NotMeasuredError

_FIRST_FIELD = 3
"""Number of the first field of /proc/PID/stat after the name, as proc(5) counts."""

_USER_TIME, _SYSTEM_TIME = 14, 15
"""Numbers of the fields utime and stime, in ticks."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used since its start, or between two readings.

    at       seconds on `time.monotonic()`'s clock, or between the readings
    user     CPU seconds in its own code; `system`: in the kernel
    wakeups  how often any of its threads slept and was woken
    threads  CPU seconds of each thread that is still running, by thread id
    """

    at: float
    user: float
    system: float
    wakeups: int
    threads: dict[int, float]

    def since(self, before: Usage) -> Usage:
        """The difference to `before`. Threads that have started since count from zero."""
        return Usage(
            self.at - before.at,
            self.user - before.user,
            self.system - before.system,
            self.wakeups - before.wakeups,
            {thread: used - before.threads.get(thread, 0.0) for thread, used in self.threads.items()},
        )

    @property
    def cpu(self) -> float:
        """CPU seconds."""
        return self.user + self.system

    @property
    def share(self) -> float:
        """Percent of one core. Only of a difference."""
        return 100.0 * self.cpu / self.at

    def busiest(self, count: int = 3) -> str:
        """The shares of the busiest threads, in percent of a core. Only of a difference."""
        shares = sorted((100.0 * used / self.at for used in self.threads.values()), reverse=True)
        return ", ".join(f"{share:.2f}" for share in shares[:count])


def usage(pid: int) -> Usage:
    """What process `pid` has used so far. Raises `NotMeasuredError` without /proc, or if there is no such process."""
    folder = Path(f"/proc/{pid}")
    try:
        now = time.monotonic()
        user, system = _times(folder)
        tasks = list((folder / "task").iterdir())
    except OSError as problem:
        raise NotMeasuredError(f"process {pid} cannot be measured: {problem.strerror}") from problem
    threads: dict[int, float] = {}
    wakeups = 0
    for task in tasks:
        try:
            wakeups += int(_fields(task / "status")["voluntary_ctxt_switches"])
            threads[int(task.name)] = sum(_times(task))
        except OSError:  # the thread has ended
            continue
    return Usage(now, user, system, wakeups, threads)


def memory(pid: int) -> tuple[float, float]:
    """MiB of resident memory of process `pid`, now and at its peak. Raises `NotMeasuredError` as `usage` does."""
    try:
        fields = _fields(Path(f"/proc/{pid}/status"))
    except OSError as problem:
        raise NotMeasuredError(f"process {pid} cannot be measured: {problem.strerror}") from problem
    return int(fields["VmRSS"].split()[0]) / 1024.0, int(fields["VmHWM"].split()[0]) / 1024.0


def _times(folder: Path) -> tuple[float, float]:
    # The second field is the name in brackets, which may itself contain brackets and spaces.
    fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[_USER_TIME - _FIRST_FIELD]) / tick, int(fields[_SYSTEM_TIME - _FIRST_FIELD]) / tick


def _fields(file: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    return {key: value.strip() for key, _, value in pairs}
