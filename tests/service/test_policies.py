"""Verify by a policy: which one it is, what it takes to be accepted, and what it tells to whom."""

from __future__ import annotations

import dataclasses
import json

import pytest
from policy_parts import (
    LISTENER,
    MALLORY,
    MANY_RATIOS,
    RALPH,
    RATIOS,
    ROOT,
    THRESHOLD,
    UNCALIBRATED,
    ask,
    ratios,
    window,
)

from voiceauthd.config.schema import Config, DecisionConfig
from voiceauthd.scoring.policy import NAMES, bounds

SECRET = ("score", "margin", "threshold")


def verify(folder, backend, cosine, **parameters):
    """The decision, as its parameters."""
    replies, _ = ask(folder, backend, [window(cosine)] * 2, "Verify", name="Ralph", timeout=0.2, **parameters)
    assert replies[-1].error is None, replies[-1]
    return replies[-1].parameters


@pytest.mark.parametrize(
    ("backend", "why"), [(UNCALIBRATED, "voiceauth calibrate"), (RATIOS, "3500 independent trials")]
)
def test_auth_that_nothing_demonstrates_is_refused_before_the_microphone_is_opened(tmp_path, backend, why):
    replies, desk = ask(tmp_path, backend, [window(1.0)], "Verify", name="Ralph", policy="auth")
    assert [reply.error for reply in replies] == ["org.voiceauthd.PolicyNotDemonstrated"]
    assert replies[0].parameters["policy"] == "auth"
    assert why in replies[0].parameters["detail"]
    assert desk.workers.opened == 0
    assert desk.state.claims.current is None


def test_auth_that_is_demonstrated_decides_by_its_own_bound(tmp_path):
    accepted = verify(tmp_path, MANY_RATIOS, 0.99, policy="auth")
    assert (accepted["outcome"], accepted["policy"]) == ("accept", "auth")
    unsure = verify(tmp_path, MANY_RATIOS, 0.9, policy="auth")
    assert (unsure["outcome"], unsure["reason"]) == ("inconclusive", "unsure")
    assert unsure["advice"]


def test_who_may_not_verify_learns_nothing_of_the_policies(tmp_path):
    replies, desk = ask(tmp_path, RATIOS, [window(1.0)], "Verify", MALLORY, name="Ralph", policy="auth")
    assert [reply.error for reply in replies] == ["org.varlink.service.PermissionDenied"]
    assert desk.workers.opened == 0


@pytest.mark.parametrize("policy", ["", "Unlock", "strict", 3])
def test_a_policy_that_there_is_not_is_refused(tmp_path, policy):
    replies, desk = ask(tmp_path, MANY_RATIOS, [window(1.0)], "Verify", name="Ralph", policy=policy)
    assert replies[0].error == "org.varlink.service.InvalidParameter"
    assert replies[0].parameters == {"parameter": "policy"}
    assert desk.workers.opened == 0


@pytest.mark.parametrize("backend", [UNCALIBRATED, RATIOS, MANY_RATIOS])
def test_the_policy_is_unlock_unless_another_is_named(tmp_path, backend):
    assert verify(tmp_path, backend, 1.0)["policy"] == "unlock"
    assert verify(tmp_path, backend, 1.0, policy=None)["policy"] == "unlock"


def test_with_a_calibration_score_and_threshold_are_ratios(tmp_path):
    for policy, rate in (("monitor", 1e-2), ("unlock", 1e-3), ("auth", 1e-4)):
        decision = verify(tmp_path, MANY_RATIOS, 0.99, policy=policy)
        assert decision["calibrated"] is True
        assert decision["score"] == pytest.approx(20.0 * 0.99 - 10.0, abs=1e-3)
        assert decision["threshold"] == pytest.approx(bounds(rate, 0.05)[0], abs=1e-3)


def test_without_one_they_are_cosines_and_the_same_for_all_policies(tmp_path):
    for policy in ("monitor", "unlock"):
        decision = verify(tmp_path, UNCALIBRATED, 0.7, policy=policy)
        assert (decision["outcome"], decision["calibrated"]) == ("accept", False)
        assert (decision["score"], decision["threshold"]) == (pytest.approx(0.7, abs=1e-4), THRESHOLD)


