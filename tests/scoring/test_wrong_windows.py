"""Wrong windows never help: neither more of another voice, nor more windows, nor more tries.

Uses the geometry of embeddings: vectors of length 1, compared by cosine. Anna is axis 0, Ben is axis 1. The windows
share no audio, because the agreement applies only to such windows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from score_parts import MODEL, axis, embedding, profile, unit, vectors, window
from test_shipped import CAMPPLUS

from voiceauthd.config.schema import Config, VerifyConfig
from voiceauthd.embed.embedding import Vector
from voiceauthd.errors import ModelError
from voiceauthd.scoring.backend import shipped_backend
from voiceauthd.scoring.calibration import Evidence
from voiceauthd.scoring.decide import Rule, verify
from voiceauthd.scoring.decision import Decision, Outcome, Score
from voiceauthd.scoring.policy import make_policies
from voiceauthd.scoring.sequential import Verification
from voiceauthd.scoring.similarity import compare, make_gallery

CONFIG = VerifyConfig(speech=2.0, max_speech=30.0)

PEOPLE = make_gallery([profile("anna", [axis(0)]), profile("ben", [axis(1)])], MODEL)
COSINE_RULE = Rule("unlock", calibrated=False, accept=0.5, reject=0.3, margin=0.05, min_speech=1.0, agreement=0.2)
EDGE = 1e-5
"""Cosine. Embeddings are float32: closer to a bound than this, rounding decides."""

SECONDS = st.floats(1.0, 3.0)


@st.composite
def windows(
    draw: st.DrawFn, anna: tuple[float, float] = (0.2, 0.9), ben: tuple[float, float] = (-0.4, 0.4)
) -> tuple[float, Vector]:
    """Seconds, and a vector with a component of Anna, one of Ben, and a rest that is mostly the same noise.

    The common noise makes windows agree often; otherwise almost all would be refused for their agreement.
    """
    direction = draw(vectors(4))
    rest = unit(np.array([1.0, 0.0, 0.0, 0.0]) + draw(st.floats(0.0, 0.8)) * direction)
    components = draw(st.floats(*anna)), draw(st.floats(*ben))
    length = math.sqrt(max(0.0, 1.0 - components[0] ** 2 - components[1] ** 2))
    return draw(SECONDS), unit([*components, *(length * rest)])


WRONG = st.lists(windows(anna=(-0.3, -0.001), ben=(0.0, 0.4)), min_size=1, max_size=4) | st.lists(
    windows(anna=(-0.3, -0.15), ben=(-0.15, 0.4)), min_size=1, max_size=4
)
"""Windows without a positive component of Anna, and with at least as much of Ben as of her."""

SPOKEN = st.lists(windows(), min_size=1, max_size=4)


def ok(decision: Decision) -> bool:
    return decision.outcome is Outcome.ACCEPT


def pooled(spoken: Sequence[tuple[float, Vector]], rule: Rule = COSINE_RULE) -> list[Decision]:
    """Return the decision after each window, continuing after a decision."""
    verifying = Verification("anna", lambda voice: compare(voice, PEOPLE), rule, CONFIG)
    place, found = 0.0, []
    for seconds, vector in spoken:
        try:
            verifying.add(window(seconds, at=place), embedding(vector))
            found.append(verifying.decide())
        except ModelError:  # the vectors cancel out
            found.append(verifying.model_failed())
        place += seconds
    return found


# The assumptions discard many examples; test_the_windows_above_have_various_reasons checks that enough remain.
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
@given(spoken=SPOKEN, wrong=WRONG, at=st.integers(0, 4))
def test_wrong_windows_never_cause_an_accept(
    spoken: list[tuple[float, Vector]], wrong: list[tuple[float, Vector]], at: int
) -> None:
    """Enough speech that was not accepted is not accepted with windows added anywhere that have no component of the
    claimed voice. For decisions by cosine and rules with an agreement of at least 0.

    An accept needs windows that agree, so the added ones do not cancel the others; the sum gets longer but no closer.
    Not claimed: that added windows cannot make up for too little speech, nor anything about windows that are partly
    similar to the claimed voice. Two noisy windows of the right voice are closer together than each alone, which is the
    purpose of pooling.
    """
    before = pooled(spoken)[-1]
    assume(before.reason not in {"too_little_speech", "no_speech"})
    if before.score is not None:
        assume(abs(before.score.cosine - COSINE_RULE.accept) > EDGE)
    assume(before.margin is None or abs(before.margin - COSINE_RULE.margin) > EDGE)
    assume(not ok(before))
    at = min(at, len(spoken))
    assert not ok(pooled([*spoken[:at], *wrong, *spoken[at:]])[-1])


@settings(deadline=None, max_examples=150)
@given(
    spoken=SPOKEN,
    other=st.floats(-0.9, COSINE_RULE.agreement - 0.01),
    after=st.lists(windows(anna=(0.5, 1.0)), max_size=4),
    which=st.integers(0, 3),
)
def test_audio_of_two_voices_is_never_accepted(
    spoken: list[tuple[float, Vector]], other: float, after: list[tuple[float, Vector]], which: int
) -> None:
    """Once two windows that share no audio differ by more than the rule's agreement, nothing is accepted any more:
    neither a sentence begun by the owner and continued by another person, nor a recording after one's own voice."""
    one = spoken[which % len(spoken)][1].astype(np.float64)
    aside = axis(5) - float(axis(5) @ one) * one
    assume(np.linalg.norm(aside) > 0.1)
    stranger = unit(other * one + math.sqrt(1.0 - other**2) * unit(aside))
    found = pooled([*spoken, (2.0, stranger), *after])
    assert not any(map(ok, found[len(spoken) :]))


