"""The quality gate before the model: which windows are refused, and which are flagged. Both are stable codes."""

from __future__ import annotations

from voiceauthd.config.schema import GateConfig
from voiceauthd.speech.bandwidth import NARROW_BAND_HZ
from voiceauthd.speech.window import Quality


def refusal(quality: Quality, gate: GateConfig) -> str | None:
    """Return why a window is refused: `too_quiet`, `clipped` or `noisy`; None if it passes. NaN never passes.

    Net speech is not checked here: the segmenter cuts no window with too little of it.
    """
    if not quality.level_dbfs >= gate.min_level_dbfs:
        return "too_quiet"
    if not quality.clipping <= gate.max_clipping:
        return "clipped"
    if quality.snr_db is not None and not quality.snr_db >= gate.min_snr_db:
        return "noisy"
    return None


def flags(quality: Quality) -> tuple[str, ...]:
    """Return the remarks on a window that is not refused: `narrow_band`, from an 8 kHz headset or a telephone."""
    narrow = quality.bandwidth is not None and not quality.bandwidth >= NARROW_BAND_HZ
    return ("narrow_band",) if narrow else ()
