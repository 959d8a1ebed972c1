"""Reloading the configuration: all of it is applied or none; running calls continue or are cancelled with a reason."""

from __future__ import annotations

import io
import shutil
import signal
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_audio import takes, voice
from daemon_caller import RefusedError
from daemon_process import DaemonProcess, start_stub
from waiting import wait_until

OTHER_WINDOWS = {"speech": {"hop": 1.0}}
"""Settings that need another capture thread and another worker."""


def threshold(daemon: DaemonProcess) -> float:
    return daemon.ask("Info")["model"]["threshold"]


@pytest.fixture(scope="module")
def module_stub() -> Iterator[DaemonProcess]:
    folder = Path(tempfile.mkdtemp(prefix="voiceauthd-"))
    with start_stub(folder) as daemon:
        daemon.await_ready()
        yield daemon
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stub(module_stub: DaemonProcess) -> Iterator[DaemonProcess]:
    """A daemon with a stub model, which is idle, has the original configuration, and no profiles."""
    module_stub.skip_log()
    yield module_stub
    assert module_stub.feed is not None
    module_stub.feed.stop_playing()
    module_stub.await_idle()
    module_stub.configure({})
    module_stub.ask("Reload")
    for name in module_stub.names():
        module_stub.ask("DeleteProfile", name=name)


def test_a_new_configuration_is_applied_and_its_changes_are_reported(stub: DaemonProcess) -> None:
    assert threshold(stub) == 0.5
    stub.configure({"decision": {"threshold": 0.75}, "socket": {"events_queued": 99}})
    assert stub.ask("Reload")["changed"] == ["decision.threshold", "socket.events_queued"]
    assert threshold(stub) == 0.75
    assert stub.ask("Info")["limits"]["events_queued"] == 99
    assert stub.ask("Reload")["changed"] == []


def test_sighup_reloads(stub: DaemonProcess) -> None:
    stub.configure({"decision": {"threshold": 0.75}})
    stub.signal(signal.SIGHUP)
    wait_until("the new threshold is used", lambda: threshold(stub) == 0.75)
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
def test_a_bad_configuration_is_refused_and_the_old_one_stays(stub: DaemonProcess, settings: dict, detail: str) -> None:
    stub.configure({"decision": {"threshold": 0.75}} | settings)
    refused = stub.refusal("Reload")
    assert refused.error == "ConfigurationRefused"
    assert detail in refused.parameters["detail"]
    assert threshold(stub) == 0.5
    stub.signal(signal.SIGHUP)
    wait_until("the refusal is logged", lambda: stub.logged("not reloaded, the old configuration stays"))
    assert threshold(stub) == 0.5
    assert stub.ask("Status")["state"] == "ready"


def test_a_torn_or_missing_file_is_refused(stub: DaemonProcess) -> None:
    stub.config.write_text("decision: {threshold")
    assert f"{stub.config}:1" in stub.refusal("Reload").parameters["detail"]
    stub.config.unlink()
    assert str(stub.config) in stub.refusal("Reload").parameters["detail"]
    assert threshold(stub) == 0.5


def test_a_profile_folder_that_cannot_be_used_is_refused(stub: DaemonProcess) -> None:
    stub.enroll("Ralph", takes("Ralph"))
    stub.configure({"profiles": str(stub.config)})
    assert stub.refusal("Reload").error == "StorageFailed"
    assert stub.names() == ["Ralph"]


def test_another_profile_folder_is_used(stub: DaemonProcess) -> None:
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


def test_a_verification_continues_if_audio_and_profiles_stay_the_same(stub: DaemonProcess) -> None:
    stub.enroll("Ralph", takes("Ralph"))
    with stub.caller() as caller:
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        stub.configure({"decision": {"threshold": 0.4}, "log": {"level": "debug"}})
        assert stub.ask("Reload")["changed"] == ["decision.threshold", "log.level"]
        stub.feed.play(voice("ralph-1"))
        assert caller.until("decided")["outcome"] == "accept"


