"""The input of `voiceauth-pam`: the arguments of its line in a PAM file, and the variables set by pam_exec.so.

No other environment variables are read.
"""

from __future__ import annotations

import pwd
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from voiceauthd.client.pam_services import EXCLUDED_SERVICES, REMOTE_SERVICES, ROOT_SERVICES
from voiceauthd.client.remote_session import ancestors, require_local
from voiceauthd.errors import DeniedError, UsageError
from voiceauthd.protocol.paths import SYSTEM_SOCKET

HELP = """\
usage: voiceauth-pam [--timeout S] [--socket PATH] [--daemon-user NAME]... [--policy NAME] [--allow-root]

Asks the daemon whether PAM_USER is speaking. For use by pam_exec.so, in a file in /etc/pam.d:

  auth sufficient pam_exec.so quiet stdout seteuid /path/to/voiceauth-pam

  --timeout S         seconds after which the password is asked for in any case: 1 to 60, default 6
  --socket PATH       the daemon's socket, default /run/voiceauthd/socket
  --daemon-user NAME  a user who may own the socket besides root, default voiceauthd; may be repeated
  --policy NAME       unlock (default) or auth: the false-accept rate to aim at
  --allow-root        also accept root, and services that grant root, such as sudo

Exits with 0 if the voice is recognised, and with 1 otherwise. See docs/login.md.
"""

MIN_TIMEOUT, MAX_TIMEOUT = 1.0, 60.0
"""Seconds. A shorter time is not enough to recognise anybody; a longer one is too long to wait."""

DAEMON_USER = "voiceauthd"

POLICIES = ("unlock", "auth")
"""The policies that a login may use. `monitor` is for labels only: it accepts one stranger in a hundred."""

MAX_CALLER_PROCESSES = 2
"""How many parent processes may be the program that calls PAM: the first is the helper's shell, the second that
program."""


class Options(NamedTuple):
    """The arguments. `daemon_users` is None if none was named; then `DAEMON_USER` is used, if that user exists."""

    timeout: float = 6.0
    socket: str = SYSTEM_SOCKET
    daemon_users: tuple[str, ...] | None = None
    policy: str = "unlock"
    allow_root: bool = False


def read_options(arguments: Sequence[str]) -> Options:
    """Parse the arguments. The last of a repeated option counts. Raises `UsageError` if one is unknown or invalid."""
    options = Options()
    remaining = list(arguments)
    while remaining:
        name, equals, value = remaining.pop(0).partition("=")
        if name == "--allow-root" and not equals:
            options = options._replace(allow_root=True)
            continue
        if name not in ("--timeout", "--socket", "--daemon-user", "--policy"):
            raise UsageError(f"unknown argument {name[:40]!r}")
        if not equals:
            if not remaining:
                raise UsageError(f"{name} needs a value")
            value = remaining.pop(0)
        options = _with(options, name, value)
    return options


def _with(options: Options, name: str, value: str) -> Options:
    if name == "--timeout":
        return options._replace(timeout=_seconds(value))
    if name == "--socket":
        if not value.startswith("/"):
            raise UsageError("--socket needs an absolute path")
        return options._replace(socket=value)
    if name == "--policy":
        if value not in POLICIES:
            raise UsageError(f"--policy must be one of {', '.join(POLICIES)}")
        return options._replace(policy=value)
    return options._replace(daemon_users=(*(options.daemon_users or ()), value))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not MIN_TIMEOUT <= seconds <= MAX_TIMEOUT:
        raise UsageError(f"--timeout must be {MIN_TIMEOUT:g} to {MAX_TIMEOUT:g} seconds")
    return seconds


def require_allowed(environment: Mapping[str, str], options: Options, *, proc: str = "/proc", run: str = "/run") -> str:
    """Return the user to verify, if a voice may authenticate this request. Raises `DeniedError` otherwise.

    The error's reason:

    not_auth      the request is not for authentication
    no_user       no user is named, or the user has no account
    no_service    no service is named
    never         a voice never authenticates for this service
    remote        the user is not at this machine
    root          the request grants root, and --allow-root was not given
    """
    user, service = environment.get("PAM_USER", ""), environment.get("PAM_SERVICE", "").lower()
    if environment.get("PAM_TYPE") != "auth":
        raise DeniedError("PAM_TYPE is not auth", "not_auth")
    if not user:
        raise DeniedError("PAM_USER is not set", "no_user")
    if not service:
        raise DeniedError("PAM_SERVICE is not set", "no_service")
    if service in EXCLUDED_SERVICES:
        raise DeniedError("a voice never authenticates for this service", "never")
    if service in REMOTE_SERVICES:
        raise DeniedError("the service is for remote users", "remote")
    # Check the calling program, too: sudo can be configured to use another service name.
    gives_root = service in ROOT_SERVICES or any(
        name in ROOT_SERVICES for name in islice(ancestors(proc), MAX_CALLER_PROCESSES)
    )
    if (_is_root(user) is not False or gives_root) and not options.allow_root:
        raise DeniedError("this would grant root, and --allow-root was not given", "root")
    if require_local(environment, proc, run) is not True:
        raise DeniedError("this session is not known to be local", "remote")
    return user


def _is_root(user: str) -> bool:
    """Whether the user is root. Raises `DeniedError` for a user without an account."""
    try:
        return pwd.getpwnam(user).pw_uid == 0
    except (KeyError, ValueError):
        raise DeniedError("PAM_USER has no account", "no_user") from None
