"""How long one window takes in the model, and how much longer WavLM takes than CAM++."""

from __future__ import annotations

import time

from voiceauthd.audio.block import RATE
from voiceauthd.bench.models import WAVLM_BASE
from voiceauthd.bench.report import Figure, median
from voiceauthd.bench.setting import Setting
from voiceauthd.bench.sound import continuous_speech
from voiceauthd.embed.embedding import Embedder
from voiceauthd.embed.load import load_embedder

LENGTHS = (1.5, 3.0)
"""Seconds: the first window of an utterance, and all others."""


def measure_forward(setting: Setting) -> list[Figure]:
    """The daemon's own call: samples in, unit vector out, the front end included. The models take turns."""
    campplus, chosen, wavlm = setting.models.campplus(), setting.models.chosen(), setting.models.named(WAVLM_BASE)
    models = list(dict.fromkeys(model for model in (campplus, chosen, wavlm) if model is not None))
    setting.say("forward: loading")
    embedders = {model.label: load_embedder(model.config) for model in models}
    times = _in_turn(setting, embedders)
    figures = [] if campplus is not None else [Figure("campplus", None, "ms", 0, note="not in the model cache")]
    figures += [
        median(f"{model.label}, {length:g} s", [1000.0 * t for t in times[model.label, length]], "ms", note=model.note)
        for model in models
        for length in LENGTHS
    ]
    if campplus is not None:
        figures += [_ratio(times[wavlm.label, length], times[campplus.label, length], length) for length in LENGTHS]
    return figures


def _in_turn(setting: Setting, embedders: dict[str, Embedder]) -> dict[tuple[str, float], list[float]]:
    speech = continuous_speech(max(LENGTHS))
    times: dict[tuple[str, float], list[float]] = {(label, length): [] for label in embedders for length in LENGTHS}
    for run in range(1 + setting.effort.forwards):
        setting.say(f"forward: {run} of {setting.effort.forwards}")
        for (label, length), found in times.items():
            clip = speech[: round(length * RATE)]
            began = time.perf_counter()
            embedders[label].embed([clip])
            if run > 0:  # the first one warms caches
                found.append(time.perf_counter() - began)
    return times


def _ratio(slow: list[float], quick: list[float], length: float) -> Figure:
    ratios = [one / other for one, other in zip(slow, quick, strict=True)]
    return median(f"WavLM base over CAM++, {length:g} s", ratios, "times", note="of forwards in the same run")
