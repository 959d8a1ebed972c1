"""The process's one PortAudio: which devices there are, and opening and closing a stream on one of them.

PortAudio lists the devices once, when it is initialised, and never again; a device that was plugged in later is not
in the list, and one that was unplugged and came back may have another's place. So it is initialised anew whenever a
stream is opened and no other is open (anew under an open stream would end that stream). That costs about 50 ms.
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
"""More are not opened: the further channels of an interface are seldom microphones, and servers mix them down."""

CALLBACK_MS = 15
"""Length of what PortAudio hands over at a time."""

LATENCY = 0.06
"""Seconds of sound that PortAudio may hold back. It then wakes for two callbacks at once, 33 times a second; waking is
most of what an open microphone costs. PortAudio's own "high" wakes 50 times and costs 0.5 % of a core more, for answers
that are up to 10 ms sooner; its "low" is 9 ms on a sound server, which a busy machine overruns."""

RING = 2.0
"""Seconds of sound that the reader may be late before any is lost."""

CLOSE_DEADLINE = 0.75
"""Seconds. Stopping a stream whose device has vanished may hang in the driver; the daemon must stop within 2 s."""

INSTALL = "install libportaudio2 (Debian, Ubuntu: apt install libportaudio2) and the Python package sounddevice"


@dataclass(frozen=True, slots=True)
class Device:
    """A device that can record.

    index     PortAudio's number for it; may change when devices come and go
    host      the sound system that offers it: "ALSA", "Core Audio"
    channels  how many it can record
    rate      its own default, frames a second
    default   it is the one that is used when none is named
    """

    index: int
    name: str
    host: str
    channels: int
    rate: int
    default: bool


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """An open stream: the device, what was agreed with it, and the ring that it fills."""

    device: Device
    rate: int
    channels: int
    ring: Ring
    handle: Any


class PortAudio:
    """What this process knows of PortAudio. There is one, as there is one PortAudio: `PORTAUDIO` below."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0  # streams that are open, or that hang in closing
        self._listed = False

    def devices(self) -> list[Device]:
        """All devices that can record, as they are now. Raises `SourceError` if PortAudio cannot be had."""
        with self._lock:
            return self._devices()

    def open(self, wanted: str | int | None) -> Stream:
        """Starts recording from the device that `choose` picks.

        Raises `SourceError` if there is no such device, or it cannot be opened.
        """
        with self._lock:
            device = choose(self._devices(), wanted)
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
            f"microphone {device.name!r} cannot be opened ({_first_line(problem)}): another program may hold it, or "
            "the sound server does not run; `voiceauth doctor` lists the devices"
        )

    def close(self, stream: Stream) -> bool:
        """Ends a stream. False if the driver hangs; the stream is then left to it, and no device list is made anew."""
        closer = threading.Thread(target=self._close, args=(stream,), name="close-microphone", daemon=True)
        closer.start()
        closer.join(CLOSE_DEADLINE)
        if closer.is_alive():
            # At the interpreter's end sounddevice waits for the driver, which does not answer.
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
            if self._listed and not self._running:
                library._terminate()
                library._initialize()
            self._listed = True
            hosts = library.query_hostapis()
            default = library._lib.Pa_GetDefaultInputDevice()
            found = list(library.query_devices())
        except library.PortAudioError as error:
            raise SourceError(f"PortAudio does not work ({_first_line(error)}): {INSTALL}") from error
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
"""The state of a C library that is itself global: a second view of it would end the first one's streams."""


def choose(devices: list[Device], wanted: str | int | None) -> Device:
    """The device that is meant: by index, by exact name, or by a part of the name that fits one only, in any case.

    None is the system's default. Raises `SourceError` that lists what there is if none or several fit.
    """
    if not devices:
        raise SourceError(
            "no microphone: connect one, and see that the sound server runs and that this user may use it "
            "(group `audio`, or the user's own session)"
        )
    if wanted is None:
        fitting = [device for device in devices if device.default]
    elif isinstance(wanted, int):
        fitting = [device for device in devices if device.index == wanted]
    else:
        exact = [device for device in devices if device.name == wanted]
        fitting = exact[:1] or [device for device in devices if wanted.casefold() in device.name.casefold()]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{device.index} {device.name!r}" for device in devices)
    if wanted is None:
        raise SourceError(f"no default microphone: set `audio.device` to one of {listed}")
    if fitting:
        listed = ", ".join(f"{device.index} {device.name!r}" for device in fitting)
        raise SourceError(
            f"microphone {wanted!r} is ambiguous: set `audio.device` to the whole name of one of {listed}"
        )
    raise SourceError(f"no microphone {wanted!r}: set `audio.device` to one of {listed}")


def _start(device: Device, channels: int) -> Stream:
    frames = device.rate * CALLBACK_MS // 1000
    slots = int(RING * 1000) // CALLBACK_MS
    ring = Ring(slots, frames, channels, device.rate)
    with _noise_kept_back():
        handle = _library().RawInputStream(
            samplerate=device.rate,
            blocksize=frames,
            device=device.index,
            channels=channels,
            dtype="float32",
            latency=LATENCY,
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
    """The module `sounddevice`. Raises `SourceError` if it or PortAudio is missing.

    Imported when first needed: the import initialises PortAudio, which opens every device.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise SourceError(f"no sound library ({_first_line(error)}): {INSTALL}") from error
    return sounddevice


@contextmanager
def _noise_kept_back() -> Iterator[None]:
    """ALSA and PortAudio write their complaints straight to standard error; the `SourceError` says what matters.

    What else was written there meanwhile, by other threads, is passed on.
    """
    try:
        kept = os.dup(2)
    except OSError:
        yield  # standard error is closed: there is nothing to keep clean
        return
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if line.strip() and not line.startswith((b"ALSA lib", b"Expression '", b"PaAlsa", b"Cannot connect")):
                    os.write(2, line)


def _first_line(error: Exception | None) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]
