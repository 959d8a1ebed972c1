"""How long an enrolment may take: the time that was asked for, and more while speech that can be used still comes."""

from __future__ import annotations

EXTENSION = 20.0
"""Seconds that are left, at least, after a take was accepted: enough to read two more sentences."""

MAX_EXTENSION = 3.0
"""The longest that an enrolment takes because of that, as a multiple of the time that was asked for."""

UTTERANCE_GRACE = 10.0
"""Seconds for which an utterance that is running when the time is up may go on."""


class EnrolmentTime:
    """The deadline of one enrolment. Times are in seconds, on any one clock."""

    def __init__(self, seconds: float, now: float) -> None:
        """seconds: the time that was asked for, from `now` on."""
        self._latest = now + MAX_EXTENSION * seconds
        self.deadline = now + seconds

    def accepted(self, now: float) -> None:
        """A take was accepted: leave at least `EXTENSION` for the next one."""
        self.deadline = max(self.deadline, min(now + EXTENSION, self._latest))

    def worked(self, seconds: float) -> None:
        """The daemon itself needed `seconds`, which must not be missing for the recordings that follow."""
        self.deadline = max(self.deadline, min(self.deadline + seconds, self._latest))

    def remaining(self, now: float) -> float:
        """Return the seconds that are left; 0 when the time is up."""
        return max(0.0, self.deadline - now)

    def is_over(self, now: float, *, speaking: bool) -> bool:
        """Return whether the enrolment must end: the time is up, and nobody is in the middle of an utterance."""
        return not now < self.deadline + (UTTERANCE_GRACE if speaking else 0.0)
