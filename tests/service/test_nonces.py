"""Nonces: each is accepted once."""

from __future__ import annotations

import pytest
from inprocess_daemon import LISTENER, ROOT, UNCALIBRATED, outcome, run_scenario, window

from voiceauthd.protocol.interface import MismatchError
from voiceauthd.service.nonces import MAX_NONCES, Nonces


def test_a_nonce_is_good_once():
    nonces = Nonces()
    nonces.use("4711")
    nonces.use("4712")
    for _ in range(2):
        with pytest.raises(MismatchError) as caught:
            nonces.use("4711")
        assert caught.value.parameter == "nonce"


def test_a_missing_nonce_is_not_remembered_and_an_empty_one_is():
    nonces = Nonces()
    for _ in range(3):
        nonces.use(None)
    nonces.use("")
    with pytest.raises(MismatchError):
        nonces.use("")


@pytest.mark.parametrize("nonce", ["\ud800", "x" * 60_000, "\x00", "é"])
def test_a_nonce_may_be_any_text(nonce):
    nonces = Nonces()
    nonces.use(nonce)
    nonces.use(nonce + " ")
    with pytest.raises(MismatchError):
        nonces.use(nonce)


def test_the_number_of_nonces_kept_is_bounded():
    nonces = Nonces()
    for number in range(MAX_NONCES):
        nonces.use(f"{number}" + 1_000 * "x")
    with pytest.raises(MismatchError):
        nonces.use("0" + 1_000 * "x")
    nonces.use("one more")
    assert len(nonces._used) == MAX_NONCES
    assert {len(mark) for mark in nonces._used} == {32}
    nonces.use("0" + 1_000 * "x")
    with pytest.raises(MismatchError):
        nonces.use("2" + 1_000 * "x")


# In a call


async def verify(daemon, peer=ROOT, name="Ralph", nonce="n", timeout=0.1, **parameters):
    """The outcome, or the error."""
    return outcome(await daemon.ask("Verify", peer, name=name, nonce=nonce, timeout=timeout, **parameters))


def test_a_second_call_with_the_same_nonce_gets_no_decision(tmp_path):
    async def scenario(daemon):
        found = [await verify(daemon), await verify(daemon), await verify(daemon, name="Susan")]
        reply = (await daemon.ask("Verify", name="Ralph", nonce="n"))[-1]
        assert reply.parameters == {"parameter": "nonce"}
        assert daemon.live.opened == 1, "the microphone was not opened for the others"
        assert daemon.state.claims.current is None
        return [*found, await verify(daemon, nonce="m")]

    found = run_scenario(tmp_path, UNCALIBRATED, [window(0.9)] * 2, scenario)
    assert found == ["accept", *["InvalidParameter"] * 2, "accept"]


def test_a_refused_call_may_be_repeated_with_the_same_nonce(tmp_path):
    async def scenario(daemon):
        found = [
            await verify(daemon, LISTENER),  # may not verify Ralph
            await verify(daemon, name="Nobody"),
            await verify(daemon, policy="auth"),  # not demonstrated
        ]
        for _ in range(5):
            daemon.state.lockout.record_decision("Ralph", "no_match", accepted=False)
        found.append(await verify(daemon))
        daemon.state.lockout.unlock("Ralph")
        with daemon.state.claims.take("Enroll", 0):
            found.append(await verify(daemon))
        return [*found, await verify(daemon), await verify(daemon)]

    assert run_scenario(tmp_path, UNCALIBRATED, [window(0.9)] * 2, scenario) == [
        "PermissionDenied",
        "NotEnrolled",
        "PolicyNotDemonstrated",
        "Locked",
        "Busy",
        "accept",
        "InvalidParameter",
    ]


def test_a_call_without_speech_has_used_its_nonce(tmp_path):
    async def scenario(daemon):
        return [await verify(daemon), await verify(daemon)]

    assert run_scenario(tmp_path, UNCALIBRATED, [], scenario) == ["inconclusive", "InvalidParameter"]
