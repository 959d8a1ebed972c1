"""The lockout's file, and the clocks that it uses.

Within one boot only the time since the boot counts, which nobody can set and which continues while the machine sleeps.
Across a reboot only the wall clock is available; if it has gone back, everything counts as if it had just happened.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from voiceauthd.errors import StorageError
from voiceauthd.profiles.folder import FolderKind, locked_folder, read_file, write_file

FORMAT = "voiceauthd-lockout 1"

MAX_VOICES = 1_000
"""Names with failures or a lock. Only enrolled voices are compared, so this is more than there are."""

MAX_BYTES = 8 * 2**20
"""Size of the file: `MAX_VOICES` with 100 failures each (the maximum of `lockout.failures`) are a third of it."""

FOLDER = FolderKind("state folder", "state", None, ".voiceauthd-lockout-", root_may_own=True)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """When a verification failed, and the false-accept rate that it aimed at: the strictness of its policy."""

    at: float
    rate: float


class VoiceRecord(msgspec.Struct, forbid_unknown_fields=True):
    """The failures and the lock of one name. `locked`: when the lock began, if there is one."""

    failures: list[Failure] = []
    locked: float | None = None


class AllVoicesLock(msgspec.Struct, forbid_unknown_fields=True):
    """A lock of all voices except those in `but`."""

    since: float
    but: list[str] = []


class Records(msgspec.Struct, forbid_unknown_fields=True):
    """The content of the file. Voices are indexed by `name_key` of their name; times are in seconds of `uptime`.

    boot    the id of the boot that `uptime` refers to; "" if the kernel does not provide it
    uptime  seconds since that boot, when the file was written
    time    seconds since 1970, by the wall clock, when the file was written
    """

    format: str = FORMAT
    boot: str = ""
    uptime: float = 0.0
    time: float = 0.0
    everybody: AllVoicesLock | None = None
    voices: dict[str, VoiceRecord] = {}


@dataclass(frozen=True, slots=True)
class Clock:
    """This machine's clocks."""

    boot: str

    @classmethod
    def of_this_machine(cls) -> Clock:
        """Read the boot id. Without it in /proc `boot` is "", and each start counts as a reboot."""
        try:
            return cls(BOOT_ID.read_text(encoding="ascii").strip())
        except (OSError, ValueError):
            return cls("")

    def uptime(self) -> float:
        """Return the seconds since the boot, including suspend."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Return the seconds since 1970 by the wall clock."""
        return time.time()


def load_records(file: Path, clock: Clock) -> Records | None:
    """Return the content of the file, with its times converted to the current uptime; None if there is no file.

    Raises `StorageError` if it cannot be read, may have been written by another user, or is not valid.
    """
    with locked_folder(file.parent, FOLDER) as folder:
        try:
            data = read_file(folder, file.name, MAX_BYTES)
        except StorageError as problem:
            if isinstance(problem.__cause__, FileNotFoundError):
                return None
            raise
    return _rebased(_decode(data, file), clock)


def save_records(file: Path, data: bytes) -> None:
    """Write the file, and return when it is on the disk. On `StorageError` the old file is unchanged."""
    with locked_folder(file.parent, FOLDER) as folder:
        write_file(folder, file.name, data, FOLDER)


def set_aside(file: Path) -> Path:
    """Keep a damaged file under a second name, replacing an earlier one. Return its path. Raises `StorageError`.

    The file is linked, not moved: if the daemon is killed before a new file is written, the next start must find the
    damaged one, not none. Something that cannot be linked, such as a folder, is moved.
    """
    kept = f"{file.name}.damaged"
    with locked_folder(file.parent, FOLDER) as folder:
        with suppress(OSError):
            os.unlink(kept, dir_fd=folder)
        try:
            os.link(file.name, kept, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError:
            try:
                os.rename(file.name, kept, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError as error:
                raise StorageError(f"{file} cannot be set aside ({error.strerror})", "write_failed") from error
    return file.with_name(kept)


def _decode(data: bytes, file: Path) -> Records:
    try:
        records = msgspec.json.decode(data, type=Records)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{file} is not a lockout file ({error})", "torn") from error
    if records.format != FORMAT:
        raise StorageError(f"{file} has another version ({records.format[:40]!r})", "wrong_format")
    times = [records.uptime, records.time]
    for voice in records.voices.values():
        times += [value for failure in voice.failures for value in (failure.at, failure.rate)]
        times += [] if voice.locked is None else [voice.locked]
    times += [] if records.everybody is None else [records.everybody.since]
    if not all(map(math.isfinite, times)):
        raise StorageError(f"{file} has times that are not finite numbers", "torn")
    return records


def _rebased(records: Records, clock: Clock) -> Records:
    """Convert all times to the current uptime, none of them in the future. Changes and returns `records`."""
    now, elapsed = clock.uptime(), clock.wall() - records.time
    same_boot = clock.boot != "" and clock.boot == records.boot

    def rebased(then: float) -> float:
        if same_boot:
            return min(then, now)
        return now if elapsed < 0.0 else now - max(0.0, records.uptime - then) - elapsed

    for voice in records.voices.values():
        voice.failures = [Failure(rebased(failure.at), failure.rate) for failure in voice.failures]
        voice.locked = None if voice.locked is None else rebased(voice.locked)
    if records.everybody is not None:
        records.everybody.since = rebased(records.everybody.since)
    return records
