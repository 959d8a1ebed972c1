"""Clocks that are set by hand, and failures, for the tests of the lockout."""

from __future__ import annotations

import dataclasses

from voiceauthd.config.schema import LockoutConfig

CONFIG = LockoutConfig(failures=5, within=60.0, lasts=300.0)


@dataclasses.dataclass
class Hands:
    """Clocks that are set by hand."""

    boot: str = "one"
    up: float = 1_000.0
    day: float = 1_790_000_000.0

    def uptime(self) -> float:
        return self.up

    def wall(self) -> float:
        return self.day

    def passes(self, seconds: float) -> None:
        self.up += seconds
        self.day += seconds

    def reboots(self, after: float) -> None:
        """The machine was off for so long, by its wall clock."""
        self.boot += "'"
        self.up = 7.0
        self.day += after


def fail(lockout, times=1, name="anna", reason="no_match", **others):
    for _ in range(times):
        lockout.judged(name, reason, accepted=False, **others)
