"""The listening socket: made with care for what is there already, or taken over from a service manager."""

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
"""Bytes of a socket's path: sun_path of unix(7) has 108, and the last is a NUL."""

BACKLOG = 128
"""Connections that wait to be accepted; the kernel refuses more."""

_PROBE_TIMEOUT = 1.0
"""Seconds within which a living daemon's kernel takes a connection; a full backlog counts as living too."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening AF_UNIX stream socket, and what must be tidied up when it is closed.

    path      None for a socket that somebody else made and removes
    identity  device and inode of the socket's file, to remove no other daemon's
    lock      descriptor of the locked file beside the socket
    """

    socket: socket.socket
    path: Path | None = None
    identity: tuple[int, int] | None = None
    lock: int | None = None

    def close(self) -> None:
        """Stops listening, and removes the socket's file if it is still the one that was made here."""
        if self.path is not None:
            try:
                if _identity(self.path) == self.identity:
                    self.path.unlink()
            except OSError:  # gone already, or out of reach: the next start replaces it
                pass
        self.socket.close()
        if self.lock is not None and self.path is not None:
            _unlock(self.path, self.lock)


def listen(path: str | os.PathLike[str], mode: int) -> Listener:
    """Makes the socket at `path` with permission bits `mode`, and its folder where that is missing.

    A socket nobody answers on is replaced. Raises `AlreadyRunningError` if somebody does answer or is just starting,
    and `ConfigError` for a path that is too long, not to be written, or in use for something that is no socket.
    """
    place = Path(path).absolute()
    if len(os.fsencode(place)) > MAX_PATH:
        raise ConfigError(
            f"the socket's path {place} has {len(os.fsencode(place))} bytes; the kernel allows {MAX_PATH}: "
            "choose a shorter `socket.path`"
        )
    try:
        _make_folder(place.parent, mode)
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
    """Takes over a socket that a service manager opened. Its file is not ours to remove. Raises `ConfigError`."""
    if (
        listening.family != socket.AF_UNIX
        or listening.type != socket.SOCK_STREAM
        or not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        raise ConfigError("the socket that was passed is not a listening AF_UNIX stream socket")
    listening.setblocking(False)
    return Listener(listening)


def _make_folder(folder: Path, mode: int) -> None:
    """Missing folders, each as open as the socket is meant to be: others get in only to root's, never to a user's."""
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
        one.chmod(access)  # whatever the umask is


def _lock(place: Path) -> int:
    """A locked file beside the socket: of two daemons that start at once, one goes on.

    The file is removed by whoever holds the lock, so a lock counts only if its file is still in place.
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
    except OSError:  # a folder that is gone, or may no longer be written: the lock ends with the descriptor
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
        raise ConfigError(f"{place} is there and is no socket: move it away, or choose another `socket.path`")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT)
        try:
            probe.connect(os.fspath(place))
        except ConnectionRefusedError:
            place.unlink()
        except FileNotFoundError:
            pass
        except OSError as problem:
            # Not proof that nobody is there: a full backlog, no permission, another kind of socket.
            raise AlreadyRunningError(f"{place} is in use ({problem.strerror or problem})") from None
        else:
            raise AlreadyRunningError(f"a daemon already answers on {place}: stop it, or choose another `socket.path`")


def _bind(place: Path, mode: int, lock: int) -> Listener:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(os.fspath(place))
        identity = _identity(place)
        # The mode is right before the first connection can be made: until listen() the kernel refuses them all.
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
    hint = "run as another user or choose another `socket.path`" if problem.errno == errno.EACCES else "see its folder"
    return ConfigError(f"cannot listen on {place}: {reason}; {hint}")
