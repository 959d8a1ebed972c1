"""The lockout at the one door of the daemon: what a verification does to it, and it to a verification."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
from policy_parts import LISTENER, MALLORY, RATIOS, ROOT, UNCALIBRATED, Desk, window

from voiceauthd.config.schema import Config

RIGHT, WRONG, UNSURE = window(0.95), window(0.0), window(0.4)


def together(folder, backend, windows, talk):
    """What `talk` finds with a daemon that hears `windows` at each call."""

    async def run():
        desk = Desk(folder, backend, windows, Config())
        async with asyncio.timeout(20.0):
            return await talk(desk)

    return asyncio.run(run())


async def verify(desk, peer=ROOT, name="Ralph", **parameters):
    """The reason, or the error."""
    reply = (await desk.ask("Verify", peer, name=name, timeout=0.05, **parameters))[-1]
    return reply.parameters["reason"] if reply.error is None else reply.error.rpartition(".")[2]


@pytest.mark.parametrize(("heard", "reason"), [(WRONG, "no_match"), (UNSURE, "unsure")])
def test_the_sixth_call_is_refused_before_anything_is_heard(tmp_path, heard, reason):
    async def talk(desk):
        assert [await verify(desk) for _ in range(5)] == [reason] * 5
        opened = desk.workers.opened
        replies = await desk.ask("Verify", name="ralph")
        assert [reply.error for reply in replies] == ["org.voiceauthd.Locked"]
        assert replies[0].parameters["name"] == "ralph"
        assert 299.0 < replies[0].parameters["seconds"] <= 300.0
        assert desk.workers.opened == opened
        assert desk.state.claims.current is None
        assert 299.0 < (await desk.ask("ShowProfile", name="Ralph"))[0].parameters["profile"]["locked_for"] <= 300.0
        return await verify(desk, name="Susan")

    assert together(tmp_path, UNCALIBRATED, [heard] * 2, talk) == "no_match", "Susan's voice is not locked"


def test_no_speech_never_locks(tmp_path):
    async def talk(desk):
        return {await verify(desk) for _ in range(12)}

    assert together(tmp_path, UNCALIBRATED, [], talk) == {"no_speech"}


@pytest.mark.parametrize("spoilt", [{"clipping": 0.5}, {"level_dbfs": -80.0}, {"snr_db": -10.0}])
def test_sound_that_could_not_be_compared_never_locks(tmp_path, spoilt):
    async def talk(desk):
        return {await verify(desk) for _ in range(6)}

    (reason,) = together(tmp_path, UNCALIBRATED, [window(0.0, **spoilt)] * 2, talk)
    assert reason in {"clipped", "too_quiet", "noisy"}


def test_a_lax_policy_does_not_wash_off_the_failures_of_a_strict_one(tmp_path):
    """A voice that is close enough for `monitor`, and not for `unlock`."""

    async def talk(desk):
        for _ in range(4):
            assert await verify(desk, policy="unlock") == "unsure"
        assert await verify(desk, policy="monitor") == "match"
        return [await verify(desk, policy="unlock"), await verify(desk, policy="monitor")]

    assert together(tmp_path, RATIOS, [window(0.75)] * 2, talk) == ["unsure", "Locked"]


def test_what_was_decided_counts_though_the_caller_has_gone(tmp_path, monkeypatch):
    async def talk(desk):
        lockout = desk.state.lockout
        judged, begun, go_on = lockout.judged, threading.Event(), threading.Event()

        def slow(*arguments, **named):
            begun.set()
            assert go_on.wait(10.0)
            judged(*arguments, **named)

        monkeypatch.setattr(lockout, "judged", slow)
        for _ in range(5):
            begun.clear()
            go_on.clear()
            call = asyncio.create_task(desk.ask("Verify", name="Ralph", timeout=0.05))
            assert await asyncio.to_thread(begun.wait, 10.0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            assert desk.state.claims.current is None
            go_on.set()
        while lockout.locked_for("Ralph") is None:
            await asyncio.sleep(0.005)

    together(tmp_path, UNCALIBRATED, [WRONG] * 2, talk)


def test_a_voice_that_was_locked_meanwhile_is_not_accepted(tmp_path, monkeypatch):
    async def talk(desk):
        lockout = desk.state.lockout
        judged = lockout.judged

        def late(name, reason, **named):
            for _ in range(5):
                judged(name, "no_match", accepted=False)
            judged(name, reason, **named)

        monkeypatch.setattr(lockout, "judged", late)
        return await verify(desk)

    assert together(tmp_path, UNCALIBRATED, [RIGHT] * 2, talk) == "Locked"


def test_the_lock_outlasts_the_profile_and_follows_a_new_name(tmp_path):
    async def talk(desk):
        for _ in range(5):
            await verify(desk)
        document = (await desk.ask("ExportProfile", name="Ralph"))[0].parameters["document"]
        await desk.ask("DeleteProfile", name="Ralph")
        assert (await desk.ask("ImportProfile", document=document))[0].error is None
        assert await verify(desk) == "Locked"
        await desk.ask("RenameProfile", name="Ralph", new_name="Rolf")
        assert await verify(desk, name="Rolf") == "Locked"
        await desk.ask("Unlock", name="Rolf")
        return await verify(desk, name="Rolf")

    assert together(tmp_path, UNCALIBRATED, [WRONG] * 2, talk) == "no_match"


def test_only_who_may_know_is_told_what_is_wrong_with_what_is_stored(tmp_path):
    """Whether, and how many, profiles are damaged is nobody else's business."""
    (tmp_path / "lockout.json").write_bytes(b"torn")

    async def talk(desk):
        profiles = tmp_path / "profiles"
        (profiles / "Torn.profile").write_bytes((profiles / "Ralph.profile").read_bytes()[:100])
        (profiles / "Torn.profile").chmod(0o600)
        desk.state.engine.store.refresh()
        found = {}
        for peer in (ROOT, LISTENER, MALLORY):
            status = (await desk.ask("Status", peer))[0].parameters
            found[peer.user] = (status["state"], status.get("problem"), status.get("profiles"))
        desk.state.lockout.unlock("Ralph")
        desk.state.lockout._book.everybody = None
        return found, (await desk.ask("Status"))[0].parameters["problem"]

    found, later = together(tmp_path, UNCALIBRATED, [RIGHT], talk)
    assert found["Mallory"] == ("ready", None, None)
    for user in ("root", "Lisa"):
        assert found[user][0] == "degraded"
        assert "every voice is locked" in found[user][1]
        assert found[user][2] == {"usable": 2, "refused": 1}
    assert later.startswith("1 of the profiles cannot be used")
