"""A clock that is set by hand, and failed verifications, for the tests of the lockout."""

from __future__ import annotations

import dataclasses

from voiceauthd.config.schema import LockoutConfig

CONFIG = LockoutConfig(failures=5, within=60.0, lasts=300.0)


@dataclasses.dataclass
class ManualClock:
    """Replaces `lockout_file.Clock`."""

    boot: str = "one"
    uptime_now: float = 1_000.0
    wall_now: float = 1_790_000_000.0

    def uptime(self) -> float:
        return self.uptime_now

    def wall(self) -> float:
        return self.wall_now

    def advance(self, seconds: float) -> None:
        self.uptime_now += seconds
        self.wall_now += seconds

    def reboot(self, after: float) -> None:
        """Reboot the machine. `after`: seconds that it was off, by its wall clock."""
        self.boot += "'"
        self.uptime_now = 7.0
        self.wall_now += after


def fail(lockout, times=1, name="anna", reason="no_match", **parameters):
    for _ in range(times):
        lockout.record_decision(name, reason, accepted=False, **parameters)
