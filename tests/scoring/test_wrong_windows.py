"""That wrong windows never help: more of another voice, more of them, more tries. And what exactly that means.

By the geometry of real embeddings: rows of length 1, compared by their cosine. Anna is axis 0, Ben is axis 1. Windows
share no sound: of those that do, the agreement says nothing.
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
from score_parts import MODEL, axis, embedding, profile, unit, window
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
"""Cosine. Embeddings are float32: closer to a bound than this, which side it is on is a matter of rounding."""

SECONDS = st.floats(1.0, 3.0)
PLACE = st.floats(-1.0, 1.0)


@st.composite
def windows(draw: st.DrawFn, anna: tuple[float, float] = (0.2, 0.9), ben: float = 0.4) -> tuple[float, Vector]:
    """Seconds, and a direction: a share of Anna, one of Ben, and for the rest mostly the same noise, so that windows
    often agree; else next to nothing that is drawn would be held against any other bound."""
    rest = np.array([1.0, 0.0, 0.0, 0.0]) + draw(st.floats(0.0, 0.8)) * np.array(
        draw(st.lists(PLACE, min_size=4, max_size=4))
    )
    assume(np.linalg.norm(rest) > 0.1)
    own = draw(st.floats(*anna)), draw(st.floats(-ben, ben))
    beside = math.sqrt(max(0.0, 1.0 - own[0] ** 2 - own[1] ** 2))
    return draw(SECONDS), unit([*own, *(beside * unit(rest))])


def nothing_of_anna(said: tuple[float, Vector]) -> bool:
    """Nothing of the claimed voice, and no less of the other enrolled one than of the claimed one."""
    return said[1][0] <= -EDGE and said[1][1] >= said[1][0]


WRONG = st.lists(windows(anna=(-0.3, 0.0)).filter(nothing_of_anna), min_size=1, max_size=4)
HEARD = st.lists(windows(), min_size=1, max_size=4)


def ok(decision: Decision) -> bool:
    return decision.outcome is Outcome.ACCEPT


def pooled(heard: Sequence[tuple[float, Vector]], rule: Rule = COSINE_RULE) -> list[Decision]:
    """What there would be to say after each window, as if none had ended it."""
    verifying = Verification("anna", lambda voice: compare(voice, PEOPLE), rule, CONFIG)
    place, found = 0.0, []
    for seconds, vector in heard:
        try:
            verifying.hear(window(seconds, at=place), embedding(vector))
            found.append(verifying.decide())
        except ModelError:  # they cancel out
            found.append(verifying.failed())
        place += seconds
    return found


# Most of what is drawn is decided one way or the other; the last test of this file holds that enough of it is of use.
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
@given(heard=HEARD, wrong=WRONG, at=st.integers(0, 4))
def test_wrong_windows_never_turn_a_non_accept_into_an_accept(
    heard: list[tuple[float, Vector]], wrong: list[tuple[float, Vector]], at: int
) -> None:
    """By cosines, and for rules whose agreement is not below 0: speech that was enough to decide on, and did not
    accept, does not accept with windows added, before, between or behind, that have nothing of the claimed voice.

    Why: an accept needs windows that agree, so what is added does not cancel what was heard; the sum gets longer, and
    no closer. Not claimed: that what is added cannot make up for too little speech (the next test is about that), nor
    anything of windows that are partly like the claimed voice. Two noisy windows of the right voice are closer together
    than each; that is what pooling is for.
    """
    before = pooled(heard)[-1]
    assume(before.reason not in {"too_little_speech", "no_speech"})
    if before.score is not None:
        assume(abs(before.score.cosine - COSINE_RULE.accept) > EDGE)
    assume(before.margin is None or abs(before.margin - COSINE_RULE.margin) > EDGE)
    assume(not ok(before))
    at = min(at, len(heard))
    assert not ok(pooled([*heard[:at], *wrong, *heard[at:]])[-1])


@settings(deadline=None, max_examples=150)
@given(
    heard=HEARD,
    other=st.floats(-0.9, COSINE_RULE.agreement - 0.01),
    after=st.lists(windows(anna=(0.5, 1.0)), max_size=4),
    which=st.integers(0, 3),
)
def test_sound_of_two_voices_is_not_accepted_whatever_follows(
    heard: list[tuple[float, Vector]], other: float, after: list[tuple[float, Vector]], which: int
) -> None:
    """Once two windows that share no sound are less alike than the rule's agreement, nothing accepts any more: neither
    the owner's half a sentence that somebody goes on from, nor a recording behind one's own voice."""
    one = heard[which % len(heard)][1].astype(np.float64)
    aside = axis(5) - float(axis(5) @ one) * one
    assume(np.linalg.norm(aside) > 0.1)
    stranger = unit(other * one + math.sqrt(1.0 - other**2) * unit(aside))
    found = pooled([*heard, (2.0, stranger), *after])
    assert not any(map(ok, found[len(heard) :]))


FAR = COSINE_RULE.accept * math.sqrt(COSINE_RULE.agreement)
"""Cosine below which no window may be of who is accepted: 0.22. The mean of windows that agree by `a` at least is no
shorter than sqrt(a), so it is closer to anybody than the closest of them by a factor of 1/sqrt(a) at most."""

FAR_WINDOWS = st.lists(
    windows(anna=(-0.3, FAR - EDGE)).filter(lambda said: said[1][0] < FAR - EDGE), min_size=2, max_size=10
)


@settings(deadline=None)
@given(st.lists(FAR_WINDOWS, min_size=1, max_size=3))
def test_no_number_of_tries_and_windows_of_a_voice_that_is_far_accepts(
    tries: list[list[tuple[float, Vector]]],
) -> None:
    """Whatever they are, in any order and any number of tries: windows farther than `FAR` from the claimed voice."""
    assert not any(ok(decision) for heard in tries for decision in pooled(heard))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ([0.45, 0.0, 0.9, 0.0, 0.0, 0.0], [-0.01, 0.0, -1.0, 0.0, 0.0, 0.0]),
        ([0.2, 0.0, 1.0, 0.0, 0.0, 0.0], [0.2, 0.0, -1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_without_an_agreement_a_wrong_window_would_help(right: list[float], wrong: list[float]) -> None:
    """It can cancel what was wrong with another one. So the properties above say something, and this is what the
    agreement is for."""
    heard = [(3.0, unit(right)), (2.8, unit(wrong))]
    assert [ok(decision) for decision in pooled(heard, replace(COSINE_RULE, agreement=-1.0))] == [False, True]
    assert [decision.reason for decision in pooled(heard)][1] == "not_one_voice"


def test_the_windows_above_are_not_all_refused_for_one_reason() -> None:
    """What is drawn agrees often enough to be held against the bounds, and is accepted often enough."""
    reasons: Counter[str] = Counter()

    @settings(deadline=None, max_examples=200, database=None)
    @given(heard=HEARD, wrong=WRONG)
    def look(heard: list[tuple[float, Vector]], wrong: list[tuple[float, Vector]]) -> None:
        reasons["before: " + pooled(heard)[-1].reason] += 1
        reasons["after: " + pooled([*heard, *wrong])[-1].reason] += 1

    look()
    assert min(reasons["before: match"], reasons["before: unsure"]) >= 10, reasons
    assert reasons["after: not_one_voice"] < 100, reasons


# By ratios, with the calibration that comes with the package


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
def test_no_amount_of_speech_or_quiet_makes_up_for_a_voice_that_is_not_alike(shipped, evidence: Evidence) -> None:
    """A normalised score of 0.25 and less is no accept by `unlock` or `auth`, however long, clean and well enrolled."""
    ratio = shipped.calibration.llr(evidence)
    policies = make_policies(Config(), 0.6, shipped)
    for name in ("unlock", "auth"):
        assert ratio < policies[name].rule.accept
        assert not ok(verify("anna", [Score("anna", 1.0, evidence.normalised, ratio)], 20.0, 1.0, policies[name].rule))


@settings(deadline=None)
@given(evidence=EVIDENCE, closer=st.floats(0.0, 1.0), longer=st.floats(1.0, 100.0))
def test_a_closer_voice_has_a_higher_ratio_and_a_longer_one_that_is_not_closer_has_not(
    shipped, evidence: Evidence, closer: float, longer: float
) -> None:
    """So that padding with more of what is not alike, which cannot raise the normalised score, cannot raise the ratio
    either. A property of the shipped calibration, where the level against the cohort stays what it is."""
    ratio = shipped.calibration.llr(evidence)
    assert shipped.calibration.llr(replace(evidence, normalised=evidence.normalised + closer)) >= ratio
    if evidence.normalised >= 0.0:
        assert shipped.calibration.llr(replace(evidence, net_speech=evidence.net_speech * longer)) <= ratio + 1e-9
