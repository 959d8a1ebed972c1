"""Encodes test recordings in the formats of telephones, browsers and video cameras, through PyAV."""

from __future__ import annotations

import base64
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

import voiceauthd

RATE = 16_000
VOICE = Path(voiceauthd.__file__).parent / "demo" / "voices" / "ralph-1.flac"

FORMATS = {
    "talk.m4a": ("ipod", "aac", 44100),
    "talk.aac": ("adts", "aac", 44100),
    "talk.webm": ("webm", "libopus", 48000),
    "talk.amr": ("amr", "libopencore_amrnb", 8000),
    "talk.3gp": ("3gp", "libopencore_amrnb", 8000),
    "new.3gp": ("3gp", "aac", 16000),
    "talk.wma": ("asf", "wmav2", 44100),
    "talk.caf": ("caf", "alac", 44100),
    "film.mp4": ("mp4", "aac", 48000),
    "film.mkv": ("matroska", "libopus", 48000),
    "film.mov": ("mov", "alac", 44100),
    "film.avi": ("avi", "mp3", 44100),
    "film.ts": ("mpegts", "aac", 48000),
}
"""Container, codec and rate of each name. A film has pictures, too."""


AMR_WB = base64.b64decode(
    "IyFBTVItV0IKFPcGc6L1n5KioDgnNhVzvMHHUU5cxcL83JbULvxUXS1AFPM6emret5CSiAAnL+7GA2htEJ5sEXq64Z1kq6SUnMWo"
    "FP8Of/H/+5CyCDAngg8HXhJD8wyz4Dgwk6ArKiAbrBZQFP8OH3N706CyCCAvLoOEVtmly9zjhsMxgsCo7GB50SHAFP8Ofy7sw5Cy"
    "CDAngg8MpWmvhQJ65//AASj9u8UY/YAAFP8OH7zaR6CyCCCnJpOGP/GKh5boocX7CSj2B/cuxwcIFP8Od1iOo5CyCDAngi982wtH"
    "jQJbsixsUuiRry3UG6XIFP8OHqEZR6CyCCCnJpP5c0JRvl8qG1w02rHGOJJ6C2MYFP8CFAuz7eCyCDC/kg99HkFWgwRKw24VFjYQ"
    "goKS940IFP8CHAMzzeCyCCC3NpP/y0QePHtFuzUxGRE6SPixIhTwFP8CFQqj6eCyCDE/ig98fkAYNQMUO0E8e8zIi4xlh9QwFP8C"
    "FimTZeCyCCC3NpP8XPVdq4aMbaVRGYLPDyE2kUm4"
)
"""0.24 s of a tone of 1 kHz: no encoder of AMR-WB comes with PyAV."""


def speech(seconds: float = 3.0) -> np.ndarray:
    """The beginning of a recorded voice: float32, 16 kHz."""
    return soundfile.read(VOICE, dtype="float32")[0][: int(seconds * RATE)]


def encode(
    path: Path, sound: np.ndarray, channels: int = 1, container: str = "", codec: str = "", rate: int = 0
) -> Path:
    """Write `sound` in the format that `FORMATS` has for the file's name, or in another one."""
    known = FORMATS.get(path.name, ("", "", 0))
    container, codec, rate = container or known[0], codec or known[1], rate or known[2]
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 12_200 if "amr" in codec else 64_000
        if path.name.startswith("film"):
            add_pictures(out)
        pcm = np.ascontiguousarray((sound.reshape(-1, channels) * 32767).astype(np.int16).reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        size = stream.codec_context.frame_size
        to_rate = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate, frame_size=size)
        for piece in [*to_rate.resample(frame), *to_rate.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return path


def add_pictures(out: av.container.OutputContainer) -> None:
    """Add a second of black pictures."""
    stream = out.add_stream("mpeg4", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    for _ in range(10):
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
    out.mux(stream.encode(None))
