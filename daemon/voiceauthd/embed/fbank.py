"""Log mel filter bank features: the front end of CAM++."""

from __future__ import annotations

import kaldi_native_fbank
import numpy as np
from numpy.typing import NDArray

from voiceauthd.audio.block import RATE, Samples

CHANNELS = 80

FRAME_SAMPLES = 400
"""25 ms, Kaldi's default."""

HOP_SAMPLES = 160
"""10 ms, Kaldi's default."""

PREPROCESSING = "kaldi-fbank80-mean/1"
"""Part of the model's identity. It must change whenever the result of this file changes, because embeddings from before
and after cannot be compared."""


class Fbank:
    """Kaldi's filter bank as CAM++ was trained on it: 80 channels from 20 Hz to 8 kHz, povey window, pre-emphasis 0.97,
    no dither (so that equal audio gives an equal embedding), natural logarithm of the power, minus the mean over the
    utterance. Samples stay in ±1: the logarithm's floor is absolute, so their scale is part of the front end.
    """

    def __init__(self) -> None:
        self._options = kaldi_native_fbank.FbankOptions()
        self._options.frame_opts.samp_freq = RATE
        self._options.frame_opts.dither = 0.0
        self._options.frame_opts.window_type = "povey"
        self._options.mel_opts.num_bins = CHANNELS

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """Shape (n,) to (1 + (n - FRAME_SAMPLES) // HOP_SAMPLES, CHANNELS). n must be at least FRAME_SAMPLES."""
        bank = kaldi_native_fbank.OnlineFbank(self._options)
        # The binding takes a sequence of numbers; it reads a list twice as fast as an array.
        bank.accept_waveform(RATE, samples.tolist())
        frames = np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])
        features: NDArray[np.float32] = frames - frames.mean(axis=0)
        return features
