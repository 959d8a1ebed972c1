"""The reason codes of decisions, each with a sentence that tells a person what to do. The codes are stable."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "match": "The voice matches.",
        "no_match": "The voice does not match. If it should, speak as at enrolment, closer to the microphone, or add "
        "an enrolment for this room or headset.",
        "ambiguous": "Another enrolled voice is too similar to tell them apart. Say more, or enrol again with more "
        "speech.",
        "unsure": "The voice is close, but not close enough to be sure. Say more, in your usual voice and close to the "
        "microphone; if it happens often, add an enrolment for this room or headset.",
        "not_one_voice": "There was more than one voice. Try again while nobody else speaks.",
        "no_speech": "Nobody spoke. Check that the microphone is not muted.",
        "too_little_speech": "Too little speech. Say a sentence or two, about three seconds.",
        "too_quiet": "The speech is too quiet. Speak closer to the microphone, or turn its level up.",
        "clipped": "The microphone is overloaded. Turn its level down, or speak from farther away.",
        "noisy": "The background noise is too loud. Speak closer to the microphone, or turn off the source of the "
        "noise.",
        "narrow_band": "The audio has the bandwidth of a telephone, as from a Bluetooth headset in a call. Use another "
        "microphone, or enrol with this one as a separate condition.",
        "not_demonstrated": "No measurement supports the error rate of this policy. Use the policy `unlock`, or "
        "calibrate with more speakers: voiceauth calibrate.",
        "nobody_enrolled": "Nobody is enrolled yet: voiceauth enroll NAME.",
        "not_enrolled": "Nobody of that name is enrolled: voiceauth enroll NAME.",
        "unusable_score": "The comparison failed, which counts as no match. See the daemon's log.",
        "embedding_failed": "The model returned no usable result, which counts as no match. See the daemon's log.",
        "not_audited": "The answer could not be written to the audit log, so it lets nobody in. Check whether the disk "
        "is full.",
        "source_lost": "The microphone was lost while listening. Try again when it is back.",
    }
)