def test_whoever_sets_a_threshold_decides_by_cosines(tmp_path):
    config = dataclasses.replace(Config(), decision=DecisionConfig(threshold=0.8))
    decision = verify(tmp_path, MANY_RATIOS, 0.9, config=config)
    assert (decision["calibrated"], decision["threshold"]) == (False, 0.8)
    replies, _ = ask(tmp_path, MANY_RATIOS, [window(0.9)], "Verify", config=config, name="Ralph", policy="auth")
    assert replies[0].error == "org.voiceauthd.PolicyNotDemonstrated"


@pytest.mark.parametrize(
    ("cosine", "monitor", "unlock"),
    [(1.0, "accept", "accept"), (0.75, "accept", "inconclusive"), (0.5, "inconclusive", "inconclusive")],
)
def test_a_stricter_policy_asks_for_more(tmp_path, cosine, monitor, unlock):
    assert verify(tmp_path, RATIOS, cosine, policy="monitor")["outcome"] == monitor
    assert verify(tmp_path, RATIOS, cosine, policy="unlock")["outcome"] == unlock


@pytest.mark.parametrize("backend", [UNCALIBRATED, MANY_RATIOS])
@pytest.mark.parametrize("cosine", [1.0, 0.45, 0.1])
def test_an_owner_gets_decisions_and_never_a_number_to_climb_by(tmp_path, backend, cosine):
    for policy in NAMES if backend is MANY_RATIOS else ("monitor", "unlock"):
        windows = [window(cosine), window(cosine, snr_db=-10.0), window(cosine)]
        replies, _ = ask(tmp_path, backend, windows, "Verify", RALPH, name="Ralph", policy=policy, timeout=0.2)
        assert replies[-1].parameters["outcome"] in {"accept", "inconclusive", "reject"}
        for reply in replies:
            assert [reply.parameters.get(key) for key in SECRET] == [None, None, None]


@pytest.mark.parametrize("peer", [ROOT, LISTENER])
def test_who_may_see_scores_gets_those_of_an_identification(tmp_path, peer):
    replies, _ = ask(tmp_path, RATIOS, [window(0.99)] * 2, "Identify", peer, timeout=0.2)
    answer = replies[-1].parameters
    assert (answer["decision"], answer["identity"], answer["calibrated"]) == ("known", "Ralph", True)
    assert answer["score"] == pytest.approx(9.8, abs=1e-3)


class TestStatus:
    def policies(self, folder, backend):
        replies, _ = ask(folder, backend, [], "Status")
        return {policy["name"]: policy for policy in replies[-1].parameters["policies"]}

    def test_tells_what_is_demonstrated_with_how_many_trials(self, tmp_path):
        policies = self.policies(tmp_path, RATIOS)
        assert list(policies) == list(NAMES)
        assert [policies[name]["demonstrated"] for name in NAMES] == [True, True, False]
        assert [policies[name]["false_accepts"] for name in NAMES] == [1e-2, 1e-3, 1e-4]
        assert {policy["trials"] for policy in policies.values()} == {3_500}
        assert policies["auth"]["supported"] == pytest.approx(3.0 / 3_500, rel=0.01)

    def test_tells_that_nothing_is_without_a_calibration(self, tmp_path):
        for policy in self.policies(tmp_path, UNCALIBRATED).values():
            assert (policy["demonstrated"], policy["trials"], policy.get("supported")) == (False, 0, None)

    def test_tells_of_the_cohort_and_whose_it_is_to_those_who_may_know(self, tmp_path):
        for peer, sources in ((ROOT, ["made up, CC0"]), (MALLORY, [])):
            replies, _ = ask(tmp_path, RATIOS, [], "Status", peer)
            assert replies[-1].parameters["cohort"] == {"speakers": 25, "sources": sources}
        replies, _ = ask(tmp_path, UNCALIBRATED, [], "Status")
        assert replies[-1].parameters.get("cohort") is None

    def test_counts_the_windows_that_were_not_good_enough(self, tmp_path):
        replies, _ = ask(tmp_path, RATIOS, [], "Status")
        assert replies[-1].parameters["windows"] == {"cut": 9, "embedded": 5, "refused": 3, "failed": 1}

    def test_fits_into_a_message_whatever_the_cohort_says_of_itself(self, tmp_path):
        replies, _ = ask(tmp_path, ratios(100, sources=("\u20ac" * 5_000,) * 500), [], "Status")
        assert len(replies[-1].parameters["cohort"]["sources"]) > 1
        assert len(json.dumps(replies[-1].parameters)) < 64 * 1024
