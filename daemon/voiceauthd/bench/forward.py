"""The duration of one window's forward pass, and the ratio of WavLM to CAM++."""

from __future__ import annotations

import time

from voiceauthd.audio.block import RATE
from voiceauthd.bench.context import BenchContext
from voiceauthd.bench.models import WAVLM_BASE
from voiceauthd.bench.report import Measurement, median
from voiceauthd.bench.synthetic_audio import continuous_speech
from voiceauthd.embed.embedding import Embedder
from voiceauthd.embed.load import load_embedder

WINDOW_SECONDS = (1.5, 3.0)
"""The first window of an utterance, and all others."""


def measure_forward(context: BenchContext) -> list[Measurement]:
    """The daemon's own call: samples in, unit vector out, including the front end. The models take turns."""
    campplus, chosen, wavlm = context.models.campplus(), context.models.chosen(), context.models.named(WAVLM_BASE)
    models = list(dict.fromkeys(model for model in (campplus, chosen, wavlm) if model is not None))
    context.progress("forward: loading")
    embedders = {model.label: load_embedder(model.config) for model in models}
    times = _times_in_turn(context, embedders)
    measurements = []
    if campplus is None:
        measurements.append(Measurement("campplus", None, "ms", 0, note="not in the model cache"))
    measurements += [
        median(f"{model.label}, {length:g} s", [1000.0 * t for t in times[model.label, length]], "ms", note=model.note)
        for model in models
        for length in WINDOW_SECONDS
    ]
    if campplus is not None:
        measurements += [
            _ratio(times[wavlm.label, length], times[campplus.label, length], length) for length in WINDOW_SECONDS
        ]
    return measurements


def _times_in_turn(context: BenchContext, embedders: dict[str, Embedder]) -> dict[tuple[str, float], list[float]]:
    """Seconds of each forward pass, by model and window length."""
    speech = continuous_speech(max(WINDOW_SECONDS))
    times: dict[tuple[str, float], list[float]] = {
        (label, length): [] for label in embedders for length in WINDOW_SECONDS
    }
    for run in range(1 + context.effort.forwards):
        context.progress(f"forward: {run} of {context.effort.forwards}")
        for (label, length), found in times.items():
            clip = speech[: round(length * RATE)]
            began = time.perf_counter()
            embedders[label].embed([clip])
            if run > 0:  # the first run warms caches
                found.append(time.perf_counter() - began)
    return times


def _ratio(slow: list[float], quick: list[float], length: float) -> Measurement:
    ratios = [one / other for one, other in zip(slow, quick, strict=True)]
    return median(f"WavLM base over CAM++, {length:g} s", ratios, "times", note="of forward passes in the same run")
