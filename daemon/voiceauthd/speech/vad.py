"""Voice activity detection, frame by frame, by two detectors of different kinds.

`FirstGate` (webrtcvad) costs almost nothing and wakes the second. It is not reliable alone: it calls white noise and
pure tones speech. `Confirmation` (silero-vad) tells speech from noise at about a hundred times the cost, so it only
gets what the first gate let through.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.errors import ModelError

FULL_SCALE_16_BIT = 32767.0

SILERO_SAMPLES = 512
"""32 ms, the only length that silero-vad accepts at 16 kHz."""

SILERO_HYSTERESIS = 0.15
"""Speech, once found, continues while the probability stays above the threshold minus this, which is the value in
silero-vad's own iterator."""

VAD_UNAVAILABLE = "vad_unavailable"
"""Reason of the `ModelError` for a detector that does not load. The daemon does not start without its detectors."""


class FirstGate:
    """webrtcvad on frames of 10, 20 or 30 ms.

    aggressiveness: 0 passes the most, 3 the least. Raises `ModelError`, reason `vad_unavailable`, if it cannot load.
    """

    def __init__(self, aggressiveness: int) -> None:
        try:
            import webrtcvad

            self._vad = webrtcvad.Vad(aggressiveness)
        except Exception as failure:
            raise ModelError(
                f"webrtcvad does not load ({failure}); reinstall it: pip install webrtcvad-wheels", VAD_UNAVAILABLE
            ) from failure

    def voiced(self, frame: Samples) -> bool:
        """Whether this frame may be speech."""
        pcm = np.clip(frame * FULL_SCALE_16_BIT, -FULL_SCALE_16_BIT, FULL_SCALE_16_BIT).astype(np.int16)
        return bool(self._vad.is_speech(pcm.tobytes(), RATE))


class Confirmation:
    """silero-vad on a stream of frames of any length, with hysteresis.

    Frames are collected into chunks of 32 ms. A frame gets the verdict of the last whole chunk, which is up to 32 ms
    old. Raises `ModelError`, reason `vad_unavailable`, if the model cannot load.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._probability = _load_silero()
        self._reset_model: Callable[[], None] = self._probability.reset
        for _ in range(3):  # the first calls compile the model, which must not delay the first word
            self._probability(np.zeros(SILERO_SAMPLES, dtype=np.float32))
        self.reset()

    def reset(self) -> None:
        """Forget all earlier audio."""
        self._reset_model()
        self._pending = np.empty(0, dtype=np.float32)
        self._speech = False

    def speech(self, frame: Samples) -> bool:
        """Whether the audio up to the end of this frame is speech."""
        self._pending = np.concatenate((self._pending, frame))
        while len(self._pending) >= SILERO_SAMPLES:
            chunk, self._pending = self._pending[:SILERO_SAMPLES], self._pending[SILERO_SAMPLES:]
            probability = self._probability(chunk)
            floor = self._threshold - SILERO_HYSTERESIS if self._speech else self._threshold
            self._speech = probability >= floor
            if not math.isfinite(probability):
                self._reset_model()  # its state would never recover from values that are not finite
        return self._speech


class _Silero:
    """silero-vad: returns the probability of speech in a chunk, given the chunks before it."""

    def __init__(self) -> None:
        import torch
        from silero_vad import load_silero_vad

        self._torch = torch
        threads = torch.get_num_threads()
        self._model = load_silero_vad()
        torch.set_num_threads(threads)  # importing silero_vad changes it for the whole process

    def __call__(self, chunk: Samples) -> float:
        with self._torch.inference_mode():
            return float(self._model(self._torch.from_numpy(chunk), RATE))

    def reset(self) -> None:
        self._model.reset_states()


def _load_silero() -> _Silero:
    try:
        return _Silero()
    except Exception as failure:
        raise ModelError(
            f"silero-vad does not load ({failure}); reinstall it: pip install silero-vad, "
            "or switch it off with `speech.confirm: false`",
            VAD_UNAVAILABLE,
        ) from failure
