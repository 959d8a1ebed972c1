"""Controls a `Microphone` by commands on standard input, and answers each with a line of JSON.

A separate process, because PortAudio, ALSA and PulseAudio read the environment only once.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import numpy as np

from voiceauthd.audio.block import RATE
from voiceauthd.audio.microphone import Microphone
from voiceauthd.audio.portaudio import PORTAUDIO
from voiceauthd.errors import SourceError


def listen(mic: Microphone, seconds: float, at_least: float = 0.0) -> dict[str, object]:
    """Read for `seconds`, and return what was recorded; with `lost_after` if the device was lost."""
    began = time.monotonic()
    blocks = []
    ages = []
    answer: dict[str, object] = {}
    try:
        while time.monotonic() < began + seconds:
            block = mic.read(0.2, at_least)
            if block is not None:
                blocks.append(block)
                ages.append(time.monotonic() - block.captured)
    except SourceError as error:
        answer |= {"lost": str(error), "lost_after": time.monotonic() - began, "reason": error.reason}
    samples = np.concatenate([block.samples for block in blocks]) if blocks else np.zeros(0, np.float32)
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    tone = samples[loud[0] : loud[-1]] if len(loud) else samples[:0]
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone)))) if len(tone) > 1 else np.zeros(1)
    starts = [block.start for block in blocks]
    return answer | {
        "blocks": len(blocks),
        "samples": len(samples),
        "dtype": str(samples.dtype),
        "starts_follow": all(a.start + len(a.samples) == b for a, b in zip(blocks, starts[1:], strict=False)),
        "first_start": starts[0] if starts else None,
        "gaps": [index for index, block in enumerate(blocks) if block.gap],
        "captured_rises": bool(np.all(np.diff([block.captured for block in blocks]) >= 0)),
        "flow": (len(samples) - len(blocks[0].samples)) / (blocks[-1].captured - blocks[0].captured) / RATE
        if len(blocks) > 1
        else None,
        "age_median": float(np.median(ages)) if ages else None,
        "age_min": min(ages, default=None),
        "loud": len(tone) / RATE,
        "peak": float(np.abs(samples).max(initial=0.0)),
        "rms": float(np.sqrt(np.mean(tone**2))) if len(tone) else 0.0,
        "frequency": float(np.argmax(spectrum) * RATE / max(1, len(tone))),
        "silent_for": mic.silent_for,
    }


def close_while_reading(mic: Microphone) -> dict[str, object]:
    """Return the durations of a read that another thread ends by `close`, and of that `close`."""
    times: dict[str, object] = {}

    def close() -> None:
        began = time.monotonic()
        mic.close()
        times["close"] = time.monotonic() - began

    closer = threading.Timer(0.3, close)
    closer.start()
    began = time.monotonic()
    while mic.read(30.0) is not None:
        pass
    times["read"] = time.monotonic() - began
    closer.join()
    return times


def main() -> None:
    mic = Microphone(**json.loads(sys.argv[1]))
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            answer: object
            if command == "open":
                mic.open()
                answer = {"description": mic.description}
            elif command == "listen":
                answer = listen(mic, *map(float, arguments))
            elif command == "close":
                mic.close()
                answer = {}
            elif command == "late":
                time.sleep(float(arguments[0]))
                answer = {}
            elif command == "close_while_reading":
                answer = close_while_reading(mic)
            elif command == "overflows":
                answer = {"overflows": mic.overflows}
            else:
                answer = {"devices": [device.name for device in PORTAUDIO.devices()]}
        except SourceError as error:
            answer = {"error": str(error), "reason": error.reason}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    mic.close()


if __name__ == "__main__":
    main()
