"""`voiceauth-pam`: whether it is PAM_USER who speaks, for pam_exec.so.

The executable of that name (scripts/voiceauth-pam) runs this module, and ends with 0 when it ends with `ACCEPTED`. It
does so for one thing: an acceptance by the daemon, of this user and of this request, that has not expired and was not
used. All else, foreseen or not, ends with another number, and PAM goes on to the password.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import syslog
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from voiceauthd import __version__
from voiceauthd.client import Client, pam_messages
from voiceauthd.client.pam_arguments import DAEMON_USER, HELP, Options, read_options, require_allowed
from voiceauthd.client.socket_owner import user_ids
from voiceauthd.client.verify_result import Verified
from voiceauthd.errors import DeniedError, UsageError, VoiceauthError

ACCEPTED = 42
"""Ends so for an acceptance only. Not 0, which a module that is empty or cut off ends with; not 1 or 2, the
interpreter's for exceptions and usage; not 126 or more, a shell's for what cannot be run and for signals."""

REFUSED = 43
"""Ends so for all else that it knows of. Any other number is a failure, and the executable tells the log of it."""

_LAST_MOMENT = 0.1
"""Seconds before the timer kills this process in which it can still end in good order."""

_DECIDING = 1.0
"""Seconds kept for opening the microphone, comparing the last window and writing the audit log, at most a quarter of
all: the daemon decides, and counts a failure, while this process still listens."""

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2

_ALARMING = ("impostor", "usage", "internal", "malformed_message", "call_failed")
"""Reasons that an administrator should look into."""

_SHOWN = 64
"""Characters of a name in the log."""


def script() -> NoReturn:
    """Ends the process at once: nothing that runs at an interpreter's end can change the number."""
    code = REFUSED
    try:
        code = main(sys.argv[1:], os.environ)
    except Exception as defect:
        _log(syslog.LOG_ERR, os.environ, f"not accepted: {defect!r}")
        raise
    finally:
        os._exit(ACCEPTED if code == ACCEPTED else REFUSED)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """`ACCEPTED` or `REFUSED`. Ends, or is ended by a signal, --timeout seconds after the process was started."""
    began = _began()
    if "--help" in arguments or "--version" in arguments:
        _say(HELP.rstrip() if "--help" in arguments else f"voiceauth-pam {__version__}")
        return REFUSED
    try:
        options = read_options(arguments)
    except UsageError as problem:
        _log(syslog.LOG_ERR, environment, f"not asked: {problem}")
        os.write(_STANDARD_ERROR, f"voiceauth-pam: {problem}\n".encode())
        return REFUSED
    try:
        _set_timer(began + options.timeout)
        _need_outputs()
        asking = Asking(options, began + options.timeout - _LAST_MOMENT)
        return ACCEPTED if asking.ask(environment) is True else REFUSED
    except VoiceauthError as problem:
        priority = syslog.LOG_ERR if problem.reason in _ALARMING else syslog.LOG_INFO
        _log(priority, environment, f"not accepted: {problem.reason}: {problem}")
    return REFUSED


class Asking:
    """One verification, told to the person as it goes. `deadline` is on `time.monotonic()`'s clock."""

    def __init__(self, options: Options, deadline: float) -> None:
        self._options = options
        self._deadline = deadline
        self._said: list[str] = []

    def ask(self, environment: Mapping[str, str], *, proc: str = "/proc", run: str = "/run") -> bool:
        """True if PAM_USER was accepted, once. Raises what stands in the way as a `VoiceauthError`, or as an `OSError`
        where nobody can be told. `proc` and `run` as for `require_local`.
        """
        user = require_allowed(environment, self._options, proc=proc, run=run)
        if user != environment["PAM_USER"]:
            raise DeniedError("nobody to ask for", "no_user")
        try:
            verified = self._verify(user)
        except VoiceauthError as problem:
            words = pam_messages.not_recognised(problem.reason) if self._said else pam_messages.unavailable(problem)
            if words is not None:
                _say(words)
            raise
        _say(pam_messages.RECOGNISED if verified.accepted else pam_messages.not_recognised(verified.reason))
        _log(syslog.LOG_INFO, environment, f"{'accepted' if verified.accepted else 'not accepted'}: {verified.reason}")
        return time.monotonic() < self._deadline and verified.redeem()

    def _verify(self, user: str) -> Verified:
        owners = frozenset(_owners(self._options))
        left = self._deadline - time.monotonic()
        deciding = min(_DECIDING, self._options.timeout / 4)
        if not left > deciding:
            raise VoiceauthError("no time is left", "timeout")
        with Client(self._options.socket, timeout=deciding, owners=owners) as client:
            return client.verify(
                user, timeout=round(left - deciding, 3), policy=self._options.policy, on_progress=self._tell
            )

    def _tell(self, reply: Mapping[str, Any]) -> None:
        state = reply.get("state")
        words = (
            {"listening": pam_messages.SPEAK, "speech": pam_messages.HEARD}.get(state)
            if isinstance(state, str)
            else None
        )
        if words is not None and words not in self._said:
            self._said.append(words)
            _say(words)


def _owners(options: Options) -> frozenset[int]:
    """The uids that the socket may belong to, besides root's. Raises `UsageError` for a named user without account."""
    if options.daemon_users is not None:
        return user_ids(options.daemon_users)
    try:
        return user_ids([DAEMON_USER])
    except UsageError:
        return frozenset()


def _began() -> float:
    """When this process was started, on `time.monotonic()`'s clock: the interpreter's start counts, too."""
    now = time.monotonic()
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])  # field 22, starttime: proc(5)
        since = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return now
    return now - max(since, 0.0)


def _set_timer(deadline: float) -> None:
    """Has the kernel kill this process at the deadline, whatever it is caught in and whatever became of SIGALRM."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    left = deadline - time.monotonic()
    if not left > 0:
        raise VoiceauthError("no time is left", "timeout")
    signal.setitimer(signal.ITIMER_REAL, left)


def _need_outputs() -> None:
    """Sees to it that no socket gets the number of an output. Raises `OSError` without a standard output."""
    for descriptor in (0, _STANDARD_OUTPUT, _STANDARD_ERROR):
        try:
            os.fstat(descriptor)
        except OSError:
            if descriptor == _STANDARD_OUTPUT:
                raise
            os.open(os.devnull, os.O_RDWR)


def _say(words: str) -> None:
    """One line to the person, at once. A conversation that takes nothing is not waited for.

    Raises `OSError` where nobody is there to be told: then nobody is there to be let in.
    """
    waiting = select.poll()
    waiting.register(_STANDARD_OUTPUT, select.POLLOUT)
    if waiting.poll(0):
        os.write(_STANDARD_OUTPUT, f"{words}\n".encode())


def _log(priority: int, environment: Mapping[str, str], words: str) -> None:
    """One line in the system's log."""
    user, service = (ascii(environment.get(name, ""))[:_SHOWN] for name in ("PAM_USER", "PAM_SERVICE"))
    syslog.openlog("voiceauth-pam", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(priority, f"{user} for {service}: {words}")


if __name__ == "__main__":
    script()
