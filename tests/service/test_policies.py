"""Policies: which one a verification uses, what it takes to be accepted, and who sees which numbers."""

from __future__ import annotations

import dataclasses
import json

import pytest
from inprocess_daemon import (
    CALIBRATED,
    LISTENER,
    MALLORY,
    RALPH,
    ROOT,
    THRESHOLD,
    UNCALIBRATED,
    WELL_CALIBRATED,
    ask,
    calibrated_backend,
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
    ("backend", "why"), [(UNCALIBRATED, "voiceauth calibrate"), (CALIBRATED, "3500 independent trials")]
)
def test_auth_is_refused_without_opening_the_microphone_if_it_is_not_demonstrated(tmp_path, backend, why):
    replies, daemon = ask(tmp_path, backend, [window(1.0)], "Verify", name="Ralph", policy="auth")
    assert [reply.error for reply in replies] == ["org.voiceauthd.PolicyNotDemonstrated"]
    assert replies[0].parameters["policy"] == "auth"
    assert why in replies[0].parameters["detail"]
    assert daemon.live.opened == 0
    assert daemon.state.claims.current is None


def test_a_demonstrated_auth_decides_by_its_own_bound(tmp_path):
    accepted = verify(tmp_path, WELL_CALIBRATED, 0.99, policy="auth")
    assert (accepted["outcome"], accepted["policy"]) == ("accept", "auth")
    unsure = verify(tmp_path, WELL_CALIBRATED, 0.9, policy="auth")
    assert (unsure["outcome"], unsure["reason"]) == ("inconclusive", "unsure")
    assert unsure["advice"]


def test_a_caller_who_may_not_verify_learns_nothing_about_the_policies(tmp_path):
    replies, daemon = ask(tmp_path, CALIBRATED, [window(1.0)], "Verify", MALLORY, name="Ralph", policy="auth")
    assert [reply.error for reply in replies] == ["org.varlink.service.PermissionDenied"]
    assert daemon.live.opened == 0


@pytest.mark.parametrize("policy", ["", "Unlock", 3])
def test_an_unknown_policy_is_refused(tmp_path, policy):
    replies, daemon = ask(tmp_path, WELL_CALIBRATED, [window(1.0)], "Verify", name="Ralph", policy=policy)
    assert replies[0].error == "org.varlink.service.InvalidParameter"
    assert replies[0].parameters == {"parameter": "policy"}
    assert daemon.live.opened == 0


@pytest.mark.parametrize("backend", [UNCALIBRATED, CALIBRATED, WELL_CALIBRATED])
def test_the_default_policy_is_unlock(tmp_path, backend):
    assert verify(tmp_path, backend, 1.0)["policy"] == "unlock"
    assert verify(tmp_path, backend, 1.0, policy=None)["policy"] == "unlock"


def test_with_a_calibration_score_and_threshold_are_log_likelihood_ratios(tmp_path):
    for policy, rate in (("monitor", 1e-2), ("unlock", 1e-3), ("auth", 1e-4)):
        decision = verify(tmp_path, WELL_CALIBRATED, 0.99, policy=policy)
        assert decision["calibrated"] is True
        assert decision["score"] == pytest.approx(20.0 * 0.99 - 10.0, abs=1e-3)
        assert decision["threshold"] == pytest.approx(bounds(rate, 0.05)[0], abs=1e-3)


def test_without_a_calibration_score_and_threshold_are_cosines_and_the_same_for_all_policies(tmp_path):
    for policy in ("monitor", "unlock"):
        decision = verify(tmp_path, UNCALIBRATED, 0.7, policy=policy)
        assert (decision["outcome"], decision["calibrated"]) == ("accept", False)
        assert (decision["score"], decision["threshold"]) == (pytest.approx(0.7, abs=1e-4), THRESHOLD)


def test_with_a_configured_threshold_decisions_use_cosines(tmp_path):
    config = dataclasses.replace(Config(), decision=DecisionConfig(threshold=0.8))
    decision = verify(tmp_path, WELL_CALIBRATED, 0.9, config=config)
    assert (decision["calibrated"], decision["threshold"]) == (False, 0.8)
    replies, _ = ask(tmp_path, WELL_CALIBRATED, [window(0.9)], "Verify", config=config, name="Ralph", policy="auth")
    assert replies[0].error == "org.voiceauthd.PolicyNotDemonstrated"


