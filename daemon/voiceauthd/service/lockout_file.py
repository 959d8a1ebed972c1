"""What the lockout keeps on the disk, and the clocks that it counts by.

Within one boot only the time since the boot counts, which nobody can set and which goes on while the machine sleeps.
Over a reboot there is nothing but the wall clock: where that has gone back, everything counts as if it were of now.
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
from voiceauthd.profiles.folder import Kind, locked_folder, read_file, write_file

FORMAT = "voiceauthd-lockout 1"

MOST_VOICES = 1_000
"""Names with failures or a lock. Only an enrolled voice is compared, so this is more than there are."""

MOST_BYTES = 8 * 2**20
"""Of the file: `MOST_VOICES` with 100 failures each (the most that `lockout.failures` can be) are a third of it."""

FOLDER = Kind("state folder", "state", None, ".voiceauthd-lockout-", root=True)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """When, and the false-accept rate that the verification aimed at: the strictness of its policy."""

    at: float
    rate: float


class VoiceRecord(msgspec.Struct, forbid_unknown_fields=True):
    """What is held against one name. `locked`: since when, if it is."""

    failures: list[Failure] = []
    locked: float | None = None


class Everybody(msgspec.Struct, forbid_unknown_fields=True):
    """A lock of all voices but these."""

    since: float
    but: list[str] = []


class Book(msgspec.Struct, forbid_unknown_fields=True):
    """Everything, as it is in the file. Voices are by the key of their name; times are on the clock of `uptime`.

    boot    which boot `uptime` is of; "" if the kernel does not say
    uptime  seconds since that boot, when this was written
    time    seconds since 1970, by the wall clock, when this was written
    """

    format: str = FORMAT
    boot: str = ""
    uptime: float = 0.0
    time: float = 0.0
    everybody: Everybody | None = None
    voices: dict[str, VoiceRecord] = {}


@dataclass(frozen=True, slots=True)
class Clock:
    """This machine's clocks."""

    boot: str

    @classmethod
    def of_this_machine(cls) -> Clock:
        """`boot` is "" where /proc does not show it; each start then counts as a reboot."""
        try:
            return cls(BOOT_ID.read_text(encoding="ascii").strip())
        except (OSError, ValueError):
            return cls("")

    def uptime(self) -> float:
        """Seconds since the boot, with those that the machine slept."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Seconds since 1970, as far as the machine knows."""
        return time.time()


def load_book(file: Path, clock: Clock) -> Book | None:
    """What was kept, with its times on the clock of today; None if nothing was.

    Raises `StorageError` if it cannot be read, may have been written by somebody else, or makes no sense.
    """
    with locked_folder(file.parent, FOLDER) as folder:
        try:
            data = read_file(folder, file.name, MOST_BYTES)
        except StorageError as problem:
            if isinstance(problem.__cause__, FileNotFoundError):
                return None
            raise
    return _carried(_decode(data, file), clock)


def save_book(file: Path, data: bytes) -> None:
    """Returns when it is on the disk. Raises `StorageError`; what was there before is then unchanged."""
    with locked_folder(file.parent, FOLDER) as folder:
        write_file(folder, file.name, data, FOLDER)


def set_aside(file: Path) -> Path:
    """Keeps a damaged file under another name as well, in the place of one that was kept before. Returns its path.

    As a second name, and not moved: whoever is killed before a good one is written finds it damaged again, and not
    gone. What cannot have two names, such as a folder, is moved. Raises `StorageError`.
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


def _decode(data: bytes, file: Path) -> Book:
    try:
        book = msgspec.json.decode(data, type=Book)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{file} is no lockout file ({error})", "torn") from error
    if book.format != FORMAT:
        raise StorageError(f"{file} is of another version ({book.format[:40]!r})", "wrong_format")
    times = [book.uptime, book.time]
    for voice in book.voices.values():
        times += [value for failure in voice.failures for value in (failure.at, failure.rate)]
        times += [] if voice.locked is None else [voice.locked]
    times += [] if book.everybody is None else [book.everybody.since]
    if not all(map(math.isfinite, times)):
        raise StorageError(f"{file} has times that are no numbers", "torn")
    return book


def _carried(book: Book, clock: Clock) -> Book:
    """The same with its times on today's clock. None is in the future."""
    now, gone = clock.uptime(), clock.wall() - book.time
    same_boot = clock.boot != "" and clock.boot == book.boot

    def carried(then: float) -> float:
        if same_boot:
            return min(then, now)
        return now if gone < 0.0 else now - max(0.0, book.uptime - then) - gone

    for voice in book.voices.values():
        voice.failures = [Failure(carried(failure.at), failure.rate) for failure in voice.failures]
        voice.locked = None if voice.locked is None else carried(voice.locked)
    if book.everybody is not None:
        book.everybody.since = carried(book.everybody.since)
    return book
