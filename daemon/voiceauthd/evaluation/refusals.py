"""What the daemon would have refused before it scored: counted beside the figures, which leave nothing out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedder, Embedding
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech, on_one_clock
from voiceauthd.evaluation.scorer import pooled
from voiceauthd.profiles.enrolment import WITHIN_ONE_VOICE, Enrolment
from voiceauthd.scoring.backend import NO_BACKEND
from voiceauthd.scoring.policy import UNLOCK, make_policies
from voiceauthd.speech.quality_gate import flags, refusal
from voiceauthd.speech.window import Window


@dataclass(frozen=True, slots=True)
class Refusals:
    """Of so many that were heard, how many would have been refused.

    reasons  how many have which reason code against them; one can have several
    flags    how many have what is worth telling, and is no reason to refuse
    """

    heard: int
    refused: int
    reasons: Mapping[str, int]
    flags: Mapping[str, int]


def refusals(
    tests: Iterable[EmbeddedSpeech], enrolments: Iterable[Sequence[EmbeddedSpeech]], config: Config, embedder: Embedder
) -> Mapping[str, Refusals]:
    """Of the tests, of the enrolments, and of the takes that those are made of.

    embedder: whose model and threshold count
    """
    least = make_policies(config, embedder.threshold, NO_BACKEND)[UNLOCK].rule.agreement  # the same with any backend
    heard = list(tests)
    recordings: list[EmbeddedSpeech] = []
    takes, whole = [], []
    for enrolment in enrolments:
        of_takes, of_whole = against_enrolment(enrolment, config, embedder)
        recordings += enrolment
        takes += of_takes
        whole.append(of_whole)
    return {
        "tests": _count([against_test(take, config, least) for take in heard], map(flags_of, heard)),
        "enrolments": _count(whole, ()),
        "takes": _count(takes, map(flags_of, recordings)),
    }


def against_test(take: EmbeddedSpeech, config: Config, agreement: float) -> tuple[str, ...]:
    """Why a verification would not have come to a decision: all reasons there are, each once.

    agreement: cosine that windows of one voice have at least

    Reasons: `no_window`; where too little passed the gate before the model, those of the windows that did not
    (`too_quiet`, `clipped`, `noisy`), else `too_little_speech`; and `not_one_voice`, of what passed. NaN is a reason.
    """
    passed, against = _gated(take, config)
    voice = pooled(EmbeddedSpeech(tuple(window for window, _ in passed), tuple(each for _, each in passed), 0.0, 0))
    found = []
    if not take.windows:
        found = ["no_window"]
    elif voice is None or not voice.net_speech >= config.verify.speech:
        found = sorted(set(against)) or ["too_little_speech"]
    if voice is not None and not voice.agreement >= agreement:
        found.append("not_one_voice")
    return tuple(found)


def against_enrolment(
    takes: Sequence[EmbeddedSpeech], config: Config, embedder: Embedder
) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Of each take, why it would not have become a part of the profile; and what the whole enrolment lacks.

    Reasons of a take are those of `profiles.verdict`, of the whole `not_enough_speech` and `not_enough_exemplars`.
    """
    own = config.decision.threshold
    threshold = embedder.threshold if own is None else own
    enrolment = Enrolment(
        "enrolled",
        embedder.model,
        config.enroll,
        min_speech=config.speech.min_speech,
        min_agreement=threshold - WITHIN_ONE_VOICE,
    )
    found: list[tuple[str, ...]] = []
    for take in on_one_clock(takes):
        passed, against = _gated(take, config)
        if against and not passed:
            reason: str | None = enrolment.refuse(Counter(against).most_common(1)[0][0], None).reason
        else:
            verdict = enrolment.take([window for window, _ in passed], [each for _, each in passed], against)
            reason = verdict.reason
        found.append(() if reason is None else (reason,))
    lacking = {
        "not_enough_speech": not enrolment.net_speech >= enrolment.net_speech_needed,
        "not_enough_exemplars": not enrolment.exemplars >= enrolment.exemplars_needed,
    }
    return found, tuple(reason for reason, is_lacking in lacking.items() if is_lacking)


def flags_of(take: EmbeddedSpeech) -> Collection[str]:
    """The flags that all windows of a recording have: one that is wide tells that the channel is."""
    of_windows = [set(flags(window.quality)) for window in take.windows]
    return set.intersection(*of_windows) if of_windows else set()


def _gated(take: EmbeddedSpeech, config: Config) -> tuple[list[tuple[Window, Embedding]], list[str]]:
    """What passes the gate before the model, and why the rest does not, window by window."""
    passed, against = [], []
    for window, embedding in zip(take.windows, take.embeddings, strict=True):
        reason = refusal(window.quality, config.gate)
        if reason is None:
            passed.append((window, embedding))
        else:
            against.append(reason)
    return passed, against


def _count(found: Sequence[Collection[str]], flagged: Iterable[Collection[str]]) -> Refusals:
    return Refusals(
        heard=len(found),
        refused=sum(bool(each) for each in found),
        reasons=_totals(found),
        flags=_totals(flagged),
    )


def _totals(found: Iterable[Collection[str]]) -> Mapping[str, int]:
    return dict(sorted(Counter(code for each in found for code in each).items()))
