"""One check of `voiceauth doctor`: what it looks at, and its result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from voiceauthd.config.schema import Config
from voiceauthd.errors import ExitCode

OK = "ok"
WARN = "warn"
FAIL = "fail"


class Check(NamedTuple):
    """The result of one check.

    id     stable, for programs
    state  ok, warn or fail
    fix    what to do, if anything
    code   doctor's exit code if this is the first failure
    """

    id: str
    state: str
    found: str
    fix: str = ""
    code: ExitCode = ExitCode.OK


class Machine(NamedTuple):
    """What the checks look at, and what the daemon said.

    config      the daemon's, if it shows it; the built-in one if the configuration is refused
    socket      where clients look for the daemon
    daemon_uid  the owner of the other end of the socket; None if no daemon answers
    status      the daemon's; None if it does not answer
    profiles    the daemon's list; None if it does not answer, or does not show it to this user
    problem     why the daemon does not answer
    runs_as     the user that the daemon runs as; None if it does not say. A socket that systemd made belongs to root
    whose       whose configuration that is, for a person
    """

    config: Config
    file: Path | None
    socket: str
    daemon_uid: int | None = None
    daemon_pid: int | None = None
    status: Mapping[str, Any] | None = None
    profiles: list[Mapping[str, Any]] | None = None
    problem: str = ""
    runs_as: int | None = None
    whose: str = ""

    @property
    def of_another_user(self) -> bool:
        """Whether a daemon answers that runs as another user than this one, and has a microphone of its own."""
        return self.runs_as is not None and self.runs_as != os.geteuid()


def failed(id: str, found: object, fix: str, code: ExitCode) -> Check:
    """Return a failed check, with only the first line of what was found."""
    return Check(id, FAIL, _first_line(found), fix, code)


def _first_line(text: object) -> str:
    lines = str(text).splitlines()
    return lines[0] if lines else "no details"
