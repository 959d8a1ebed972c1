"""Counts what the daemon would have refused before scoring. The error rates themselves leave nothing out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedder, Embedding
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech, in_sequence
from voiceauthd.evaluation.scorer import pooled
from voiceauthd.profiles.enrolment import TAKE_AGREEMENT_MARGIN, Enrolment
from voiceauthd.scoring.backend import NO_BACKEND
from voiceauthd.scoring.policy import UNLOCK, make_policies
from voiceauthd.speech.quality_gate import flags, refusal
from voiceauthd.speech.window import Window


@dataclass(frozen=True, slots=True)
class Refusals:
    """How many of `total` the daemon would have refused.

    reasons  number by reason code; one recording can have several
    flags    number by flag, which is worth knowing but not a reason to refuse
    """

    total: int
    refused: int
    reasons: Mapping[str, int]
    flags: Mapping[str, int]


def count_refusals(
    tests: Iterable[EmbeddedSpeech], enrolments: Iterable[Sequence[EmbeddedSpeech]], config: Config, embedder: Embedder
) -> Mapping[str, Refusals]:
    """The refusals of "tests", of "enrolments", and of "takes", the recordings that were enrolled with.

    embedder: its model and threshold apply
    """
    agreement = make_policies(config, embedder.threshold, NO_BACKEND)[UNLOCK].rule.agreement  # same with any backend
    tested = list(tests)
    takes: list[EmbeddedSpeech] = []
    reasons_of_takes, reasons_of_enrolments = [], []
    for enrolment in enrolments:
        of_takes, of_enrolment = enrolment_refusals(enrolment, config, embedder)
        takes += enrolment
        reasons_of_takes += of_takes
        reasons_of_enrolments.append(of_enrolment)
    return {
        "tests": _count([verification_refusals(test, config, agreement) for test in tested], map(common_flags, tested)),
        "enrolments": _count(reasons_of_enrolments, ()),
        "takes": _count(reasons_of_takes, map(common_flags, takes)),
    }


def verification_refusals(test: EmbeddedSpeech, config: Config, agreement: float) -> tuple[str, ...]:
    """All reasons why a verification would not have come to a decision, each once.

    agreement: minimum cosine between windows of one voice

    Reasons: `no_window`; if too little passed the gate before the model, the reasons of the windows that did not
    (`too_quiet`, `clipped`, `noisy`), else `too_little_speech`; and `not_one_voice`, for what passed. NaN is a reason.
    """
    passed, refused = _gate(test, config)
    voice = pooled(EmbeddedSpeech(tuple(window for window, _ in passed), tuple(each for _, each in passed), 0.0, 0))
    reasons = []
    if not test.windows:
        reasons = ["no_window"]
    elif voice is None or not voice.net_speech >= config.verify.speech:
        reasons = sorted(set(refused)) or ["too_little_speech"]
    if voice is not None and not voice.agreement >= agreement:
        reasons.append("not_one_voice")
    return tuple(reasons)


def enrolment_refusals(
    takes: Sequence[EmbeddedSpeech], config: Config, embedder: Embedder
) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The reason why each take would not have become a part of the profile, and what the whole enrolment lacks.

    A take's reasons are those of `profiles.take_verdict`; the whole's are `not_enough_speech`, `not_enough_exemplars`.
    """
    configured = config.decision.threshold
    threshold = embedder.threshold if configured is None else configured
    enrolment = Enrolment(
        "enrolled",
        embedder.model,
        config.enroll,
        min_speech=config.speech.min_speech,
        min_agreement=threshold - TAKE_AGREEMENT_MARGIN,
    )
    reasons: list[tuple[str, ...]] = []
    for take in in_sequence(takes):
        passed, refused = _gate(take, config)
        if refused and not passed:
            reason: str | None = enrolment.refuse(Counter(refused).most_common(1)[0][0], None).reason
        else:
            verdict = enrolment.take([window for window, _ in passed], [each for _, each in passed], refused)
            reason = verdict.reason
        reasons.append(() if reason is None else (reason,))
    lacking = {
        "not_enough_speech": not enrolment.net_speech >= enrolment.net_speech_needed,
        "not_enough_exemplars": not enrolment.exemplars >= enrolment.exemplars_needed,
    }
    return reasons, tuple(reason for reason, is_lacking in lacking.items() if is_lacking)


def common_flags(recording: EmbeddedSpeech) -> Collection[str]:
    """The flags that all windows of a recording have: a single wideband window shows that the channel is wideband."""
    of_windows = [set(flags(window.quality)) for window in recording.windows]
    return set.intersection(*of_windows) if of_windows else set()


def _gate(recording: EmbeddedSpeech, config: Config) -> tuple[list[tuple[Window, Embedding]], list[str]]:
    """The windows that pass the gate before the model, and the reason of each window that does not."""
    passed, refused = [], []
    for window, embedding in zip(recording.windows, recording.embeddings, strict=True):
        reason = refusal(window.quality, config.gate)
        if reason is None:
            passed.append((window, embedding))
        else:
            refused.append(reason)
    return passed, refused


def _count(reasons: Sequence[Collection[str]], flags_found: Iterable[Collection[str]]) -> Refusals:
    """reasons: of each recording; empty if it would not have been refused."""
    return Refusals(
        total=len(reasons),
        refused=sum(bool(each) for each in reasons),
        reasons=_totals(reasons),
        flags=_totals(flags_found),
    )


def _totals(codes: Iterable[Collection[str]]) -> Mapping[str, int]:
    return dict(sorted(Counter(code for each in codes for code in each).items()))
