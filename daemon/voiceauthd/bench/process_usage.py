"""What the kernel knows of a process: its time on a processor, its threads, its memory. From proc(5)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.bench.report import NotMeasuredError

_FIRST = 3
"""Number of the first field of /proc/PID/stat behind the name, as proc(5) counts."""

_UTIME, _STIME = 14, 15
"""Numbers of the fields for user and system time, in ticks."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used since it began, or between two looks.

    at       seconds on `time.monotonic()`'s clock, or seconds between
    user     seconds on a processor in its own code, and `system` in the kernel's
    wakeups  times that any of its threads slept and was woken
    threads  seconds on a processor of each thread that still lives, by number
    """

    at: float
    user: float
    system: float
    wakeups: int
    threads: dict[int, float]

    def since(self, before: Usage) -> Usage:
        """The difference. Threads that were not there before count from nothing."""
        return Usage(
            self.at - before.at,
            self.user - before.user,
            self.system - before.system,
            self.wakeups - before.wakeups,
            {thread: used - before.threads.get(thread, 0.0) for thread, used in self.threads.items()},
        )

    @property
    def cpu(self) -> float:
        """Seconds on a processor."""
        return self.user + self.system

    @property
    def share(self) -> float:
        """Percent of one core, of a difference."""
        return 100.0 * self.cpu / self.at

    def busiest(self, most: int = 3) -> str:
        """The threads that worked most in a difference, percent of a core each."""
        shares = sorted((100.0 * used / self.at for used in self.threads.values()), reverse=True)
        return ", ".join(f"{share:.2f}" for share in shares[:most])


def usage(pid: int) -> Usage:
    """What process `pid` has used so far. Raises `NotMeasuredError` without a /proc, or without the process."""
    folder = Path(f"/proc/{pid}")
    try:
        now = time.monotonic()
        user, system = _times(folder)
        tasks = list((folder / "task").iterdir())
    except OSError as problem:
        raise NotMeasuredError(f"process {pid} cannot be looked at: {problem.strerror}") from problem
    threads: dict[int, float] = {}
    wakeups = 0
    for task in tasks:
        try:
            wakeups += int(_fields(task / "status")["voluntary_ctxt_switches"])
            threads[int(task.name)] = sum(_times(task))
        except OSError:  # a thread that has ended meanwhile
            continue
    return Usage(now, user, system, wakeups, threads)


def memory(pid: int) -> tuple[float, float]:
    """MiB of process `pid` in memory now, and at the most. Raises `NotMeasuredError` as `usage` does."""
    try:
        fields = _fields(Path(f"/proc/{pid}/status"))
    except OSError as problem:
        raise NotMeasuredError(f"process {pid} cannot be looked at: {problem.strerror}") from problem
    return int(fields["VmRSS"].split()[0]) / 1024.0, int(fields["VmHWM"].split()[0]) / 1024.0


def _times(folder: Path) -> tuple[float, float]:
    # The second field is the name in brackets, which may hold anything; what follows the last bracket is plain.
    fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[_UTIME - _FIRST]) / tick, int(fields[_STIME - _FIRST]) / tick


def _fields(file: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    return {key: value.strip() for key, _, value in pairs}
