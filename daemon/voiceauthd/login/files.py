"""Files of /etc/pam.d on disk: read with suspicion, replaced in one step, and kept as they were somewhere else.

PAM takes every file in its folder for a service, so nothing is left there but what belongs there: the files of before
go into a folder of their own.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from voiceauthd.errors import BusyError, DeniedError, StorageError, UsageError

PAM_FOLDER = Path("/etc/pam.d")
VENDOR_FOLDERS = (Path("/usr/lib/pam.d"), Path("/usr/etc/pam.d"))
"""Where PAM looks for what is not in /etc/pam.d, on systems whose packages leave /etc alone."""

BACKUPS = Path("/var/backups/voiceauthd/pam.d")

MAX_SIZE = 64 * 1024
"""Bytes of a file. The largest that systems come with have about 5,000."""

LOCK_TIMEOUT = 10.0
"""Seconds that another `voiceauth pam` may take."""

ROOT = 0
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Held(NamedTuple):
    """A file as it was read. `attributes`: the extended ones, such as SELinux's label."""

    data: bytes
    mode: int
    owner: int
    group: int
    attributes: dict[str, bytes]


class PamFolder:
    """The folder of PAM's services, root's and nobody else's. A context: it is open as long as it is used.

    Raises `UsageError` if there is no such folder, `StorageError` if others may write to it.
    """

    def __init__(self, path: Path = PAM_FOLDER) -> None:
        self.path = path
        try:
            self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            raise UsageError(f"{path} is no folder of PAM's: {problem.strerror}", "no_pam") from problem
        status = os.fstat(self._folder)
        if status.st_uid != ROOT or status.st_mode & _OTHERS_WRITE:
            os.close(self._folder)
            raise StorageError(f"{path} is not root's alone to write: it is not trusted", "unsafe_permissions")

    def __enter__(self) -> PamFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Nobody else changes this folder by voiceauth meanwhile. Raises `DeniedError` unless this is root, `BusyError`
        after `LOCK_TIMEOUT` seconds."""
        if os.geteuid() != ROOT:
            raise DeniedError(f"only root may change {self.path}: use sudo, or see the change with --dry-run")
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BusyError(f"another `voiceauth pam` is changing {self.path}") from None
                time.sleep(0.05)
        try:
            yield
        finally:
            fcntl.flock(self._folder, fcntl.LOCK_UN)

    def names(self) -> list[str]:
        """The services that have a file here, in order."""
        return sorted(name for name in os.listdir(self._folder) if not name.startswith("."))

    def read(self, name: str) -> Held:
        """A service's file. Raises `UsageError` if there is none, `StorageError` if it is a link, not root's, writable
        by others, too large."""
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(name, flags, dir_fd=self._folder)
        except FileNotFoundError:
            raise UsageError(self._missing(name), "no_service") from None
        except OSError as problem:
            raise StorageError(self._unreadable(name, problem), "unreadable") from problem
        try:
            status = os.fstat(file)
            self._refuse(name, status)
            data = _read_all(file)
            attributes = {key: os.getxattr(file, key) for key in os.listxattr(file)}
        except OSError as problem:
            raise StorageError(self._unreadable(name, problem), "unreadable") from problem
        finally:
            os.close(file)
        return Held(data, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, attributes)

    def included(self, name: str) -> bytes:
        """What an include of `name` reads, where PAM would find it: links are followed. Raises `StorageError`."""
        if "/" in name and not name.startswith("/"):
            raise StorageError(f"{self.path} has an include of {name}, out of the folder: not understood", "no_include")
        folders = [self.path, *(VENDOR_FOLDERS if self.path == PAM_FOLDER else ())]
        for path in [Path(name)] if name.startswith("/") else [folder / name for folder in folders]:
            with suppress(FileNotFoundError):
                return _read_followed(path)
        raise StorageError(f"{name}, which is included, is not in {self.path}: not understood", "no_include")

    def replace(self, name: str, before: Held, data: bytes) -> None:
        """Puts `data` in the place of a file that was read as `before`: whole or not at all, same owner and mode.

        Raises `StorageError`; the file is then as it was, unless it says otherwise.
        """
        temporary = f".{name}.voiceauthd-new"
        try:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=self._folder)  # of one that was killed: the lock says that it is gone
            self._write_new(temporary, before, data)
            if self.read(name) != before:
                raise StorageError(f"{self.path / name} was changed meanwhile: try again", "changed")
            os.rename(temporary, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as problem:
            raise StorageError(f"cannot write {self.path / name}: {problem.strerror}", "not_written") from problem
        finally:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self._folder)
        try:
            os.fsync(self._folder)
        except OSError as problem:
            what = f"{self.path / name} is changed, but may be back after a power cut ({problem.strerror})"
            raise StorageError(what, "not_durable") from problem

    def _write_new(self, name: str, before: Held, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name, flags, 0o600, dir_fd=self._folder)
        try:
            _write_all(file, data)
            os.fchown(file, before.owner, before.group)
            for key, value in before.attributes.items():
                os.setxattr(file, key, value)
            os.fchmod(file, before.mode)
            os.fsync(file)
        finally:
            os.close(file)

    def _refuse(self, name: str, status: os.stat_result) -> None:
        path = self.path / name
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{path} is not a file; nothing was changed", "not_a_file")
        if status.st_uid != ROOT or status.st_mode & _OTHERS_WRITE:
            mode = f"owner uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}"
            raise StorageError(
                f"{path} is not root's alone to write ({mode}); nothing was changed", "unsafe_permissions"
            )
        if status.st_nlink != 1:
            raise StorageError(f"{path} has {status.st_nlink} names (hard links); nothing was changed", "linked")
        if status.st_size > MAX_SIZE:
            raise StorageError(f"{path} has over {MAX_SIZE // 1024} KiB; nothing was changed", "too_large")

    def _missing(self, name: str) -> str:
        for folder in VENDOR_FOLDERS if self.path == PAM_FOLDER else ():
            if (folder / name).is_file():
                return f"{name} has its file in {folder}: copy it to {self.path} first, where it goes before that one"
        return f"there is no service {name} in {self.path}"

    def _unreadable(self, name: str, problem: OSError) -> str:
        path = self.path / name
        if path.is_symlink():
            return f"{path} is a link to {os.readlink(path)}: something else manages it; change it there, by hand"
        return f"cannot read {path}: {problem.strerror}"


def keep(folder: Path, name: str, data: bytes) -> Path:
    """Keeps the bytes of before as `folder`/`name`.TIME, mode 0600, folder 0700; gives where. Raises `StorageError`."""
    try:
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise StorageError(f"{folder} must be a folder of root's, mode 0700: chmod 700 it", "unsafe_permissions")
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        for number in range(100):
            path = folder / (f"{name}.{moment}" + (f".{number}" if number else ""))
            with suppress(FileExistsError):
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                break
        else:
            raise StorageError(f"{folder} has a hundred copies of {name} of this second", "not_written")
        try:
            _write_all(file, data)
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as problem:
        raise StorageError(f"cannot keep the old file in {folder}: {problem.strerror}", "not_written") from problem
    return path


def _read_followed(path: Path) -> bytes:
    """Raises `FileNotFoundError`, `StorageError`."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise StorageError(f"{path} is not a file; nothing was changed", "not_a_file")
            data = stream.read(MAX_SIZE + 1)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise StorageError(f"cannot read {path}: {problem.strerror}", "unreadable") from problem
    if len(data) > MAX_SIZE:
        raise StorageError(f"{path} has over {MAX_SIZE // 1024} KiB; nothing was changed", "too_large")
    return data


def _read_all(file: int) -> bytes:
    parts = []
    left = MAX_SIZE + 1
    while left > 0 and (part := os.read(file, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # a disk that fills up may take a part first, and refuse the rest at the next call
        rest = rest[os.write(file, rest) :]
