"""Limits on the number of calls that a user makes per minute.

A minute is counted in 60 slots of one second plus the current one, so a limit holds for any 60 s, and a user costs
about a kilobyte whatever the limit. For use in the event loop's thread only.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

from voiceauthd.config.schema import SocketConfig
from voiceauthd.errors import TooOftenError

LISTENING_METHODS = frozenset({"Verify", "Identify", "Enroll", "Monitor"})
"""Methods that listen to the microphone; they also count as tries."""

SLOTS = 61
"""One-second slots per user: 60 complete ones and the current one."""

MAX_USERS = 1_024
"""Users with a count of their own; all others share one. A user with many ids (/etc/subuid) can neither fill the memory
nor make the daemon forget other users' counts, and is refused sooner."""


class SlidingMinute:
    """The number of calls in the last minute."""

    __slots__ = ("_counts", "_now", "total")

    def __init__(self) -> None:
        self._counts = array("I", bytes(SLOTS * array("I").itemsize))
        self._now = 0
        self.total = 0

    def advance(self, second: int) -> None:
        """Set the current second, and forget calls older than a minute."""
        for elapsed in range(self._now + 1, min(second, self._now + SLOTS) + 1):
            slot = elapsed % SLOTS
            self.total -= self._counts[slot]
            self._counts[slot] = 0
        self._now = max(self._now, second)

    def add(self) -> None:
        """Count one call."""
        self._counts[self._now % SLOTS] += 1
        self.total += 1

    def seconds_until_allowed(self, limit: int) -> int:
        """Return about how many seconds it takes until another call is within the limit."""
        remaining = self.total
        for ahead in range(1, SLOTS):
            remaining -= self._counts[(self._now + ahead) % SLOTS]
            if remaining < limit:
                return ahead
        return SLOTS


class UserCalls:
    """The recent calls of one user."""

    __slots__ = ("calls", "last", "recordings", "tries")

    def __init__(self) -> None:
        self.calls = SlidingMinute()
        self.tries = SlidingMinute()
        self.recordings = SlidingMinute()
        self.last = 0


class RateLimits:
    """Counts the calls of the last minute by user, and refuses those over the limits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds from any origin."""
        self._clock = clock
        self._users: dict[int, UserCalls] = {}
        self._others = UserCalls()
        self._last_cleanup = 0

    def require(self, uid: int, method: str, config: SocketConfig) -> None:
        """Count a call, whatever its result. Raises `TooOftenError` for a call over the limit, which does not count."""
        user, second = self._now(uid)
        _count(user.calls, second, config.calls_per_minute, "calls")
        if method in LISTENING_METHODS:
            _count(user.tries, second, config.tries_per_minute, "calls that listen")

    def require_recording(self, uid: int, config: SocketConfig) -> None:
        """Count a decision on a recording; root is not exempt. Raises `TooOftenError` as `require` does."""
        user, second = self._now(uid)
        _count(user.recordings, second, config.recordings_per_minute, "recordings")

    def _now(self, uid: int) -> tuple[UserCalls, int]:
        second = int(self._clock())
        user = self._user(uid, second)
        user.last = second
        return user, second

    def _user(self, uid: int, second: int) -> UserCalls:
        user = self._users.get(uid)
        if user is not None:
            return user
        if len(self._users) >= MAX_USERS:
            self._forget_idle_users(second)
        if len(self._users) >= MAX_USERS:
            return self._others
        user = self._users[uid] = UserCalls()
        return user

    def _forget_idle_users(self, second: int) -> None:
        """Forget users without a call in the last minute; at most once a second, to stay cheap in a flood of users."""
        if second == self._last_cleanup:
            return
        self._last_cleanup = second
        self._users = {uid: user for uid, user in self._users.items() if second - user.last < SLOTS}


def _count(minute: SlidingMinute, second: int, limit: int, what: str) -> None:
    minute.advance(second)
    if minute.total >= limit:
        seconds = minute.seconds_until_allowed(limit)
        raise TooOftenError(
            f"too many {what}: at most {limit} per minute; try again in {seconds} s", limit=limit, seconds=seconds
        )
    minute.add()
