"""What the reason codes of decisions mean, in a sentence that tells a person what to do. The codes are stable."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "match": "The voice matches.",
        "no_match": "The voice does not match. If it should: speak as at enrolment, closer to the microphone, or add "
        "an enrolment for this room or headset.",
        "ambiguous": "Another enrolled voice is too close to tell them apart. Say more, or enrol again with more "
        "speech.",
        "no_speech": "Nobody spoke. Check that the microphone is not muted.",
        "too_little_speech": "Too little speech. Say a sentence or two, about three seconds.",
        "nobody_enrolled": "Nobody is enrolled yet: voiceauth enroll NAME.",
        "not_enrolled": "Nobody of that name is enrolled: voiceauth enroll NAME.",
        "unusable_score": "The comparison failed, which counts as no match. The daemon's log tells more.",
        "embedding_failed": "The model gave no usable answer, which counts as no match. The daemon's log tells more.",
        "source_lost": "The microphone was lost while listening. Try again when it is back.",
    }
)
