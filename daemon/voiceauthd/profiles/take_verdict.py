"""Is a take good enough to enrol? Every refusal has a stable reason code, and a sentence that tells what to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from voiceauthd.config.schema import EnrollConfig
from voiceauthd.embed.embedding import Vector
from voiceauthd.profiles.take import Piece, agreement, likeness
from voiceauthd.speech.window import Quality

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "too_short": "Say a whole sentence, without long pauses.",
        "too_quiet": "Speak up, come closer to the microphone, or raise its level.",
        "clipped": "Too loud: lower the microphone's level, or move away from it.",
        "noisy": "Too much noise around: find a quieter place, or come closer to the microphone.",
        "not_one_voice": "More than one voice, or music, in this take: let only one person speak.",
        "different_voice": "This does not sound like the takes before: the same person must speak, in the same way. "
        "If an earlier take was somebody else, start over.",
        "profile_full": "The profile holds all the exemplars that it can. To start over, replace it.",
    }
)
"""What to do about a take that is refused, by the reason code."""


@dataclass(frozen=True, slots=True)
class TakeVerdict:
    """What was made of a take, and how far the enrolment is.

    reason      stable code of a refusal, one of `ADVICE`; None for an accepted take
    advice      what the person should do; an accepted take has some when a part of it was left out, or when it should
                be enrolled in another way
    quality     None if the take held nothing to measure
    exemplars, net_speech   of the profile as it would be now; seconds; with `add`, together with what it had before
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
class Limits:
    """What a take is held against.

    config      levels, noise, clipping
    min_speech  seconds of net speech
    min_agreement  cosine between the windows of a take, and with the exemplars before
    """

    config: EnrollConfig
    min_speech: float
    min_agreement: float


def refusal(
    take: Sequence[Piece], measured: Quality | None, known: Collection[Sequence[Vector]], limits: Limits
) -> str | None:
    """The reason code against a take; None for one to keep. Every comparison is such that NaN refuses.

    measured  the quality of the take; None if nothing was heard
    known     the exemplars so far, those of each condition together
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
    if known and not likeness(take, known) >= limits.min_agreement:
        return "different_voice"
    return None
