"""Whether a take is good enough to enrol. Every refusal has a stable reason code, and a sentence of advice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from voiceauthd.config.schema import EnrollConfig
from voiceauthd.embed.embedding import Vector
from voiceauthd.profiles.take import CountedWindow, agreement, similarity
from voiceauthd.speech.window import Quality

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "too_short": "Say a whole sentence, without long pauses.",
        "too_quiet": "Speak up, move closer to the microphone, or raise its level.",
        "clipped": "Too loud: lower the microphone's level, or move away from it.",
        "noisy": "Too much background noise: find a quieter place, or move closer to the microphone.",
        "not_one_voice": "More than one voice, or music, in this take: only one person may speak.",
        "different_voice": "This does not sound like the earlier takes: the same person must speak, in the same way. "
        "If an earlier take was somebody else's, start over (--fresh).",
        "profile_full": "The profile has the maximum number of exemplars. To start over, replace it.",
    }
)
"""What to do about a refused take, by reason code."""


@dataclass(frozen=True, slots=True)
class TakeVerdict:
    """The result of a take, and the progress of the enrolment.

    reason      stable code of a refusal, one of `ADVICE`; None for an accepted take
    advice      what the person should do; also for an accepted take of which a part was left out, or which should be
                enrolled differently
    quality     None if the take contained no speech to measure
    exemplars, net_speech   of the profile so far (seconds); with `add`, including what it had before
    """

    accepted: bool
    reason: str | None
    advice: str | None
    quality: Quality | None
    exemplars: int
    exemplars_needed: int
    net_speech: float
    net_speech_needed: float
    complete: bool


@dataclass(frozen=True, slots=True)
class TakeLimits:
    """The limits that a take must meet.

    config         level, noise, clipping
    min_speech     seconds of net speech
    min_agreement  cosine between the windows of a take, and with the exemplars so far
    """

    config: EnrollConfig
    min_speech: float
    min_agreement: float


def refusal_reason(
    take: Sequence[CountedWindow], measured: Quality | None, known: Collection[Sequence[Vector]], limits: TakeLimits
) -> str | None:
    """Return the reason code of a refusal; None for a take to keep. Every comparison is written so that NaN refuses.

    measured  the quality of the take; None if it contains no speech
    known     the vectors of the exemplars so far, one sequence per condition
    """
    config = limits.config
    if measured is None or not measured.net_speech >= limits.min_speech:
        return "too_short"
    if not measured.level_dbfs >= config.min_level_dbfs:
        return "too_quiet"
    if not measured.clipping <= config.max_clipping:
        return "clipped"
    if measured.snr_db is not None and not measured.snr_db >= config.min_snr_db:
        return "noisy"
    if not agreement(take) >= limits.min_agreement:
        return "not_one_voice"
    if known and not similarity(take, known) >= limits.min_agreement:
        return "different_voice"
    return None
