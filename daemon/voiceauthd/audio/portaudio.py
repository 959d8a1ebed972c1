"""The process's one PortAudio: listing the devices, and opening and closing streams on them.

PortAudio lists the devices only once, when it is initialised: a device plugged in later is not in the list, and one
that was unplugged and plugged in again may have another index. So it is initialised again whenever a stream is opened
and no other is open (doing so with an open stream would end that stream). That costs about 50 ms.
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from voiceauthd.audio.ring import Ring
from voiceauthd.audio.thread_stacks import fresh_stacks
from voiceauthd.errors import SourceError

MAX_CHANNELS = 2
"""Channels that are opened at most: further channels of an audio interface are rarely microphones, and sound servers
mix them down."""

CALLBACK_MS = 15
"""Milliseconds of audio that PortAudio passes to one callback."""

LATENCY_SECONDS = 0.06
"""Audio that PortAudio may hold back. It then wakes for two callbacks at once, 33 times a second; waking is most of the
cost of an open microphone. PortAudio's own "high" wakes 50 times and costs 0.5 % of a core more, for answers up to
10 ms sooner; its "low" is 9 ms on a sound server, which overruns on a busy machine."""

RING_SECONDS = 2.0
"""How late the reader may be before audio is lost."""

CLOSE_TIMEOUT = 0.75
"""Seconds. Stopping a stream whose device has vanished may hang in the driver; the daemon must stop within 2 s."""

INSTALL_HINT = "install libportaudio2 (Debian, Ubuntu: apt install libportaudio2) and the Python package sounddevice"


@dataclass(frozen=True, slots=True)
class Device:
    """A device that can record.

    index     PortAudio's number for it; may change when devices are plugged in or out
    host      the sound system that offers it: "ALSA", "Core Audio"
    channels  number of channels that it can record
    rate      its default, in frames per second
    default   it is used when no device is named
    """

    index: int
    name: str
    host: str
    channels: int
    rate: int
    default: bool


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """An open stream: the device, the format it was opened with, and the ring that it fills."""

    device: Device
    rate: int
    channels: int
    ring: Ring
    handle: Any


class PortAudio:
    """The state of PortAudio in this process. There is only one instance, `PORTAUDIO` below."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0  # streams that are open, or that hang while closing
        self._initialised = False

    def devices(self) -> list[Device]:
        """Return the devices that can record now. Raises `SourceError` if PortAudio is not available."""
        with self._lock:
            return self._devices()

    def open(self, wanted: str | int | None) -> Stream:
        """Start recording from the device that `choose_device` finds.

        Raises `SourceError` if there is no such device, or it cannot be opened.
        """
        with self._lock:
            device = choose_device(self._devices(), wanted)
            problem: Exception | None = None
            for channels in range(min(device.channels, MAX_CHANNELS), 0, -1):
                try:
                    stream = _start(device, channels)
                except _library().PortAudioError as error:
                    problem = error
                else:
                    self._running += 1
                    return stream
        raise SourceError(
            f"microphone {device.name!r} cannot be opened ({_first_line(problem)}): another program may be using it, "
            "or the sound server is not running; `voiceauth doctor` lists the devices"
        )

    def close(self, stream: Stream) -> bool:
        """End a stream. Returns False if the driver hangs: it keeps the stream, and the device list stays as it is."""
        closer = threading.Thread(target=self._close, args=(stream,), name="close-microphone", daemon=True)
        closer.start()
        closer.join(CLOSE_TIMEOUT)
        if closer.is_alive():
            # When the interpreter exits, sounddevice waits for the driver, which does not answer.
            atexit.unregister(_library()._exit_handler)
        return not closer.is_alive()

    def _close(self, stream: Stream) -> None:
        stream.handle.abort(ignore_errors=True)
        stream.handle.close(ignore_errors=True)
        with self._lock:
            self._running -= 1

    def _devices(self) -> list[Device]:
        library = _library()
        try:
            if self._initialised and not self._running:
                library._terminate()
                library._initialize()
            self._initialised = True
            hosts = library.query_hostapis()
            default = library._lib.Pa_GetDefaultInputDevice()
            found = list(library.query_devices())
        except library.PortAudioError as error:
            raise SourceError(f"PortAudio does not work ({_first_line(error)}): {INSTALL_HINT}") from error
        return [
            Device(
                index=device["index"],
                name=device["name"],
                host=hosts[device["hostapi"]]["name"],
                channels=device["max_input_channels"],
                rate=round(device["default_samplerate"]),
                default=device["index"] == default,
            )
            for device in found
            if device["max_input_channels"] > 0
        ]


