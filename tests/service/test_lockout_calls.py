"""The lockout in the daemon's methods: how verifications count, and how a lock affects them."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
from inprocess_daemon import CALIBRATED, LISTENER, MALLORY, ROOT, UNCALIBRATED, outcome, run_scenario, window

RIGHT, WRONG, UNSURE = window(0.95), window(0.0), window(0.4)


async def verify(daemon, peer=ROOT, name="Ralph", **parameters):
    """The reason of the decision, or the error."""
    return outcome(await daemon.ask("Verify", peer, name=name, timeout=0.05, **parameters), "reason")


@pytest.mark.parametrize(("voice", "reason"), [(WRONG, "no_match"), (UNSURE, "unsure")])
def test_the_sixth_call_is_refused_without_opening_the_microphone(tmp_path, voice, reason):
    async def scenario(daemon):
        assert [await verify(daemon) for _ in range(5)] == [reason] * 5
        opened = daemon.live.opened
        replies = await daemon.ask("Verify", name="ralph")
        assert [reply.error for reply in replies] == ["org.voiceauthd.Locked"]
        assert replies[0].parameters["name"] == "ralph"
        assert 299.0 < replies[0].parameters["seconds"] <= 300.0
        assert daemon.live.opened == opened
        assert daemon.state.claims.current is None
        assert 299.0 < (await daemon.ask("ShowProfile", name="Ralph"))[0].parameters["profile"]["locked_for"] <= 300.0
        return await verify(daemon, name="Susan")

    assert run_scenario(tmp_path, UNCALIBRATED, [voice] * 2, scenario) == "no_match", "Susan's voice is not locked"


def test_no_speech_never_locks(tmp_path):
    async def scenario(daemon):
        return {await verify(daemon) for _ in range(12)}

    assert run_scenario(tmp_path, UNCALIBRATED, [], scenario) == {"no_speech"}


@pytest.mark.parametrize("quality", [{"clipping": 0.5}, {"level_dbfs": -80.0}, {"snr_db": -10.0}])
def test_windows_that_could_not_be_compared_never_lock(tmp_path, quality):
    async def scenario(daemon):
        return {await verify(daemon) for _ in range(6)}

    (reason,) = run_scenario(tmp_path, UNCALIBRATED, [window(0.0, **quality)] * 2, scenario)
    assert reason in {"clipped", "too_quiet", "noisy"}


def test_an_accept_by_a_lax_policy_does_not_clear_failures_under_a_strict_one(tmp_path):
    """The voice is voice enough for `monitor`, but not for `unlock`."""

    async def scenario(daemon):
        for _ in range(4):
            assert await verify(daemon, policy="unlock") == "unsure"
        assert await verify(daemon, policy="monitor") == "match"
        return [await verify(daemon, policy="unlock"), await verify(daemon, policy="monitor")]

    assert run_scenario(tmp_path, CALIBRATED, [window(0.75)] * 2, scenario) == ["unsure", "Locked"]


def test_a_decision_counts_even_if_the_caller_has_disconnected(tmp_path, monkeypatch):
    async def scenario(daemon):
        lockout = daemon.state.lockout
        record, begun, go_on = lockout.record_decision, threading.Event(), threading.Event()

        def slow(*arguments, **named):
            begun.set()
            assert go_on.wait(10.0)
            record(*arguments, **named)

        monkeypatch.setattr(lockout, "record_decision", slow)
        for _ in range(5):
            begun.clear()
            go_on.clear()
            call = asyncio.create_task(daemon.ask("Verify", name="Ralph", timeout=0.05))
            assert await asyncio.to_thread(begun.wait, 10.0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            assert daemon.state.claims.current is None
            go_on.set()
        while lockout.locked_for("Ralph") is None:
            await asyncio.sleep(0.005)

    run_scenario(tmp_path, UNCALIBRATED, [WRONG] * 2, scenario)


def test_a_voice_that_is_locked_during_the_verification_is_not_accepted(tmp_path, monkeypatch):
    async def scenario(daemon):
        lockout = daemon.state.lockout
        record = lockout.record_decision

        def record_after_five_failures(name, reason, **named):
            for _ in range(5):
                record(name, "no_match", accepted=False)
            record(name, reason, **named)

        monkeypatch.setattr(lockout, "record_decision", record_after_five_failures)
        return await verify(daemon)

    assert run_scenario(tmp_path, UNCALIBRATED, [RIGHT] * 2, scenario) == "Locked"


def test_a_lock_survives_deleting_importing_and_renaming_the_profile(tmp_path):
    async def scenario(daemon):
        for _ in range(5):
            await verify(daemon)
        document = (await daemon.ask("ExportProfile", name="Ralph"))[0].parameters["document"]
        await daemon.ask("DeleteProfile", name="Ralph")
        assert (await daemon.ask("ImportProfile", document=document))[0].error is None
        assert await verify(daemon) == "Locked"
        await daemon.ask("RenameProfile", name="Ralph", new_name="Rolf")
        assert await verify(daemon, name="Rolf") == "Locked"
        await daemon.ask("Unlock", name="Rolf")
        return await verify(daemon, name="Rolf")

    assert run_scenario(tmp_path, UNCALIBRATED, [WRONG] * 2, scenario) == "no_match"


def test_only_administrators_and_the_monitor_group_see_problems_of_stored_files(tmp_path):
    """Other users do not learn whether profiles are damaged, or how many."""
    (tmp_path / "lockout.json").write_bytes(b"torn")

    async def scenario(daemon):
        profiles = tmp_path / "profiles"
        (profiles / "Torn.profile").write_bytes((profiles / "Ralph.profile").read_bytes()[:100])
        (profiles / "Torn.profile").chmod(0o600)
        daemon.state.engine.store.refresh()
        found = {}
        for peer in (ROOT, LISTENER, MALLORY):
            status = (await daemon.ask("Status", peer))[0].parameters
            found[peer.user] = (status["state"], status.get("problem"), status.get("profiles"))
        daemon.state.lockout.unlock("Ralph")
        daemon.state.lockout._records.everybody = None
        return found, (await daemon.ask("Status"))[0].parameters["problem"]

    found, later = run_scenario(tmp_path, UNCALIBRATED, [RIGHT], scenario)
    assert found["Mallory"] == ("ready", None, None)
    for user in ("root", "Lisa"):
        assert found[user][0] == "degraded"
        assert "every voice is locked" in found[user][1]
        assert found[user][2] == {"usable": 2, "refused": 1}
    assert later.startswith("1 of the profiles cannot be used")
