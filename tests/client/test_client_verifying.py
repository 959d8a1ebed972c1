"""The client says that somebody is verified for one whole answer only: the one to its own request."""

from __future__ import annotations

import time

import pytest
from client_parts import Scripted, decision, reply
from hypothesis import given
from hypothesis import strategies as st

from voiceauthd.client import Client, NoAnswerError, Verified
from voiceauthd.client.verify_result import read_verified
from voiceauthd.errors import UsageError, VoiceauthError
from voiceauthd.protocol.wire import WireError


class TestVerifying:
    def test_an_accepted_verification_says_so_in_one_place_only(self, path):
        with Scripted(path, reply(parameters=decision())) as daemon:
            verified = Client(path).verify("ann", timeout=3, nonce="n")
        assert verified.accepted is True
        assert daemon.asked[0]["parameters"] == {"name": "ann", "nonce": "n", "timeout": 3}
        with pytest.raises(TypeError, match="accepted"):
            bool(verified)

    @pytest.mark.parametrize("outcome", ["reject", "inconclusive"])
    def test_any_other_outcome_accepts_nobody(self, path, outcome):
        with Scripted(path, reply(parameters=decision(outcome=outcome, expires=None))):
            verified = Client(path).verify("ann", nonce="n")
        assert verified.accepted is False
        assert verified.outcome == outcome

    @pytest.mark.parametrize(
        "changes",
        [
            {"state": "progress"},
            {"state": None},
            {"outcome": None},
            {"outcome": True},
            {"outcome": "ACCEPT"},
            {"outcome": "accepted"},
            {"outcome": ["accept"]},
            {"name": "bob"},
            {"name": None},
            {"nonce": "m"},
            {"nonce": None},
            {"expires": None},
            {"expires": 0},
            {"expires": -1.0},
            {"expires": True},
            {"expires": "10"},
            {"reason": 7},
            {"score": "0.9"},
            {"policy": 1},
        ],
    )
    def test_a_decision_that_is_not_whole_or_about_another_request_is_an_error(self, path, changes):
        with Scripted(path, reply(parameters=decision(**changes))), pytest.raises(WireError):
            Client(path).verify("ann", nonce="n")

    def test_a_decision_that_announces_more_to_come_is_an_error(self, path):
        with Scripted(path, reply(parameters=decision(), continues=True)), pytest.raises(VoiceauthError):
            Client(path).verify("ann", nonce="n")

    def test_a_stream_that_breaks_before_its_end_verifies_nobody(self, path):
        seen: list[str] = []
        with Scripted(path, reply(parameters=decision(), continues=True)), pytest.raises(NoAnswerError):
            Client(path).verify("ann", nonce="n", on_progress=lambda one: seen.append(one["state"]))
        assert seen == ["decided"]

    def test_progress_is_told_and_the_last_reply_decides(self, path):
        seen: list[str] = []
        listening = decision(state="listening", outcome=None)
        answer = reply(parameters=listening, continues=True) + reply(parameters=decision())
        with Scripted(path, answer) as daemon:
            verified = Client(path).verify("ann", nonce="n", on_progress=lambda one: seen.append(one["state"]))
        assert (seen, verified.accepted) == (["listening"], True)
        assert daemon.asked[0]["more"] is True

    def test_every_verification_has_its_own_nonce(self, path):
        answer = reply(parameters=decision())
        with Scripted(path, answer, answer) as daemon:
            for _ in range(2):
                with pytest.raises(WireError, match="another request"):
                    Client(path).verify("ann")
        first, second = (asked["parameters"]["nonce"] for asked in daemon.asked)
        assert first != second
        assert len(first) == 32

    @pytest.mark.parametrize("policy", ["monitor", "unlock", "auth"])
    def test_the_policy_is_asked_for_and_told(self, path, policy):
        with Scripted(path, reply(parameters=decision(policy=policy))) as daemon:
            verified = Client(path).verify("ann", nonce="n", policy=policy)
        assert (verified.accepted, verified.policy) == (True, policy)
        assert daemon.asked[0]["parameters"]["policy"] == policy

    @pytest.mark.parametrize("policy", ["monitor", "unlock", None, "AUTH"])
    def test_a_decision_by_another_policy_than_the_one_asked_for_is_an_error(self, path, policy):
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
        verified = read_verified(decision(expires=0.05), "ann", "n")
        assert verified.accepted
        time.sleep(0.06)
        assert not verified.accepted

    @given(st.dictionaries(st.sampled_from(sorted(decision())), st.none() | st.booleans() | st.text(max_size=3)))
    def test_whatever_is_changed_only_the_whole_answer_accepts(self, changes):
        changed = decision() | changes
        try:
            accepted = read_verified(changed, "ann", "n").accepted
        except WireError:
            accepted = False
        essential = ("state", "outcome", "name", "nonce", "expires")
        assert not accepted or all(changed[key] == decision()[key] for key in essential)

    def test_a_deadline_that_is_no_number_accepts_nobody(self):
        verified = read_verified(decision(), "ann", "n")
        assert isinstance(verified, Verified)
        assert not verified._replace(deadline=float("nan")).accepted