PORTAUDIO = PortAudio()
"""The C library's state is global: a second instance would end the streams of the first."""


def choose_device(devices: list[Device], wanted: str | int | None) -> Device:
    """Return the device with this index, this exact name, or the only one with this part of a name, in any case.

    None is the system's default. Raises `SourceError`, which lists the devices, if none or several match.
    """
    if not devices:
        raise SourceError(
            "no microphone: connect one, and check that the sound server is running and that this user may use it "
            "(group `audio`, or the user's own session)"
        )
    if wanted is None:
        matching = [device for device in devices if device.default]
    elif isinstance(wanted, int):
        matching = [device for device in devices if device.index == wanted]
    else:
        exact = [device for device in devices if device.name == wanted]
        matching = exact[:1] or [device for device in devices if wanted.casefold() in device.name.casefold()]
    if len(matching) == 1:
        return matching[0]
    listed = ", ".join(f"{device.index} {device.name!r}" for device in devices)
    if wanted is None:
        raise SourceError(f"no default microphone: set `audio.device` to one of {listed}")
    if matching:
        listed = ", ".join(f"{device.index} {device.name!r}" for device in matching)
        raise SourceError(
            f"microphone {wanted!r} is ambiguous: set `audio.device` to the whole name of one of {listed}"
        )
    raise SourceError(f"no microphone {wanted!r}: set `audio.device` to one of {listed}")


def _start(device: Device, channels: int) -> Stream:
    frames = device.rate * CALLBACK_MS // 1000
    slots = int(RING_SECONDS * 1000) // CALLBACK_MS
    ring = Ring(slots, frames, channels, device.rate)
    with _library_messages_dropped():
        handle = _library().RawInputStream(
            samplerate=device.rate,
            blocksize=frames,
            device=device.index,
            channels=channels,
            dtype="float32",
            latency=LATENCY_SECONDS,
            callback=ring.put,
            finished_callback=ring.finish,
        )
        try:
            with fresh_stacks():
                handle.start()
        except BaseException:
            handle.close(ignore_errors=True)
            raise
    return Stream(device, device.rate, channels, ring, handle)


def _library() -> Any:  # noqa: ANN401  the module has no types
    """Return the module `sounddevice`. Raises `SourceError` if it or PortAudio is missing.

    Imported when first needed, because the import initialises PortAudio, which opens every device.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise SourceError(f"no sound library ({_first_line(error)}): {INSTALL_HINT}") from error
    return sounddevice


@contextmanager
def _library_messages_dropped() -> Iterator[None]:
    """Drop the lines that ALSA and PortAudio write straight to standard error; the `SourceError` says what matters.

    Lines that other threads write in the same time are passed on.
    """
    try:
        original = os.dup(2)
    except OSError:
        yield  # standard error is closed, so nothing can be written to it
        return
    with tempfile.TemporaryFile() as collected:
        sys.stderr.flush()
        os.dup2(collected.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            collected.seek(0)
            for line in collected:
                if line.strip() and not line.startswith((b"ALSA lib", b"Expression '", b"PaAlsa", b"Cannot connect")):
                    os.write(2, line)


def _first_line(error: Exception | None) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]
