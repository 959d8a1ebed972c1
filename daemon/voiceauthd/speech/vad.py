"""Is this speech? Two detectors of different kinds, each asked frame by frame.

`FirstGate` (webrtcvad) is nearly free and wakes the second. Alone it is no judge: it calls white noise and pure tones
speech. `Confirmation` (silero-vad) knows speech from noise, at about a hundred times the cost, so it only hears what
the first gate let through.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.errors import ModelError

FULL_SCALE_16_BIT = 32767.0

SILERO_SAMPLES = 512
"""32 ms, the one length that silero-vad takes at 16 kHz."""

SILERO_HYSTERESIS = 0.15
"""Speech, once found, goes on while the probability stays above the threshold less this: the value that silero-vad's
own iterator uses."""


class FirstGate:
    """webrtcvad on frames of 10, 20 or 30 ms.

    aggressiveness: 0 lets most through, 3 least. Raises `ModelError`, reason `vad_unavailable`, if it cannot load.
    """

    def __init__(self, aggressiveness: int) -> None:
        try:
            import webrtcvad

            self._vad = webrtcvad.Vad(aggressiveness)
        except Exception as failure:
            raise ModelError(
                f"webrtcvad does not load ({failure}); reinstall it: pip install webrtcvad-wheels", "vad_unavailable"
            ) from failure

    def voiced(self, frame: Samples) -> bool:
        """Whether this frame may be speech."""
        pcm = np.clip(frame * FULL_SCALE_16_BIT, -FULL_SCALE_16_BIT, FULL_SCALE_16_BIT).astype(np.int16)
        return bool(self._vad.is_speech(pcm.tobytes(), RATE))


class Confirmation:
    """silero-vad on a stream of frames of any length, with hysteresis.

    Frames are gathered into chunks of 32 ms; a frame takes the verdict of the last whole chunk, so the verdict is up
    to 32 ms old. Raises `ModelError`, reason `vad_unavailable`, if the model cannot load.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._probability = _load_silero()
        self._reset_model: Callable[[], None] = self._probability.reset
        for _ in range(3):  # the first calls compile; they must not fall on the first word that somebody says
            self._probability(np.zeros(SILERO_SAMPLES, dtype=np.float32))
        self.reset()

    def reset(self) -> None:
        """Forgets all that was heard."""
        self._reset_model()
        self._pending = np.empty(0, dtype=np.float32)
        self._speech = False

    def speech(self, frame: Samples) -> bool:
        """Whether the sound up to this frame's end is speech."""
        self._pending = np.concatenate((self._pending, frame))
        while len(self._pending) >= SILERO_SAMPLES:
            chunk, self._pending = self._pending[:SILERO_SAMPLES], self._pending[SILERO_SAMPLES:]
            probability = self._probability(chunk)
            floor = self._threshold - SILERO_HYSTERESIS if self._speech else self._threshold
            self._speech = probability >= floor
            if not math.isfinite(probability):
                self._reset_model()  # what is not a number would stay in its memory for ever
        return self._speech


class _Silero:
    """The probability of speech in a chunk, given those before it."""

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
            "vad_unavailable",
        ) from failure