@pytest.mark.parametrize(
    ("cosine", "monitor", "unlock"),
    [(1.0, "accept", "accept"), (0.75, "accept", "inconclusive"), (0.5, "inconclusive", "inconclusive")],
)
def test_a_stricter_policy_needs_a_higher_score(tmp_path, cosine, monitor, unlock):
    assert verify(tmp_path, CALIBRATED, cosine, policy="monitor")["outcome"] == monitor
    assert verify(tmp_path, CALIBRATED, cosine, policy="unlock")["outcome"] == unlock


@pytest.mark.parametrize("backend", [UNCALIBRATED, WELL_CALIBRATED])
@pytest.mark.parametrize("cosine", [1.0, 0.45, 0.1])
def test_an_owner_gets_decisions_but_no_score_margin_or_threshold(tmp_path, backend, cosine):
    for policy in NAMES if backend is WELL_CALIBRATED else ("monitor", "unlock"):
        windows = [window(cosine), window(cosine, snr_db=-10.0), window(cosine)]
        replies, _ = ask(tmp_path, backend, windows, "Verify", RALPH, name="Ralph", policy=policy, timeout=0.2)
        assert replies[-1].parameters["outcome"] in {"accept", "inconclusive", "reject"}
        for reply in replies:
            assert [reply.parameters.get(key) for key in SECRET] == [None, None, None]


@pytest.mark.parametrize("peer", [ROOT, LISTENER])
def test_root_and_the_monitor_group_get_the_score_of_an_identification(tmp_path, peer):
    replies, _ = ask(tmp_path, CALIBRATED, [window(0.99)] * 2, "Identify", peer, timeout=0.2)
    answer = replies[-1].parameters
    assert (answer["decision"], answer["identity"], answer["calibrated"]) == ("known", "Ralph", True)
    assert answer["score"] == pytest.approx(9.8, abs=1e-3)


class TestStatus:
    def policies(self, folder, backend):
        replies, _ = ask(folder, backend, [], "Status")
        return {policy["name"]: policy for policy in replies[-1].parameters["policies"]}

    def test_shows_which_policies_are_demonstrated_and_with_how_many_trials(self, tmp_path):
        policies = self.policies(tmp_path, CALIBRATED)
        assert list(policies) == list(NAMES)
        assert [policies[name]["demonstrated"] for name in NAMES] == [True, True, False]
        assert [policies[name]["false_accepts"] for name in NAMES] == [1e-2, 1e-3, 1e-4]
        assert {policy["trials"] for policy in policies.values()} == {3_500}
        assert policies["auth"]["supported"] == pytest.approx(3.0 / 3_500, rel=0.01)

    def test_shows_no_policy_as_demonstrated_without_a_calibration(self, tmp_path):
        for policy in self.policies(tmp_path, UNCALIBRATED).values():
            assert (policy["demonstrated"], policy["trials"], policy.get("supported")) == (False, 0, None)

    def test_shows_the_cohort_and_its_sources_only_to_administrators(self, tmp_path):
        for peer, sources in ((ROOT, ["made up, CC0"]), (MALLORY, [])):
            replies, _ = ask(tmp_path, CALIBRATED, [], "Status", peer)
            assert replies[-1].parameters["cohort"] == {"speakers": 25, "sources": sources}
        replies, _ = ask(tmp_path, UNCALIBRATED, [], "Status")
        assert replies[-1].parameters.get("cohort") is None

    def test_counts_the_refused_windows(self, tmp_path):
        replies, _ = ask(tmp_path, CALIBRATED, [], "Status")
        assert replies[-1].parameters["windows"] == {"cut": 9, "embedded": 5, "refused": 3, "failed": 1}

    def test_fits_into_a_message_however_long_the_sources_of_the_cohort_are(self, tmp_path):
        replies, _ = ask(tmp_path, calibrated_backend(100, sources=("\u20ac" * 5_000,) * 500), [], "Status")
        assert len(replies[-1].parameters["cohort"]["sources"]) > 1
        assert len(json.dumps(replies[-1].parameters)) < 64 * 1024
