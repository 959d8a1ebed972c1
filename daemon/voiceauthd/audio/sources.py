"""`make_source`: the source that the configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from voiceauthd.audio.block import Source
from voiceauthd.audio.file import FileSource, Pace
from voiceauthd.audio.microphone import Microphone
from voiceauthd.audio.stdin import PcmSource
from voiceauthd.config.schema import AudioConfig

MICROPHONE = "microphone"
STANDARD_INPUT = "-"


def make_source(audio: AudioConfig) -> Source:
    """Return the source, not yet open, for `audio.source`: "microphone", "-" (raw PCM on standard input), or a file.

    A file named "microphone" must be written "./microphone". Raises nothing: `open` reports what is wrong.
    """
    if audio.source == MICROPHONE:
        return Microphone(audio.device, audio.block_ms, audio.stall)
    if audio.source == STANDARD_INPUT:
        return PcmSource(0, audio.block_ms)
    # `config` has checked that `pace` is one of the two.
    return FileSource(Path(audio.source).expanduser(), audio.block_ms, cast(Pace, audio.pace))
