"""Simulates whole sessions under each policy: how often somebody who keeps trying is accepted.

In a session one person claims one identity and speaks all of that person's recordings in the list, one by one. Each try
is a verification as the daemon runs it: the gate, window after window until there is a decision, the timeout; the next
try gets the audio that follows. After `TRIES` tries, or at the end of the audio, the session is over. It counts as
accepted if any try was: this is the false-accept rate for a stranger at the microphone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from voiceauthd.audio.block import RATE
from voiceauthd.config.schema import Config
from voiceauthd.embed.embedding import Embedding, ModelId
from voiceauthd.errors import ModelError
from voiceauthd.evaluation.embedded_recording import EmbeddedSpeech, in_sequence
from voiceauthd.evaluation.error_rates import CONFIDENCE
from voiceauthd.evaluation.scorer import ENROLLED, Enrolments, Scorer, Tests, enrol, gallery_of
from voiceauthd.evaluation.trials import Trial
from voiceauthd.profiles.profile import Profile
from voiceauthd.scoring.confidence_limits import clopper_pearson
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.decision import Outcome
from voiceauthd.scoring.policy import NAMES, make_policies
from voiceauthd.scoring.sequential import Compare, Verification
from voiceauthd.scoring.similarity import compare
from voiceauthd.speech.quality_gate import refusal
from voiceauthd.speech.window import Window

TRIES = 3
"""Tries per session, as with `pam_unix` and most lock screens."""

EmbeddedWindows = tuple[tuple[Window, Embedding], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """`count` out of `of`. `low`, `high`: the interval at `CONFIDENCE` (Clopper & Pearson 1934), 0 to 1."""

    count: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The fraction; None if `of` is 0."""
        return self.count / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class PolicySessions:
    """The results of all sessions under one policy.

    false_accepts   the rate that the policy aims at
    first_target, first_nontarget   sessions accepted at the first try
    target, nontarget   sessions accepted at any try
    too_short       number of target sessions in which no try had enough speech for a decision
    net_speech      median seconds of speech until a target was accepted; None if none was
    """

    name: str
    calibrated: bool
    false_accepts: float
    first_target: Share
    first_nontarget: Share
    target: Share
    nontarget: Share
    too_short: int
    net_speech: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one session.

    accepted    the try that was accepted, from 1; 0: none
    net_speech  seconds of speech in that try; if none was accepted, in the longest try
    """

    accepted: int
    net_speech: float


def simulate(
    trials: Sequence[Trial],
    enrolments: Enrolments,
    tests: Tests,
    scorer: Scorer,
    config: Config,
    model: ModelId,
    threshold: float,
) -> list[PolicySessions]:
    """Run every session in the list under every policy. threshold: the model's own cosine.

    Enrolments without a window of speech get no session: nobody enrols like that.
    """
    results: dict[str, list[tuple[bool, Result]]] = {name: [] for name in NAMES}
    # The backends of all trials are of one kind, calibrated or not.
    policies = make_policies(config, threshold, scorer.backend_for(trials[0]))
    for own, profile in _sessions(trials, enrolments, model):
        backend = scorer.backend_for(own[0])
        windows = _windows([tests[trial.test_path] for trial in own])
        compare_with = partial(compare, gallery=gallery_of(profile, model, backend))
        for name in NAMES:
            results[name].append((own[0].target, run_session(windows, compare_with, policies[name].rule, config)))
    return [
        _summary(name, policies[name].rule, policies[name].false_accepts, results[name], config.verify.speech)
        for name in NAMES
    ]


def run_session(windows: EmbeddedWindows, compare_with: Compare, rule: Rule, config: Config) -> Result:
    """Try until one try is accepted, at most `TRIES` times.

    windows: with rising positions, including those that the gate will refuse

    No audio is used twice: windows that began before the last try ended are lost, as with the daemon, which listens
    only from the request on. So all speech of a try's first window is new.
    """
    waiting, ended, longest = deque(windows), 0, 0.0
    for attempt in range(1, TRIES + 1):
        while waiting and waiting[0][0].start < ended:
            waiting.popleft()
        if not waiting:
            break
        first, embedding = waiting.popleft()
        waiting.appendleft((replace(first, new_speech=first.quality.net_speech), embedding))
        verification = Verification(ENROLLED, compare_with, rule, config.verify)
        accepted, ended = _attempt(verification, waiting, config)
        if accepted:
            return Result(attempt, verification.net_speech)
        longest = max(longest, verification.net_speech)
    return Result(0, longest)


def share(count: int, of: int) -> Share:
    """The share with its exact interval."""
    return Share(count, of, *clopper_pearson(count, of, (1.0 - CONFIDENCE) / 2.0))


def _attempt(verification: Verification, waiting: deque[tuple[Window, Embedding]], config: Config) -> tuple[bool, int]:
    """Use windows until there is a decision or the timeout. Return whether it accepts, and the sample at which it
    ended."""
    ended = waiting[0][0].start
    timeout = ended + round(config.verify.timeout * RATE)
    while waiting:
        window, embedding = waiting[0]
        if window.end > timeout:
            return False, timeout
        waiting.popleft()
        ended = window.end
        reason = refusal(window.quality, config.gate)
        if reason is not None:
            verification.add_refusal(reason)
            continue
        try:
            decision = verification.add(window, embedding)
        except ModelError:
            return False, ended
        if decision is not None:
            return decision.outcome is Outcome.ACCEPT, ended
    return False, ended


def _sessions(
    trials: Sequence[Trial], enrolments: Enrolments, model: ModelId
) -> Iterator[tuple[Sequence[Trial], Profile]]:
    """The trials of each pair of enrolment and tested person, with the enrolment's profile."""
    grouped: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        grouped.setdefault((trial.enroll_id, trial.test_speaker), []).append(trial)
    profiles = {name: enrol(takes, model) for name, takes in enrolments.items()}
    for (enroll_id, _), own in grouped.items():
        profile = profiles[enroll_id]
        if profile is not None:
            yield own, profile


def _windows(recordings: Sequence[EmbeddedSpeech]) -> EmbeddedWindows:
    return tuple(
        each
        for recording in in_sequence(recordings)
        for each in zip(recording.windows, recording.embeddings, strict=True)
    )


def _summary(
    name: str, rule: Rule, false_accepts: float, results: Sequence[tuple[bool, Result]], min_speech: float
) -> PolicySessions:
    targets = [result for target, result in results if target]
    nontargets = [result for target, result in results if not target]
    speech = [result.net_speech for result in targets if result.accepted]
    return PolicySessions(
        name=name,
        calibrated=rule.calibrated,
        false_accepts=false_accepts,
        first_target=_share(targets, 1),
        first_nontarget=_share(nontargets, 1),
        target=_share(targets, TRIES),
        nontarget=_share(nontargets, TRIES),
        too_short=sum(not result.net_speech >= min_speech for result in targets),
        net_speech=float(np.median(speech)) if speech else None,
    )


def _share(results: Sequence[Result], tries: int) -> Share:
    return share(sum(1 <= result.accepted <= tries for result in results), len(results))
