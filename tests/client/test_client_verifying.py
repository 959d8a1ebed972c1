"""The client accepts a verification only for one complete answer: the one to its own request."""

from __future__ import annotations

import time

import pytest
from client_parts import Scripted, decision, reply
from hypothesis import given
from hypothesis import strategies as st

from voiceauthd.client import Client, NoAnswerError, VerifyResult
from voiceauthd.client.verify_result import read_verify_result
from voiceauthd.errors import UsageError, VoiceauthError
from voiceauthd.protocol.wire import WireError


class TestVerifying:
    def test_an_accepted_verification_has_accepted_but_no_truth_value(self, path):
        with Scripted(path, reply(parameters=decision())) as daemon:
            result = Client(path).verify("ann", timeout=3, nonce="n")
        assert result.accepted is True
        assert daemon.calls[0]["parameters"] == {"name": "ann", "nonce": "n", "timeout": 3}
        with pytest.raises(TypeError, match="accepted"):
            bool(result)

    @pytest.mark.parametrize("outcome", ["reject", "inconclusive"])
    def test_any_other_outcome_accepts_nobody(self, path, outcome):
        with Scripted(path, reply(parameters=decision(outcome=outcome, expires=None))):
            result = Client(path).verify("ann", nonce="n")
        assert result.accepted is False
        assert result.outcome == outcome

    @pytest.mark.parametrize(
        "changes",
        [
            {"state": "progress"},
            {"outcome": None},
            {"outcome": True},
            {"outcome": "ACCEPT"},
            {"outcome": ["accept"]},
            {"name": "bob"},
            {"nonce": "m"},
            {"nonce": None},
            {"expires": None},
            {"expires": 0},
            {"expires": True},
            {"reason": 7},
            {"score": "0.9"},
            {"policy": 1},
        ],
    )
    def test_an_incomplete_decision_or_one_about_another_request_is_an_error(self, path, changes):
        with Scripted(path, reply(parameters=decision(**changes))), pytest.raises(WireError):
            Client(path).verify("ann", nonce="n")

    def test_a_decision_with_continues_is_an_error(self, path):
        with Scripted(path, reply(parameters=decision(), continues=True)), pytest.raises(VoiceauthError):
            Client(path).verify("ann", nonce="n")

    def test_a_stream_that_breaks_before_its_end_verifies_nobody(self, path):
        seen: list[str] = []
        with Scripted(path, reply(parameters=decision(), continues=True)), pytest.raises(NoAnswerError):
            Client(path).verify("ann", nonce="n", on_progress=lambda one: seen.append(one["state"]))
        assert seen == ["decided"]

    def test_progress_is_reported_and_the_last_reply_decides(self, path):
        seen: list[str] = []
        listening = decision(state="listening", outcome=None)
        answer = reply(parameters=listening, continues=True) + reply(parameters=decision())
        with Scripted(path, answer) as daemon:
            result = Client(path).verify("ann", nonce="n", on_progress=lambda one: seen.append(one["state"]))
        assert (seen, result.accepted) == (["listening"], True)
        assert daemon.calls[0]["more"] is True

    def test_every_verification_has_its_own_nonce(self, path):
        answer = reply(parameters=decision())
        with Scripted(path, answer, answer) as daemon:
            for _ in range(2):
                with pytest.raises(WireError, match="another request"):
                    Client(path).verify("ann")
        first, second = (request["parameters"]["nonce"] for request in daemon.calls)
        assert first != second
        assert len(first) == 32

    def test_the_policy_is_sent_and_returned(self, path):
        with Scripted(path, reply(parameters=decision(policy="auth"))) as daemon:
            result = Client(path).verify("ann", nonce="n", policy="auth")
        assert (result.accepted, result.policy) == (True, "auth")
        assert daemon.calls[0]["parameters"]["policy"] == "auth"

    @pytest.mark.parametrize("policy", ["unlock", None, "AUTH"])
    def test_a_decision_by_another_policy_than_requested_is_an_error(self, path, policy):
        answer = reply(parameters=decision(policy=policy))
        with Scripted(path, answer), pytest.raises(WireError, match="policy"):
            Client(path).verify("ann", nonce="n", policy="auth")

    def test_a_policy_that_is_not_demonstrated_verifies_nobody(self, path):
        parameters = {"policy": "auth", "detail": "too few trials"}
        answer = reply(error="org.voiceauthd.PolicyNotDemonstrated", parameters=parameters)
        with Scripted(path, answer), pytest.raises(UsageError, match="too few trials") as refused:
            Client(path).verify("ann", nonce="n", policy="auth")
        assert refused.value.reason == "not_demonstrated"

    def test_an_accepted_verification_expires(self):
        result = read_verify_result(decision(expires=0.05), "ann", "n")
        assert result.accepted
        time.sleep(0.06)
        assert not result.accepted

    @given(st.dictionaries(st.sampled_from(sorted(decision())), st.none() | st.booleans() | st.text(max_size=3)))
    def test_only_the_complete_answer_accepts_whatever_is_changed(self, changes):
        changed = decision() | changes
        try:
            accepted = read_verify_result(changed, "ann", "n").accepted
        except WireError:
            accepted = False
        essential = ("state", "outcome", "name", "nonce", "expires")
        assert not accepted or all(changed[key] == decision()[key] for key in essential)

    def test_a_deadline_that_is_not_a_number_accepts_nobody(self):
        result = read_verify_result(decision(), "ann", "n")
        assert isinstance(result, VerifyResult)
        assert not result._replace(deadline=float("nan")).accepted
