"""Which source a configuration means."""

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
    """The source that `audio.source` names, not yet open: "microphone", "-" for raw PCM on standard input, or a file.

    A file that is called "microphone" is "./microphone". Raises nothing: `open` tells what is wrong with a source.
    """
    if audio.source == MICROPHONE:
        return Microphone(audio.device, audio.block_ms, audio.stall)
    if audio.source == STANDARD_INPUT:
        return PcmSource(0, audio.block_ms)
    # `config` has checked that `pace` is one of the two.
    return FileSource(Path(audio.source).expanduser(), audio.block_ms, cast(Pace, audio.pace))
