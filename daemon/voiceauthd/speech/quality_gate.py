"""Before the model: is this window good enough to be compared? Refusals and flags are stable codes."""

from __future__ import annotations

from voiceauthd.config.schema import GateConfig
from voiceauthd.speech.bandwidth import NARROW_BAND
from voiceauthd.speech.window import Quality


def refusal(quality: Quality, gate: GateConfig) -> str | None:
    """`too_quiet`, `clipped` or `noisy`; None for a window that passes. NaN does not.

    Net speech is no matter here: no window is cut that has too little.
    """
    if not quality.level_dbfs >= gate.min_level_dbfs:
        return "too_quiet"
    if not quality.clipping <= gate.max_clipping:
        return "clipped"
    if quality.snr_db is not None and not quality.snr_db >= gate.min_snr_db:
        return "noisy"
    return None


def flags(quality: Quality) -> tuple[str, ...]:
    """What is worth telling of a window though it is compared: `narrow_band`, from an 8 kHz headset or a telephone."""
    narrow = quality.bandwidth is not None and not quality.bandwidth >= NARROW_BAND
    return ("narrow_band",) if narrow else ()
