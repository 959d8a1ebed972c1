"""The listening socket: created without disturbing another daemon, or taken over from a service manager."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from voiceauthd.errors import AlreadyRunningError, ConfigError

MAX_PATH = 107
"""Maximum bytes of a socket's path: sun_path of unix(7) has 108, the last of which is a NUL."""

BACKLOG = 128
"""Connections that may wait to be accepted; the kernel refuses more."""

_PROBE_TIMEOUT = 1.0
"""Seconds within which a connection to a running daemon succeeds; a full backlog also counts as running."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening AF_UNIX stream socket, and what must be cleaned up when it is closed.

    path      None for a socket that the service manager creates and removes
    identity  device and inode of the socket's file, so that another daemon's is not removed
    lock      descriptor of the locked file beside the socket
    """

    socket: socket.socket
    path: Path | None = None
    identity: tuple[int, int] | None = None
    lock: int | None = None

    def close(self) -> None:
        """Stop listening, and remove the socket's file if it is still the one created here."""
        if self.path is not None:
            try:
                if _identity(self.path) == self.identity:
                    self.path.unlink()
            except OSError:  # already gone, or not accessible: the next start replaces it
                pass
        self.socket.close()
        if self.lock is not None and self.path is not None:
            _unlock(self.path, self.lock)


def listen(path: str | os.PathLike[str], mode: int) -> Listener:
    """Create the socket at `path` with permission bits `mode`, and its folder if that is missing.

    A socket on which nobody answers is replaced. Raises `AlreadyRunningError` if another daemon answers or is starting,
    and `ConfigError` if the path is too long, not writable, or in use for something that is not a socket.
    """
    place = Path(path).absolute()
    if len(os.fsencode(place)) > MAX_PATH:
        raise ConfigError(
            f"the socket's path {place} has {len(os.fsencode(place))} bytes; the kernel allows {MAX_PATH}: "
            "choose a shorter `socket.path`"
        )
    try:
        _make_folders(place.parent, mode)
        lock = _lock(place)
    except OSError as problem:
        raise _refused(place, problem) from None
    try:
        _remove_stale(place)
        return _bind(place, mode, lock)
    except OSError as problem:
        _unlock(place, lock)
        raise _refused(place, problem) from None
    except BaseException:
        _unlock(place, lock)
        raise


def adopt(listening: socket.socket) -> Listener:
    """Take over a socket that a service manager opened and will remove. Raises `ConfigError`."""
    if (
        listening.family != socket.AF_UNIX
        or listening.type != socket.SOCK_STREAM
        or not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        raise ConfigError("the socket that was passed is not a listening AF_UNIX stream socket")
    listening.setblocking(False)
    return Listener(listening)


def _make_folders(folder: Path, mode: int) -> None:
    """Create missing folders. Others can enter them only if the daemon is root and the socket is open to others."""
    access = 0o755 if os.geteuid() == 0 and mode & 0o077 else 0o700
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        try:
            one.mkdir(access)
        except FileExistsError:
            continue
        one.chmod(access)  # independent of the umask


def _lock(place: Path) -> int:
    """Lock a file beside the socket, so that of two daemons that start at once only one continues.

    The holder of the lock removes the file, so a lock counts only if its file is still in place.
    """
    name = _lock_name(place)
    while True:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(descriptor)
            if _identity(name) == (found.st_dev, found.st_ino):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise AlreadyRunningError(
                f"another daemon holds {name}: stop it, or choose another `socket.path`"
            ) from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _unlock(place: Path, descriptor: int) -> None:
    try:
        _lock_name(place).unlink()
    except OSError:  # the folder is gone or no longer writable; closing the descriptor releases the lock
        pass
    os.close(descriptor)


def _lock_name(place: Path) -> Path:
    return place.with_name(f"{place.name}.lock")


def _remove_stale(place: Path) -> None:
    try:
        found = place.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{place} exists and is not a socket: move it away, or choose another `socket.path`")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT)
        try:
            probe.connect(os.fspath(place))
        except ConnectionRefusedError:
            place.unlink()
        except FileNotFoundError:
            pass
        except OSError as problem:
            # A full backlog, no permission, or another kind of socket: somebody may be using it.
            raise AlreadyRunningError(f"{place} is in use ({problem.strerror or problem})") from None
        else:
            raise AlreadyRunningError(f"a daemon already answers on {place}: stop it, or choose another `socket.path`")


def _bind(place: Path, mode: int, lock: int) -> Listener:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(os.fspath(place))
        identity = _identity(place)
        # The mode is set before listen(); until then the kernel refuses all connections.
        place.chmod(mode)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return Listener(listening, place, identity, lock)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _refused(place: Path, problem: OSError) -> ConfigError:
    reason = os.strerror(problem.errno) if problem.errno else str(problem)
    denied = problem.errno == errno.EACCES
    hint = "run as another user or choose another `socket.path`" if denied else "check its folder"
    return ConfigError(f"cannot listen on {place}: {reason}; {hint}")
