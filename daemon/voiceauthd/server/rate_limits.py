"""How many calls a user makes in a minute, held against the limits.

A minute is 60 slots of a second and the one that runs, so a limit holds for any 60 s, and a user costs about a
kilobyte whatever the limit. Belongs to the event loop's thread.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

from voiceauthd.config.schema import SocketConfig
from voiceauthd.errors import TooOftenError

LISTENING = frozenset({"Verify", "Identify", "Enroll", "Monitor"})
"""Methods that count as tries."""

SLOTS = 61

MOST_USERS = 1_024
"""Users who are counted apart. Beyond them all others share one count: a user with many ids (/etc/subuid) can neither
fill the memory nor have others' counts forgotten, and is refused sooner."""


class Minute:
    """The calls of the last minute."""

    __slots__ = ("_counts", "_now", "total")

    def __init__(self) -> None:
        self._counts = array("I", bytes(SLOTS * array("I").itemsize))
        self._now = 0
        self.total = 0

    def advance(self, second: int) -> None:
        """It is this second now. Forgets what is older than a minute."""
        for passed in range(self._now + 1, min(second, self._now + SLOTS) + 1):
            slot = passed % SLOTS
            self.total -= self._counts[slot]
            self._counts[slot] = 0
        self._now = max(self._now, second)

    def add(self) -> None:
        """One more."""
        self._counts[self._now % SLOTS] += 1
        self.total += 1

    def wait(self, limit: int) -> int:
        """Seconds, about, until there is room for one more."""
        left = self.total
        for ahead in range(1, SLOTS):
            left -= self._counts[(self._now + ahead) % SLOTS]
            if left < limit:
                return ahead
        return SLOTS


class User:
    """What one user did."""

    __slots__ = ("calls", "last", "tries")

    def __init__(self) -> None:
        self.calls = Minute()
        self.tries = Minute()
        self.last = 0


class Rates:
    """The calls of the last minute, by user."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds, from anywhere."""
        self._clock = clock
        self._users: dict[int, User] = {}
        self._others = User()
        self._tidied = 0

    def require(self, uid: int, method: str, config: SocketConfig) -> None:
        """Counts a call, whatever will come of it. Raises `TooOftenError` for one too many, which does not count."""
        second = int(self._clock())
        user = self._user(uid, second)
        user.last = second
        _take(user.calls, second, config.calls_per_minute, "calls")
        if method in LISTENING:
            _take(user.tries, second, config.tries_per_minute, "calls that listen")

    def _user(self, uid: int, second: int) -> User:
        user = self._users.get(uid)
        if user is not None:
            return user
        if len(self._users) >= MOST_USERS:
            self._tidy(second)
        if len(self._users) >= MOST_USERS:
            return self._others
        user = self._users[uid] = User()
        return user

    def _tidy(self, second: int) -> None:
        """Forgets who has not called for a minute. Once a second, so that a flood of users does not pay for it."""
        if second == self._tidied:
            return
        self._tidied = second
        self._users = {uid: user for uid, user in self._users.items() if second - user.last < SLOTS}


def _take(minute: Minute, second: int, limit: int, what: str) -> None:
    minute.advance(second)
    if minute.total >= limit:
        seconds = minute.wait(limit)
        raise TooOftenError(
            f"too many {what}: at most {limit} a minute; try again in {seconds} s", limit=limit, seconds=seconds
        )
    minute.add()
