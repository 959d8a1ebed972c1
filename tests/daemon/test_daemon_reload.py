"""The configuration is read again: all of it is used, or none; what goes on meanwhile survives, or is told why not."""

from __future__ import annotations

import signal

import pytest
from daemon_box import Box, wait_until
from daemon_caller import RefusedError
from daemon_room import takes, voice

HEARS_DIFFERENTLY = {"speech": {"hop": 1.0}}
"""Settings that need another capture and another worker."""


def threshold(box: Box) -> float:
    return box.ask("Info")["model"]["threshold"]


@pytest.fixture
def stub(stub_at) -> Box:
    return stub_at()


def test_a_new_configuration_is_used_and_its_changes_are_told(stub: Box) -> None:
    assert threshold(stub) == 0.5
    stub.configure({"decision": {"threshold": 0.75}, "socket": {"events_queued": 99}})
    assert stub.ask("Reload")["changed"] == ["decision.threshold", "socket.events_queued"]
    assert threshold(stub) == 0.75
    assert stub.ask("Info")["limits"]["events_queued"] == 99
    assert stub.ask("Reload")["changed"] == []


def test_a_hang_up_signal_reloads(stub: Box) -> None:
    stub.configure({"decision": {"threshold": 0.75}})
    stub.signal(signal.SIGHUP)
    wait_until("the new threshold holds", lambda: threshold(stub) == 0.75)
    assert stub.logged("reloaded: ")


@pytest.mark.parametrize(
    ("settings", "detail"),
    [
        ({"decision": {"threshold": 7}}, "decision.threshold"),
        ({"decision": {"treshold": 0.5}}, "treshold"),
        ({"socket": {"path": "/elsewhere"}}, "socket.path"),
        ({"access": {"monitor_group": "no-such-group"}}, "no-such-group"),
    ],
)
def test_a_bad_configuration_is_refused_and_the_old_one_stays(stub: Box, settings: dict, detail: str) -> None:
    stub.configure({"decision": {"threshold": 0.75}} | settings)
    refused = stub.refusal("Reload")
    assert refused.error == "ConfigurationRefused"
    assert detail in refused.parameters["detail"]
    assert threshold(stub) == 0.5
    stub.signal(signal.SIGHUP)
    wait_until("it is in the log", lambda: stub.logged("not reloaded, the old configuration stays"))
    assert threshold(stub) == 0.5
    assert stub.ask("Status")["state"] == "ready"


def test_a_file_that_is_gone_or_torn_is_refused(stub: Box) -> None:
    stub.config.write_text("decision: {threshold")
    assert f"{stub.config}:1" in stub.refusal("Reload").parameters["detail"]
    stub.config.unlink()
    assert str(stub.config) in stub.refusal("Reload").parameters["detail"]
    assert threshold(stub) == 0.5


def test_a_profile_folder_that_cannot_be_used_is_refused(stub: Box) -> None:
    stub.enroll("Ralph", takes("Ralph"))
    stub.configure({"profiles": str(stub.config)})
    assert stub.refusal("Reload").error == "StorageFailed"
    assert stub.names() == ["Ralph"]


def test_another_profile_folder_is_used(stub: Box) -> None:
    stub.enroll("Ralph", takes("Ralph"))
    with stub.caller() as caller:
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        stub.configure({"profiles": str(stub.folder / "others")})
        stub.ask("Reload")
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert refused.value.error == "Cancelled"
    assert stub.names() == []


def test_a_verification_goes_on_when_its_sound_and_its_voices_stay(stub: Box) -> None:
    stub.enroll("Ralph", takes("Ralph"))
    with stub.caller() as caller:
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        stub.configure({"decision": {"threshold": 0.4}, "log": {"level": "debug"}})
        assert stub.ask("Reload")["changed"] == ["decision.threshold", "log.level"]
        stub.room.play(voice("ralph-1"))
        assert caller.until("decided")["outcome"] == "accept"


def test_a_verification_is_told_when_the_sound_it_hears_changes(stub: Box) -> None:
    stub.enroll("Ralph", takes("Ralph"))
    with stub.caller() as caller:
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        stub.configure(HEARS_DIFFERENTLY)
        stub.ask("Reload")
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert refused.value.error == "Cancelled"
    assert "reloaded" in refused.value.parameters["detail"]
    assert stub.ask("Status")["claim"] is None


def test_a_monitor_hears_on_when_capture_and_worker_are_replaced(stub: Box) -> None:
    with stub.caller() as monitor:
        monitor.send("Monitor")
        monitor.events("started")
        stub.configure(HEARS_DIFFERENTLY)
        stub.ask("Reload")
        stub.room.play(voice("ralph-1"))
        events = monitor.events("silence")
        starts = [event["start"] for event in events if event["kind"] == "window" and event["duration"] == 3.0]
    assert starts[1] - starts[0] == pytest.approx(1.0, abs=0.05)
    assert stub.ask("Status")["state"] == "ready"


def test_a_microphone_is_let_go_of_after_a_reload_too(stub_at, folder) -> None:
    """A recording, which is like a microphone in that it is closed while nobody listens."""
    (folder / "long.wav").write_bytes(long_recording())
    audio = {"source": str(folder / "long.wav"), "pace": "realtime"}
    box = stub_at({"audio": audio}, hears=False)
    box.enroll("Ralph", takes("Ralph"))
    monitor, caller = box.caller(), box.caller()
    monitor.send("Monitor")
    monitor.events("started")
    caller.send("Verify", name="Ralph")
    caller.until("listening")
    box.configure({"audio": audio} | HEARS_DIFFERENTLY)
    box.ask("Reload")
    with pytest.raises(RefusedError):
        caller.rest()
    caller.close()
    wait_until("it hears", lambda: box.ask("Status")["source"]["state"] == "open")
    monitor.close()
    wait_until("it is closed", lambda: box.ask("Status")["source"]["state"] == "closed")


def long_recording() -> bytes:
    """A minute of silence, as WAV."""
    import io
    import wave

    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(60 * 32_000))
    return content.getvalue()


def test_who_is_enrolled_across_a_reload_is_known_afterwards(stub: Box) -> None:
    with stub.caller() as caller:
        claim = stub.begin_recordings(caller, name="Ralph")
        stub.configure({"decision": {"threshold": 0.6}})
        stub.ask("Reload")
        stub.send_recordings(claim, takes("Ralph"))
        assert caller.rest()[-1]["state"] == "done"
    with stub.caller() as caller:
        caller.send("Identify")
        caller.until("listening")
        stub.room.play(voice("ralph-1"))
        assert caller.until("decided")["identity"] == "Ralph"


def test_a_reload_comes_to_its_end_although_its_caller_has_gone(stub: Box) -> None:
    (stub.folder / "hold-load").touch()
    stub.configure(HEARS_DIFFERENTLY | {"model": {"name": "campplus", "threads": 2}, "decision": {"threshold": 0.75}})
    with stub.caller() as caller:
        caller.send("Reload", more=False)
        assert caller.silent(0.2)
    (stub.folder / "hold-load").unlink()
    wait_until("the new threshold holds", lambda: threshold(stub) == 0.75)
    assert stub.ask("Status")["state"] == "ready"


def test_what_was_given_on_the_command_line_holds_across_a_reload(stub_at) -> None:
    box = stub_at(environment={"VOICEAUTHD_DECISION__THRESHOLD": "0.9"})
    box.configure({"decision": {"threshold": 0.75, "margin": 0.1}})
    assert box.ask("Reload")["changed"] == ["decision.margin"]
    assert threshold(box) == 0.9