FAR = COSINE_RULE.accept * math.sqrt(COSINE_RULE.agreement)
"""Cosine of 0.22: windows farther away than this never lead to an accept. The mean of windows with an agreement of at
least `a` is no shorter than sqrt(a), so its cosine is at most the highest cosine of a window times 1/sqrt(a)."""

FAR_WINDOWS = st.lists(
    windows(anna=(-0.3, FAR - EDGE)).filter(lambda each: each[1][0] < FAR - EDGE), min_size=2, max_size=10
)


@settings(deadline=None)
@given(st.lists(FAR_WINDOWS, min_size=1, max_size=3))
def test_distant_windows_are_not_accepted_in_any_number_of_tries(
    tries: list[list[tuple[float, Vector]]],
) -> None:
    assert not any(ok(decision) for spoken in tries for decision in pooled(spoken))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ([0.45, 0.0, 0.9, 0.0, 0.0, 0.0], [-0.01, 0.0, -1.0, 0.0, 0.0, 0.0]),
        ([0.2, 0.0, 1.0, 0.0, 0.0, 0.0], [0.2, 0.0, -1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_without_the_agreement_a_wrong_window_would_help(right: list[float], wrong: list[float]) -> None:
    """It can cancel the wrong component of another window, which the agreement prevents: the properties above are not
    trivial."""
    spoken = [(3.0, unit(right)), (2.8, unit(wrong))]
    assert [ok(decision) for decision in pooled(spoken, replace(COSINE_RULE, agreement=-1.0))] == [False, True]
    assert [decision.reason for decision in pooled(spoken)][1] == "not_one_voice"


def test_the_windows_above_have_various_reasons() -> None:
    """The generated windows agree often enough, and are accepted often enough."""
    reasons: Counter[str] = Counter()

    @settings(deadline=None, max_examples=200, database=None)
    @given(spoken=SPOKEN, wrong=WRONG)
    def look(spoken: list[tuple[float, Vector]], wrong: list[tuple[float, Vector]]) -> None:
        reasons["before: " + pooled(spoken)[-1].reason] += 1
        reasons["after: " + pooled([*spoken, *wrong])[-1].reason] += 1

    look()
    assert min(reasons["before: match"], reasons["before: unsure"]) >= 10, reasons
    assert reasons["after: not_one_voice"] < 100, reasons


# By LLR, with the shipped calibration


@pytest.fixture(scope="module")
def shipped():
    backend = shipped_backend(CAMPPLUS)
    assert backend is not None
    return backend


EVIDENCE = st.builds(
    Evidence,
    normalised=st.floats(-1.0, 0.25),
    level=st.floats(0.0, 1.0),
    net_speech=st.floats(0.1, 600.0),
    exemplars=st.integers(1, 20),
    snr_db=st.none() | st.floats(-20.0, 100.0),
)


@settings(deadline=None)
@given(evidence=EVIDENCE)
def test_no_amount_of_speech_or_snr_makes_up_for_a_low_score(shipped, evidence: Evidence) -> None:
    """A normalised score of at most 0.25 is never accepted by `unlock` or `auth`."""
    llr = shipped.calibration.llr(evidence)
    policies = make_policies(Config(), 0.6, shipped)
    for name in ("unlock", "auth"):
        assert llr < policies[name].rule.accept
        assert not ok(verify("anna", [Score("anna", 1.0, evidence.normalised, llr)], 20.0, 1.0, policies[name].rule))


@settings(deadline=None)
@given(evidence=EVIDENCE, closer=st.floats(0.0, 1.0), longer=st.floats(1.0, 100.0))
def test_the_llr_rises_with_the_score_and_not_with_the_length_alone(
    shipped, evidence: Evidence, closer: float, longer: float
) -> None:
    """So padding with dissimilar speech, which cannot raise the normalised score, cannot raise the LLR either. A
    property of the shipped calibration, at a constant level against the cohort."""
    llr = shipped.calibration.llr(evidence)
    assert shipped.calibration.llr(replace(evidence, normalised=evidence.normalised + closer)) >= llr
    if evidence.normalised >= 0.0:
        assert shipped.calibration.llr(replace(evidence, net_speech=evidence.net_speech * longer)) <= llr + 1e-9
