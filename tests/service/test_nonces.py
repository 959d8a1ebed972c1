"""A nonce is good for one call."""

from __future__ import annotations

import asyncio

import pytest
from policy_parts import LISTENER, ROOT, UNCALIBRATED, Desk, window

from voiceauthd.config.schema import Config
from voiceauthd.protocol.interface import MismatchError
from voiceauthd.service.nonces import REMEMBERED, Nonces


def test_a_nonce_is_good_once():
    nonces = Nonces()
    nonces.use("4711")
    nonces.use("4712")
    for _ in range(2):
        with pytest.raises(MismatchError) as caught:
            nonces.use("4711")
        assert caught.value.parameter == "nonce"


def test_no_nonce_is_no_nonce():
    nonces = Nonces()
    for _ in range(3):
        nonces.use(None)
    nonces.use("")
    with pytest.raises(MismatchError):
        nonces.use("")


@pytest.mark.parametrize("nonce", ["\ud800", "x" * 60_000, "\x00", "é"])
def test_whatever_text_it_is(nonce):
    nonces = Nonces()
    nonces.use(nonce)
    nonces.use(nonce + " ")
    with pytest.raises(MismatchError):
        nonces.use(nonce)


def test_so_many_are_remembered_and_no_more():
    nonces = Nonces()
    for number in range(REMEMBERED):
        nonces.use(f"{number}" + 1_000 * "x")
    with pytest.raises(MismatchError):
        nonces.use("0" + 1_000 * "x")
    nonces.use("one more")
    assert len(nonces._used) == REMEMBERED
    assert {len(mark) for mark in nonces._used} == {32}
    nonces.use("0" + 1_000 * "x")
    with pytest.raises(MismatchError):
        nonces.use("2" + 1_000 * "x")


# In a call


def together(folder, talk, windows=()):
    """What `talk` finds with a daemon that hears `windows`."""

    async def run():
        desk = Desk(folder, UNCALIBRATED, list(windows), Config())
        async with asyncio.timeout(20.0):
            return await talk(desk)

    return asyncio.run(run())


async def verify(desk, peer=ROOT, name="Ralph", nonce="n", timeout=0.1, **parameters):
    """The outcome, or the error."""
    reply = (await desk.ask("Verify", peer, name=name, nonce=nonce, timeout=timeout, **parameters))[-1]
    return reply.parameters["outcome"] if reply.error is None else reply.error.rpartition(".")[2]


def test_the_answer_to_a_second_call_with_it_is_no_decision(tmp_path):
    async def talk(desk):
        found = [await verify(desk), await verify(desk), await verify(desk, name="Susan")]
        reply = (await desk.ask("Verify", name="Ralph", nonce="n"))[-1]
        assert reply.parameters == {"parameter": "nonce"}
        assert desk.workers.opened == 1, "nothing was heard for the others"
        assert desk.state.claims.current is None
        return [*found, await verify(desk, nonce="m")]

    assert together(tmp_path, talk, [window(0.9)] * 2) == ["accept", *["InvalidParameter"] * 2, "accept"]


def test_a_call_that_was_refused_may_be_made_again_with_it(tmp_path):
    async def talk(desk):
        found = [
            await verify(desk, LISTENER),  # may not verify Ralph
            await verify(desk, name="Nobody"),
            await verify(desk, policy="auth"),  # not demonstrated
        ]
        for _ in range(5):
            desk.state.lockout.judged("Ralph", "no_match", accepted=False)
        found.append(await verify(desk))
        desk.state.lockout.unlock("Ralph")
        with desk.state.claims.take("Enroll", 0):
            found.append(await verify(desk))
        return [*found, await verify(desk), await verify(desk)]

    assert together(tmp_path, talk, [window(0.9)] * 2) == [
        "PermissionDenied",
        "NotEnrolled",
        "PolicyNotDemonstrated",
        "Locked",
        "Busy",
        "accept",
        "InvalidParameter",
    ]


def test_a_call_that_heard_nothing_has_used_it(tmp_path):
    async def talk(desk):
        return [await verify(desk), await verify(desk)]

    assert together(tmp_path, talk) == ["inconclusive", "InvalidParameter"]
