"""What the daemon would have refused before it scored: counted beside the figures, which leave nothing out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from voiceauthd.config.schema import Config
from voiceauthd.evaluation.takes import Take
from voiceauthd.profiles.take import chunks, pieces, quality


def refusals(take: Take, least_speech: float, config: Config) -> tuple[str, ...]:
    """Every reason there is against a take; NaN is one.

    least_speech  seconds of net speech
    Reasons: no_window (of those that follow none can be told), too_little_speech, too_quiet, clipped, noisy.
    """
    heard = pieces(take.windows, take.embeddings)
    if not heard:
        return ("no_window",)
    measured, limits = quality(heard), config.enroll
    passed = {
        "too_little_speech": take.net_speech >= least_speech,
        "too_quiet": measured.level_dbfs >= limits.min_level_dbfs,
        "clipped": measured.clipping <= limits.max_clipping,
        "noisy": measured.snr_db is None or measured.snr_db >= limits.min_snr_db,
    }
    return tuple(reason for reason, passes in passed.items() if not passes)


def refused_tests(tests: Iterable[Take], config: Config) -> Mapping[str, int]:
    """How many recordings there are, how many have something against them, and how many have which reason."""
    return _count([refusals(take, config.verify.speech, config) for take in tests])


def refused_enrolments(enrolments: Iterable[Sequence[Take]], config: Config) -> Mapping[str, int]:
    """The same of enrolments: those with a take that would be refused, and those with too little of good takes."""
    found = []
    for takes in enrolments:
        reasons = [refusals(take, config.speech.min_speech, config) for take in takes]
        good = [take for take, against in zip(takes, reasons, strict=True) if not against]
        exemplars = sum(len(chunks(pieces(take.windows, take.embeddings))) for take in good)
        speech = sum(take.net_speech for take in good)
        against = {reason for each in reasons for reason in each}
        if not (speech >= config.enroll.speech and exemplars >= config.enroll.exemplars):
            against.add("not_enough_speech")
        found.append(tuple(sorted(against)))
    return _count(found)


def _count(found: Sequence[tuple[str, ...]]) -> Mapping[str, int]:
    reasons = Counter(reason for each in found for reason in each)
    return {"heard": len(found), "refused": sum(bool(each) for each in found), **dict(sorted(reasons.items()))}
