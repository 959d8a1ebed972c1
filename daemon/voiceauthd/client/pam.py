"""`voiceauth-pam`, run by pam_exec.so: ask the daemon whether PAM_USER is speaking.

The executable of that name (scripts/voiceauth-pam) runs this module and exits with 0 if this exits with `ACCEPTED`.
That happens in one case only: the daemon has accepted this user in answer to this request, and the result has neither
expired nor been used. Everything else, foreseen or not, exits with another code, and PAM goes on to the password.
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
from voiceauthd.client.verify_result import VerifyResult
from voiceauthd.errors import DeniedError, UsageError, VoiceauthError

ACCEPTED = 42
"""Exit code for an acceptance only. Not 0, which an empty or truncated module exits with; not 1 or 2, which the
interpreter uses for exceptions and usage errors; not 126 or more, which a shell uses for commands that cannot run and
for signals."""

REFUSED = 43
"""Exit code for every other expected end. Any other code is a failure, which the executable logs."""

_EXIT_MARGIN = 0.1
"""Seconds before the timer kills this process that are kept for a regular exit."""

_DECISION_TIME = 1.0
"""Seconds kept for opening the microphone, comparing the last window and writing the audit log; at most a quarter of
the timeout. The daemon then decides, and counts a failure, while this process is still waiting."""

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2

_ERROR_REASONS = ("impostor", "usage", "internal", "malformed_message", "call_failed")
"""Reasons that are logged as errors, for an administrator to look into."""

_MAX_LOGGED_NAME = 64
"""Maximum characters of a name in the log."""


def script() -> NoReturn:
    """Run `main` and end the process at once, so that nothing that runs at interpreter exit can change the code."""
    code = REFUSED
    try:
        code = main(sys.argv[1:], os.environ)
    except Exception as defect:
        _log(syslog.LOG_ERR, os.environ, f"not accepted: {defect!r}")
        raise
    finally:
        os._exit(ACCEPTED if code == ACCEPTED else REFUSED)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Return `ACCEPTED` or `REFUSED`. Ends, or is killed by a signal, --timeout seconds after the process started."""
    started = _start_time()
    if "--help" in arguments or "--version" in arguments:
        _show(HELP.rstrip() if "--help" in arguments else f"voiceauth-pam {__version__}")
        return REFUSED
    try:
        options = read_options(arguments)
    except UsageError as problem:
        _log(syslog.LOG_ERR, environment, f"not asked: {problem}")
        os.write(_STANDARD_ERROR, f"voiceauth-pam: {problem}\n".encode())
        return REFUSED
    try:
        _set_timer(started + options.timeout)
        _ensure_standard_streams()
        verification = Verification(options, started + options.timeout - _EXIT_MARGIN)
        return ACCEPTED if verification.run(environment) is True else REFUSED
    except VoiceauthError as problem:
        priority = syslog.LOG_ERR if problem.reason in _ERROR_REASONS else syslog.LOG_INFO
        _log(priority, environment, f"not accepted: {problem.reason}: {problem}")
    return REFUSED


class Verification:
    """One verification, with messages to the person. `deadline` is on the clock of `time.monotonic()`."""

    def __init__(self, options: Options, deadline: float) -> None:
        self._options = options
        self._deadline = deadline
        self._shown: list[str] = []

    def run(self, environment: Mapping[str, str], *, proc: str = "/proc", run: str = "/run") -> bool:
        """Return True if PAM_USER was accepted, once. Raises a `VoiceauthError` if the daemon cannot be asked or does
        not decide, and an `OSError` if no message can be shown. `proc` and `run` as for `require_local`.
        """
        user = require_allowed(environment, self._options, proc=proc, run=run)
        if user != environment["PAM_USER"]:
            raise DeniedError("no user to verify", "no_user")
        try:
            result = self._verify(user)
        except VoiceauthError as problem:
            message = pam_messages.not_recognised(problem.reason) if self._shown else pam_messages.unavailable(problem)
            if message is not None:
                _show(message)
            raise
        _show(pam_messages.RECOGNISED if result.accepted else pam_messages.not_recognised(result.reason))
        _log(syslog.LOG_INFO, environment, f"{'accepted' if result.accepted else 'not accepted'}: {result.reason}")
        return time.monotonic() < self._deadline and result.redeem()

    def _verify(self, user: str) -> VerifyResult:
        owners = frozenset(_owners(self._options))
        remaining = self._deadline - time.monotonic()
        reserved = min(_DECISION_TIME, self._options.timeout / 4)
        if not remaining > reserved:
            raise VoiceauthError("no time is left", "timeout")
        with Client(self._options.socket, timeout=reserved, owners=owners) as client:
            return client.verify(
                user,
                timeout=round(remaining - reserved, 3),
                policy=self._options.policy,
                on_progress=self._show_progress,
            )

    def _show_progress(self, reply: Mapping[str, Any]) -> None:
        state = reply.get("state")
        message = (
            {"listening": pam_messages.SPEAK, "speech": pam_messages.HEARD}.get(state)
            if isinstance(state, str)
            else None
        )
        if message is not None and message not in self._shown:
            self._shown.append(message)
            _show(message)


def _owners(options: Options) -> frozenset[int]:
    """Return the uids that may own the socket besides root. Raises `UsageError` for a named user without an account."""
    if options.daemon_users is not None:
        return user_ids(options.daemon_users)
    try:
        return user_ids([DAEMON_USER])
    except UsageError:
        return frozenset()


def _start_time() -> float:
    """Return when this process started, on the clock of `time.monotonic()`. The interpreter's own start is included."""
    now = time.monotonic()
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])  # field 22, starttime: proc(5)
        since = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return now
    return now - max(since, 0.0)


def _set_timer(deadline: float) -> None:
    """Make the kernel kill this process at the deadline, whatever it does, even if SIGALRM was ignored or blocked."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    remaining = deadline - time.monotonic()
    if not remaining > 0:
        raise VoiceauthError("no time is left", "timeout")
    signal.setitimer(signal.ITIMER_REAL, remaining)


def _ensure_standard_streams() -> None:
    """Open missing standard streams on /dev/null, so that no socket gets the descriptor of one. Raises `OSError` if
    standard output is missing."""
    for descriptor in (0, _STANDARD_OUTPUT, _STANDARD_ERROR):
        try:
            os.fstat(descriptor)
        except OSError:
            if descriptor == _STANDARD_OUTPUT:
                raise
            os.open(os.devnull, os.O_RDWR)


def _show(message: str) -> None:
    """Show one line to the person, at once, without waiting for a PAM conversation that does not read.

    Raises `OSError` if nobody can receive it: then there is nobody to let in, either.
    """
    poll = select.poll()
    poll.register(_STANDARD_OUTPUT, select.POLLOUT)
    if poll.poll(0):
        os.write(_STANDARD_OUTPUT, f"{message}\n".encode())


def _log(priority: int, environment: Mapping[str, str], text: str) -> None:
    """Write one line to the system log."""
    user, service = (ascii(environment.get(name, ""))[:_MAX_LOGGED_NAME] for name in ("PAM_USER", "PAM_SERVICE"))
    syslog.openlog("voiceauth-pam", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(priority, f"{user} for {service}: {text}")


if __name__ == "__main__":
    script()
