"""Policies: their bounds, and whether trials demonstrate their error rates."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from score_parts import calibration, score, strangers

from voiceauthd.config.schema import Config, DecisionConfig, PoliciesConfig
from voiceauthd.errors import UsageError
from voiceauthd.scoring.backend import NO_BACKEND, Backend
from voiceauthd.scoring.decide import verify
from voiceauthd.scoring.decision import Outcome
from voiceauthd.scoring.policy import (
    AUTH,
    MONITOR,
    NAMES,
    REJECT_MARGIN,
    UNLOCK,
    Policy,
    bounds,
    make_policies,
    require_usable,
)

THRESHOLD = 0.55
RATES = st.floats(1e-6, 0.5)
CONFIG = Config()


def backend(**changes: object) -> Backend:
    return Backend(strangers(), calibration(**changes))


def refused(policy: Policy) -> str:
    with pytest.raises(UsageError) as caught:
        require_usable(policy)
    assert caught.value.reason == "not_demonstrated"
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The bounds


@pytest.mark.parametrize(
    ("false_accepts", "false_rejects", "accept", "reject"),
    [(1e-2, 0.05, 4.5539, -2.9857), (1e-3, 0.05, 6.8565, -2.9947), (1e-4, 0.05, 9.1590, -2.9956), (0.5, 0.5, 0, 0)],
)
def test_the_bounds_are_those_of_wald(false_accepts: float, false_rejects: float, accept: float, reject: float) -> None:
    assert bounds(false_accepts, false_rejects) == pytest.approx((accept, reject), abs=1e-4)


@given(false_accepts=RATES, false_rejects=st.floats(1e-3, 0.5))
def test_a_stranger_reaches_the_bound_at_the_target_rate(false_accepts: float, false_rejects: float) -> None:
    # A stranger reaches a likelihood ratio of exp(bound) with a probability of at most exp(-bound).
    accept, reject = bounds(false_accepts, false_rejects)
    assert math.exp(-accept) * (1.0 - false_rejects) == pytest.approx(false_accepts)
    assert math.exp(reject) * (1.0 - false_accepts) == pytest.approx(false_rejects)
    assert reject <= 0.0 <= accept


@given(one=RATES, other=RATES, false_rejects=st.floats(1e-3, 0.5))
def test_a_stricter_policy_has_a_higher_bound(one: float, other: float, false_rejects: float) -> None:
    assume(one < 0.999 * other)
    assert bounds(one, false_rejects)[0] > bounds(other, false_rejects)[0]


# The policies of a configuration


def test_there_is_a_policy_for_each_rate_from_lax_to_strict() -> None:
    policies = make_policies(CONFIG, THRESHOLD, backend())
    assert tuple(policies) == NAMES == (MONITOR, UNLOCK, AUTH)
    assert [policies[name].false_accepts for name in NAMES] == [1e-2, 1e-3, 1e-4]
    accepts = [policies[name].rule.accept for name in NAMES]
    assert accepts == sorted(set(accepts))
    for name in NAMES:
        policy = policies[name]
        assert (policy.name, policy.rule.policy, policy.rule.calibrated) == (name, name, True)
        assert (policy.rule.accept, policy.rule.reject) == bounds(policy.false_accepts, 0.05)
        assert policy.rule.margin == CONFIG.decision.margin
        assert policy.rule.min_speech == CONFIG.decision.min_speech
        assert policy.rule.agreement < THRESHOLD


def test_the_rates_come_from_the_configuration() -> None:
    config = replace(CONFIG, policies=PoliciesConfig(monitor=0.1, unlock=0.05, auth=0.02, false_rejects=0.2))
    policies = make_policies(config, THRESHOLD, backend())
    assert [policies[name].false_accepts for name in NAMES] == [0.1, 0.05, 0.02]
    assert policies[UNLOCK].rule.accept == pytest.approx(math.log(0.8 / 0.05))


@pytest.mark.parametrize("without", [NO_BACKEND, Backend(strangers())])
def test_without_a_calibration_the_cosine_decides_and_nothing_is_demonstrated(without: Backend) -> None:
    for policy in make_policies(CONFIG, THRESHOLD, without).values():
        assert not policy.rule.calibrated
        assert policy.rule.accept == THRESHOLD
        assert policy.rule.reject == pytest.approx(THRESHOLD - REJECT_MARGIN)
        assert (policy.trials, policy.supported, policy.demonstrated) == (0, None, False)


@pytest.mark.parametrize("either", [NO_BACKEND, backend(pairs=1_000_000)])
def test_with_a_configured_threshold_the_cosine_decides(either: Backend) -> None:
    config = replace(CONFIG, decision=DecisionConfig(threshold=0.7))
    for policy in make_policies(config, THRESHOLD, either).values():
        assert not policy.rule.calibrated
        assert policy.rule.accept == 0.7
        assert not policy.demonstrated
        found = [score("anna", 0.69)]
        assert verify("anna", found, 3.0, 1.0, policy.rule).outcome is not Outcome.ACCEPT
        assert verify("anna", [score("anna", 0.7)], 3.0, 1.0, policy.rule).outcome is Outcome.ACCEPT


def test_a_configured_threshold_of_0_is_used() -> None:
    config = replace(CONFIG, decision=DecisionConfig(threshold=0.0))
    assert make_policies(config, THRESHOLD, backend())[UNLOCK].rule.accept == 0.0


# Demonstrated rates


def test_each_policy_has_the_rate_that_its_trials_support() -> None:
    policies = make_policies(CONFIG, THRESHOLD, backend(pairs=3000, alarms=(7.5, 5.0)))
    # Two pairs are above the bound of `monitor` (4.6), one above that of `unlock` (6.9), none above `auth` (9.2).
    supported = [policies[name].supported for name in NAMES]
    assert supported == [calibration(pairs=3000, alarms=(9.0,) * errors).supported_rate(0.0) for errors in (2, 1, 0)]
    assert [policies[name].trials for name in NAMES] == [3000] * 3
    assert [policies[name].demonstrated for name in NAMES] == [True, False, False]


def test_a_rate_needs_3_over_the_rate_pairs() -> None:
    enough, too_few = (make_policies(CONFIG, THRESHOLD, backend(pairs=pairs)) for pairs in (29_960, 29_950))
    assert enough[AUTH].demonstrated
    assert not too_few[AUTH].demonstrated


@pytest.mark.parametrize("supported", [math.nan, math.inf, 1.0, None])
def test_a_missing_or_invalid_rate_demonstrates_nothing(supported: float | None) -> None:
    rule = make_policies(CONFIG, THRESHOLD, backend())[AUTH].rule
    assert not Policy(AUTH, rule, 1e-4, 1000, supported).demonstrated


def test_auth_is_refused_until_it_is_demonstrated() -> None:
    policies = make_policies(CONFIG, THRESHOLD, backend(pairs=3000))
    message = refused(policies[AUTH])
    assert "3000 independent trials" in message
    assert "1.0e-03" in message
    assert UNLOCK in message
    require_usable(make_policies(CONFIG, THRESHOLD, backend(pairs=30_000))[AUTH])


def test_the_other_policies_are_usable_without_being_demonstrated() -> None:
    for either in (NO_BACKEND, backend(pairs=0)):
        policies = make_policies(CONFIG, THRESHOLD, either)
        for name in (MONITOR, UNLOCK):
            require_usable(policies[name])
            assert not policies[name].demonstrated


def test_auth_is_refused_without_a_calibration_and_with_a_threshold() -> None:
    assert "voiceauth calibrate" in refused(make_policies(CONFIG, THRESHOLD, NO_BACKEND)[AUTH])
    config = replace(CONFIG, decision=DecisionConfig(threshold=0.7))
    assert "decision.threshold" in refused(make_policies(config, THRESHOLD, backend(pairs=1_000_000))[AUTH])
