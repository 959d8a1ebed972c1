"""The files in /etc/pam.d: read with checks of owner and mode, replaced atomically, and backed up elsewhere.

PAM takes every file in its folder for a service, so backups go into a folder of their own.
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

from voiceauthd.atomic_file import NotDurableError, write_file, write_file_at
from voiceauthd.errors import BusyError, DeniedError, StorageError, UsageError

PAM_FOLDER = Path("/etc/pam.d")
VENDOR_FOLDERS = (Path("/usr/lib/pam.d"), Path("/usr/etc/pam.d"))
"""Where PAM looks for services that are not in /etc/pam.d, on systems whose packages do not write to /etc."""

BACKUPS = Path("/var/backups/voiceauthd/pam.d")

MAX_SIZE = 64 * 1024
"""Maximum bytes of a file. The largest in distributions have about 5,000."""

LOCK_TIMEOUT = 10.0
"""Seconds to wait for another `voiceauth pam` to finish."""

ROOT = 0
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class FileSnapshot(NamedTuple):
    """The content and metadata of a file when it was read. `attributes`: extended ones, such as an SELinux label."""

    data: bytes
    mode: int
    owner: int
    group: int
    attributes: dict[str, bytes]


class PamFolder:
    """PAM's folder of services, which only root can write to. A context manager that keeps the folder open.

    Raises `UsageError` if there is no such folder, `StorageError` if others can write to it.
    """

    def __init__(self, path: Path = PAM_FOLDER) -> None:
        self.path = path
        try:
            self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            raise UsageError(f"{path} cannot be opened as PAM's folder: {problem.strerror}", "no_pam") from problem
        status = os.fstat(self._folder)
        if status.st_uid != ROOT or status.st_mode & _OTHERS_WRITE:
            os.close(self._folder)
            raise StorageError(f"{path} is not trusted: users other than root can write to it", "unsafe_permissions")

    def __enter__(self) -> PamFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold the lock that keeps other voiceauth processes from changing this folder. Raises `DeniedError` unless
        this is root, `BusyError` after `LOCK_TIMEOUT` seconds."""
        if os.geteuid() != ROOT:
            raise DeniedError(f"only root may change {self.path}: use sudo, or show the change with --dry-run")
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
        """Return the services that have a file here, sorted."""
        return sorted(name for name in os.listdir(self._folder) if not name.startswith("."))

    def read(self, name: str) -> FileSnapshot:
        """Read a service's file. Raises `UsageError` if there is none, `StorageError` if it is a link, does not belong
        to root, can be written by others, or is too large."""
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
        return FileSnapshot(data, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, attributes)

    def included(self, name: str) -> bytes:
        """Return the content that PAM reads for an include of `name`. Links are followed. Raises `StorageError`."""
        if "/" in name and not name.startswith("/"):
            raise StorageError(f"a file in {self.path} includes {name}, outside the folder", "no_include")
        folders = [self.path, *(VENDOR_FOLDERS if self.path == PAM_FOLDER else ())]
        for path in [Path(name)] if name.startswith("/") else [folder / name for folder in folders]:
            with suppress(FileNotFoundError):
                return _read_followed(path)
        raise StorageError(f"{name}, which is included, is not in {self.path}", "no_include")

    def replace(self, name: str, before: FileSnapshot, data: bytes) -> None:
        """Replace a file that was read as `before`, atomically; owner, mode and attributes stay the same.

        Raises `StorageError`; unless its reason is `not_durable`, the file has not changed.
        """
        temporary = f".{name}.voiceauthd-new"

        def prepare(file: int) -> None:
            os.fchown(file, before.owner, before.group)
            for key, value in before.attributes.items():
                os.setxattr(file, key, value)
            os.fchmod(file, before.mode)

        def check() -> None:
            if self.read(name) != before:
                raise StorageError(f"{self.path / name} was changed in the meantime: try again", "changed")

        try:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=self._folder)  # left by a process that was killed: this one holds the lock
            write_file_at(self._folder, name, data, temporary=temporary, prepare=prepare, check=check)
        except NotDurableError as problem:
            what = f"{self.path / name} is changed, but may be back after a power cut ({problem.strerror})"
            raise StorageError(what, "not_durable") from problem
        except OSError as problem:
            raise StorageError(f"cannot write {self.path / name}: {problem.strerror}", "not_written") from problem

    def _refuse(self, name: str, status: os.stat_result) -> None:
        path = self.path / name
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{path} is not a file; nothing was changed", "not_a_file")
        if status.st_uid != ROOT or status.st_mode & _OTHERS_WRITE:
            mode = f"owner uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}"
            raise StorageError(
                f"users other than root can write to {path} ({mode}); nothing was changed", "unsafe_permissions"
            )
        if status.st_nlink != 1:
            raise StorageError(f"{path} has {status.st_nlink} hard links; nothing was changed", "linked")
        if status.st_size > MAX_SIZE:
            raise StorageError(f"{path} is larger than {MAX_SIZE // 1024} KiB; nothing was changed", "too_large")

    def _missing(self, name: str) -> str:
        for folder in VENDOR_FOLDERS if self.path == PAM_FOLDER else ():
            if (folder / name).is_file():
                return f"the file of {name} is in {folder}: copy it to {self.path} first, where it takes precedence"
        return f"there is no service {name} in {self.path}"

    def _unreadable(self, name: str, problem: OSError) -> str:
        path = self.path / name
        if path.is_symlink():
            return f"{path} is a link to {os.readlink(path)}: something else manages it; edit it there, by hand"
        return f"cannot read {path}: {problem.strerror}"


def back_up(folder: Path, name: str, data: bytes) -> Path:
    """Write the previous content to `folder`/`name`.TIME, mode 0600, folder 0700, and return its path. Raises
    `StorageError`."""
    try:
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise StorageError(f"{folder} must be a folder with mode 0700 that belongs to root", "unsafe_permissions")
        timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        for number in range(100):
            path = folder / (f"{name}.{timestamp}" + (f".{number}" if number else ""))
            with suppress(FileExistsError):
                write_file(path, data, overwrite=False)
                return path
    except OSError as problem:
        raise StorageError(f"cannot back up the old file to {folder}: {problem.strerror}", "not_written") from problem
    raise StorageError(f"{folder} already has a hundred copies of {name} from this second", "not_written")


def _read_followed(path: Path) -> bytes:
    """Read a file, following links. Raises `FileNotFoundError`, `StorageError`."""
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
        raise StorageError(f"{path} is larger than {MAX_SIZE // 1024} KiB; nothing was changed", "too_large")
    return data


def _read_all(file: int) -> bytes:
    parts = []
    left = MAX_SIZE + 1
    while left > 0 and (part := os.read(file, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
