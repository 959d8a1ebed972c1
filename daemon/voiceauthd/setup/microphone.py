"""Choose a microphone and see that it delivers sound."""

from __future__ import annotations

import math
from collections.abc import Callable

from voiceauthd.audio.level import CHANNEL_FIX, MAX_CLIPPING, MIN_SPEECH_DBFS, MUTED_DBFS, Level, measure_level
from voiceauthd.audio.microphone import Microphone
from voiceauthd.audio.portaudio import PORTAUDIO, Device
from voiceauthd.config.schema import AudioConfig
from voiceauthd.errors import SourceError

TEST_SECONDS = 3.0
METER_WIDTH = 30
METER_FLOOR_DBFS = -60.0
"""Left end of the level meter: a quiet room."""


def recording_devices() -> list[Device]:
    """All devices that can record. Raises `SourceError` if there are none, with what to do."""
    devices = PORTAUDIO.devices()
    if not devices:
        raise SourceError(
            "no microphone was found: connect one, or start the sound server; `voiceauth doctor` checks both"
        )
    return devices


def measure_microphone(audio: AudioConfig, show: Callable[[float], None]) -> Level:
    """Record `TEST_SECONDS` from the configured microphone; `show` gets the level in dBFS as it goes.

    Raises `SourceError` if the microphone delivers nothing, or only silence.
    """
    microphone = Microphone(audio.device, audio.block_ms, audio.stall)
    level = measure_level(microphone, TEST_SECONDS, show)
    if level.loudest < MUTED_DBFS:
        raise SourceError(
            f"{microphone.description} delivers silence: unmute it, raise its recording level, or choose another one"
        )
    return level


def meter(dbfs: float) -> str:
    """A level as a bar: "[#########---------------------]  -42 dBFS"."""
    share = 0.0 if math.isinf(dbfs) else (dbfs - METER_FLOOR_DBFS) / -METER_FLOOR_DBFS
    full = max(0, min(METER_WIDTH, round(share * METER_WIDTH)))
    return f"[{'#' * full}{'-' * (METER_WIDTH - full)}] {max(dbfs, -99.0):4.0f} dBFS"


def verdict(level: Level) -> str:
    """What the level means, and what to do."""
    if level.clipping > MAX_CLIPPING:
        return f"too loud: {level.clipping:.0%} of the samples are clipped; lower the recording level"
    if level.loudest < MIN_SPEECH_DBFS:
        return "nobody spoke, or the microphone is quiet: speech should reach -35 dBFS or more"
    return "good" if level.channels is None else f"good, although {level.channels}: {CHANNEL_FIX}"