def test_a_verification_is_cancelled_if_its_windows_change(stub: DaemonProcess) -> None:
    stub.enroll("Ralph", takes("Ralph"))
    with stub.caller() as caller:
        caller.send("Verify", name="Ralph")
        caller.until("listening")
        stub.configure(OTHER_WINDOWS)
        stub.ask("Reload")
        with pytest.raises(RefusedError) as refused:
            caller.rest()
    assert refused.value.error == "Cancelled"
    assert "reloaded" in refused.value.parameters["detail"]
    assert stub.ask("Status")["claim"] is None


def test_a_monitor_continues_when_capture_and_worker_are_replaced(stub: DaemonProcess) -> None:
    with stub.caller() as monitor:
        monitor.send("Monitor")
        monitor.events("started")
        stub.configure(OTHER_WINDOWS)
        stub.ask("Reload")
        stub.feed.play(voice("ralph-1"))
        events = monitor.events("silence")
        starts = [event["start"] for event in events if event["kind"] == "window" and event["duration"] == 3.0]
    assert starts[1] - starts[0] == pytest.approx(1.0, abs=0.05)
    assert stub.ask("Status")["state"] == "ready"


def test_a_source_is_closed_after_a_reload_once_nobody_listens(stub_at, folder) -> None:
    """A recording, which like a microphone is closed while nobody listens."""
    (folder / "long.wav").write_bytes(long_recording())
    audio = {"source": str(folder / "long.wav"), "pace": "realtime"}
    daemon = stub_at({"audio": audio}, with_audio=False)
    daemon.enroll("Ralph", takes("Ralph"))
    monitor, caller = daemon.caller(), daemon.caller()
    monitor.send("Monitor")
    monitor.events("started")
    caller.send("Verify", name="Ralph")
    caller.until("listening")
    daemon.configure({"audio": audio} | OTHER_WINDOWS)
    daemon.ask("Reload")
    with pytest.raises(RefusedError):
        caller.rest()
    caller.close()
    wait_until("it is open", lambda: daemon.ask("Status")["source"]["state"] == "open")
    monitor.close()
    wait_until("it is closed", lambda: daemon.ask("Status")["source"]["state"] == "closed")


def long_recording() -> bytes:
    """Return a minute of silence as a WAV file."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(60 * 32_000))
    return content.getvalue()


def test_an_enrolment_during_a_reload_is_used_afterwards(stub: DaemonProcess) -> None:
    with stub.caller() as caller:
        claim = stub.begin_recordings(caller, name="Ralph")
        stub.configure({"decision": {"threshold": 0.6}})
        stub.ask("Reload")
        stub.send_recordings(claim, takes("Ralph"))
        assert caller.rest()[-1]["state"] == "done"
    with stub.caller() as caller:
        caller.send("Identify")
        caller.until("listening")
        stub.feed.play(voice("ralph-1"))
        assert caller.until("decided")["identity"] == "Ralph"


def test_a_reload_finishes_even_if_its_caller_disconnects(stub: DaemonProcess) -> None:
    (stub.folder / "hold-load").touch()
    stub.configure(OTHER_WINDOWS | {"model": {"name": "campplus", "threads": 2}, "decision": {"threshold": 0.75}})
    with stub.caller() as caller:
        caller.send("Reload", more=False)
        assert caller.silent(0.2)
    (stub.folder / "hold-load").unlink()
    wait_until("the new threshold is used", lambda: threshold(stub) == 0.75)
    assert stub.ask("Status")["state"] == "ready"


def test_a_setting_from_the_environment_still_overrides_the_file_after_a_reload(stub_at) -> None:
    daemon = stub_at(environment={"VOICEAUTHD_DECISION__THRESHOLD": "0.9"})
    daemon.configure({"decision": {"threshold": 0.75, "margin": 0.1}})
    assert daemon.ask("Reload")["changed"] == ["decision.margin"]
    assert threshold(daemon) == 0.9
