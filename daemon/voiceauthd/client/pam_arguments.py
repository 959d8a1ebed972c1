"""What `voiceauth-pam` is asked: the arguments of its line in a PAM file, and what pam_exec.so says in the environment.

Nothing else of the environment is looked at.
"""

from __future__ import annotations

import pwd
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from voiceauthd.client.pam_services import GIVES_ROOT, NEVER, REMOTE
from voiceauthd.client.remote_session import ancestors, require_local
from voiceauthd.errors import DeniedError, UsageError
from voiceauthd.protocol.paths import SYSTEM_SOCKET

HELP = """\
usage: voiceauth-pam [--timeout S] [--socket PATH] [--daemon-user NAME]... [--policy NAME] [--allow-root]

Asks the daemon whether it is PAM_USER who speaks. For pam_exec.so, in a file of /etc/pam.d:

  auth sufficient pam_exec.so quiet stdout seteuid /path/to/voiceauth-pam

  --timeout S         seconds until the password is asked for, whatever happens: 1 to 60, default 6
  --socket PATH       the daemon's socket, default /run/voiceauthd/socket
  --daemon-user NAME  who may own the socket besides root, default voiceauthd; may be repeated
  --policy NAME       unlock (default) or auth: the false-accept rate to aim at
  --allow-root        also for root, and for services that make somebody root, such as sudo

Ends with 0 if the voice is recognised, and with 1 for everything else. See docs/login.md.
"""

SHORTEST, LONGEST = 1.0, 60.0
"""Seconds. Nobody is recognised in less; nobody waits for longer."""

DAEMON_USER = "voiceauthd"

POLICIES = ("unlock", "auth")
"""`monitor` is for labels, and lets one stranger in a hundred pass."""


ASKERS = 2
"""Processes above this one that may be who asks PAM: the shell of the executable is the first, who asks the second."""


class Options(NamedTuple):
    """The arguments. `daemon_users` is None if none was named: then it is `DAEMON_USER`, if there is such a user."""

    timeout: float = 6.0
    socket: str = SYSTEM_SOCKET
    daemon_users: tuple[str, ...] | None = None
    policy: str = "unlock"
    allow_root: bool = False


def read_options(arguments: Sequence[str]) -> Options:
    """Raises `UsageError` for what is not known or makes no sense. The last of several counts."""
    options = Options()
    left = list(arguments)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if name == "--allow-root" and not equals:
            options = options._replace(allow_root=True)
            continue
        if name not in ("--timeout", "--socket", "--daemon-user", "--policy"):
            raise UsageError(f"unknown argument {name[:40]!r}")
        if not equals:
            if not left:
                raise UsageError(f"{name} needs a value")
            value = left.pop(0)
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
            raise UsageError(f"--policy is one of {', '.join(POLICIES)}")
        return options._replace(policy=value)
    return options._replace(daemon_users=(*(options.daemon_users or ()), value))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST <= seconds <= LONGEST:
        raise UsageError(f"--timeout takes {SHORTEST:g} to {LONGEST:g} seconds")
    return seconds


def require_allowed(environment: Mapping[str, str], options: Options, *, proc: str = "/proc", run: str = "/run") -> str:
    """The user whom PAM asks for, if a voice may answer. Raises `DeniedError` with a reason that says why not.

    not_auth      PAM does not ask who somebody is, but something else
    no_user       nobody is named, or nobody who has an account
    no_service    PAM does not say for what
    never         the service is one that a voice never opens
    remote        who asks sits elsewhere
    root          it would make somebody root, and that was not allowed
    """
    user, service = environment.get("PAM_USER", ""), environment.get("PAM_SERVICE", "").lower()
    if environment.get("PAM_TYPE") != "auth":
        raise DeniedError("PAM_TYPE is not auth", "not_auth")
    if not user:
        raise DeniedError("PAM_USER is not set", "no_user")
    if not service:
        raise DeniedError("PAM_SERVICE is not set", "no_service")
    if service in NEVER:
        raise DeniedError("a voice never opens this service", "never")
    if service in REMOTE:
        raise DeniedError("the service is a remote one", "remote")
    # By the program, too: sudo can be told to go by another service's name.
    gives_root = service in GIVES_ROOT or any(name in GIVES_ROOT for name in islice(ancestors(proc), ASKERS))
    if (_is_root(user) is not False or gives_root) and not options.allow_root:
        raise DeniedError("this makes somebody root: --allow-root is not given", "root")
    if require_local(environment, proc, run) is not True:
        raise DeniedError("nothing says that this session is local", "remote")
    return user


def _is_root(user: str) -> bool:
    """Raises `DeniedError` for somebody without an account."""
    try:
        return pwd.getpwnam(user).pw_uid == 0
    except (KeyError, ValueError):
        raise DeniedError("PAM_USER has no account", "no_user") from None
