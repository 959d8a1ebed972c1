"""Which model the daemon uses, and what it does while there is none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from daemon_audio import takes, voice
from daemon_manager import Manager
from daemon_process import MODEL_LOAD_DEADLINE, QUICK_ENROLMENT, DaemonProcess, merged, without_service
from models import campplus_cache, tiny_wavlm
from waiting import DEADLINE, wait_until

from voiceauthd.embed.manifest import describe, write_manifest
from voiceauthd.errors import ExitCode

WAVLM = "microsoft/wavlm-base-sv"


def settings(folder: Path, name: str = "auto") -> dict[str, object]:
    """A daemon with a model cache of its own, empty at first."""
    return merged(QUICK_ENROLMENT, {"model": {"name": name, "cache": str(folder / "models")}})


def add_campplus(folder: Path) -> Path:
    source = next(campplus_cache().glob("campplus@*"))
    return Path(shutil.copytree(source, folder / "models" / source.name, dirs_exist_ok=True))


def add_wavlm(folder: Path) -> Path:
    """A small WavLM under the name that `auto` looks for first."""
    place = tiny_wavlm(folder / "models" / "microsoft--wavlm-base-sv@0123456789ab")
    known = {"revision": "0123456789abcdef", "digest": "0" * 64, "source": "a test", "licence": "MIT"}
    write_manifest(describe(place, name=WAVLM, **known), place)
    return place


def await_problem(daemon: DaemonProcess, *words: str) -> str:
    """The problem in the status of a daemon that is up without a model, once it has all of `words`."""
    daemon.await_socket()

    def problem() -> str | None:
        status = daemon.ask("Status")
        said = str(status["problem"])
        return said if not status["ready"] and all(word in said for word in words) else None

    return wait_until(f"the status says {words}", problem, MODEL_LOAD_DEADLINE)


def command(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "voiceauthd.cli.main", *words],
        env=without_service(os.environ) | {"VOICEAUTHD_MODEL_CACHE": str(folder / "models")} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_without_a_model_it_stays_up_says_what_to_fetch_and_then_verifies_without_a_restart(folder: Path) -> None:
    with DaemonProcess(folder, settings(folder)) as daemon:
        await_problem(daemon, "`voiceauth model fetch campplus`", f"`voiceauth model fetch {WAVLM}`")
        assert daemon.ask("Status")["state"] == "degraded"
        refused = daemon.refusal("Verify", name="Ralph")
        assert refused.error == "NotReady"
        assert "voiceauth model fetch campplus" in refused.parameters["detail"]
        shown = command("verify", "Ralph", "--socket", str(daemon.socket), folder=folder)
        assert shown.returncode == ExitCode.MODEL
        assert shown.stderr.count("voiceauth model fetch campplus") == 1
        fetched = command("model", "fetch", "campplus", folder=folder)
        if fetched.returncode == ExitCode.MODEL:
            pytest.skip(f"the model cannot be fetched here: {fetched.stderr.splitlines()[-1]}")
        assert fetched.returncode == 0, fetched.stderr
        daemon.await_ready()
        status = daemon.ask("Status")
        assert status["model"]["name"] == "campplus"
        assert "auto" in status["model_reason"]
        daemon.enroll("Ralph", takes("Ralph"))
        assert daemon.feed is not None
        with daemon.caller() as caller:
            caller.send("Verify", name="Ralph")
            caller.until("listening")
            daemon.feed.play(voice("verify-ralph"))
            assert caller.rest()[-1]["outcome"] == "accept"


def test_a_named_model_that_is_missing_is_never_replaced_by_another(folder: Path) -> None:
    add_campplus(folder)
    with DaemonProcess(folder, settings(folder, WAVLM)) as daemon:
        await_problem(daemon, f"the model {WAVLM} is not in the model cache", f"`voiceauth model fetch {WAVLM}`")
        assert daemon.ask("Status")["model"] is None
        # A reload takes a new configuration, and with it the model that is there.
        daemon.configure({"model": {"name": "campplus", "cache": str(folder / "models")}})
        with daemon.caller() as caller:
            caller.send("Reload", more=False)
            assert caller.reply(MODEL_LOAD_DEADLINE).parameters == {"changed": ["model.name"]}
        status = daemon.ask("Status")
        assert (status["ready"], status["model"]["name"]) == (True, "campplus")
        assert status["model_reason"] == "model.name is campplus"


def test_a_reload_that_names_another_missing_model_changes_nothing_and_says_why(folder: Path) -> None:
    with DaemonProcess(folder, settings(folder, WAVLM)) as daemon:
        await_problem(daemon, WAVLM)
        daemon.configure({"model": {"name": "another/model", "cache": str(folder / "models")}})
        refused = daemon.refusal("Reload")
        assert refused.error == "NotReady"
        assert "another/model" in refused.parameters["detail"]
        await_problem(daemon, WAVLM)


def test_auto_keeps_the_model_of_the_profiles_even_where_it_would_now_choose_another(folder: Path) -> None:
    add_campplus(folder)
    with DaemonProcess(folder, settings(folder)) as daemon:
        daemon.await_ready()
        daemon.enroll("Ralph", takes("Ralph"))
        add_wavlm(folder)
        assert daemon.ask("Reload") == {"changed": []}
        assert WAVLM in daemon.ask("Status")["model_reason"]
    with DaemonProcess(folder, settings(folder)) as daemon:
        daemon.await_ready()
        status = daemon.ask("Status")
        assert status["model"]["name"] == "campplus"
        assert "1 enrolled profile belongs to campplus" in status["model_reason"]
        assert status["profiles"] == {"usable": 1, "refused": 0}
        daemon.ask("DeleteProfile", name="Ralph")
        with daemon.caller() as caller:  # nobody is enrolled any more: the one that auto prefers
            caller.send("Reload", more=False)
            assert caller.reply(MODEL_LOAD_DEADLINE).parameters == {"changed": ["model.name"]}
        assert daemon.ask("Status")["model"]["name"] == WAVLM
    shutil.rmtree(folder / "models" / "microsoft--wavlm-base-sv@0123456789ab")


def test_profiles_whose_model_is_gone_are_not_compared_by_another_one(folder: Path) -> None:
    campplus = add_campplus(folder)
    with DaemonProcess(folder, settings(folder)) as daemon:
        daemon.await_ready()
        daemon.enroll("Ralph", takes("Ralph"))
    add_wavlm(folder)
    shutil.rmtree(campplus)
    with DaemonProcess(folder, settings(folder)) as daemon:
        await_problem(daemon, "1 enrolled profile belongs to campplus", "`voiceauth model fetch campplus`")
        add_campplus(folder)
        daemon.await_ready()
        assert daemon.ask("Status")["profiles"] == {"usable": 1, "refused": 0}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder to another user")
def test_a_cache_that_another_user_could_change_is_not_trusted(folder: Path) -> None:
    add_campplus(folder)
    os.chown(folder / "models", 65534, 65534)
    with DaemonProcess(folder, settings(folder)) as daemon:
        await_problem(daemon, f"the model cache {folder / 'models'} belongs to", "chown")
        os.chown(folder / "models", 0, 0)
        daemon.signal(signal.SIGHUP)
        daemon.await_ready()


def test_a_damaged_model_is_named_and_used_once_it_is_whole(folder: Path) -> None:
    weights = add_campplus(folder) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with DaemonProcess(folder, settings(folder)) as daemon:
        await_problem(daemon, "does not match its SHA-256", str(weights))
        weights.write_bytes(whole)
        daemon.await_ready()


def test_a_service_manager_learns_that_it_is_up_and_lacks_a_model(folder: Path) -> None:
    with Manager(folder / "notify") as manager:
        environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1200000"}
        with DaemonProcess(folder, settings(folder), environment=environment) as daemon:
            daemon.await_socket()
            assert manager.within("READY=1", DEADLINE)
            assert "STATUS=no model: no speaker model is in the model cache" in manager.messages[-1]
            assert manager.within("WATCHDOG=1", DEADLINE)
            assert manager.within("WATCHDOG=1", DEADLINE)
        assert manager.within("STOPPING=1", DEADLINE)


def test_a_run_in_the_foreground_ends_at_once_without_a_model_and_says_what_to_do(folder: Path) -> None:
    recording = folder / "silence.raw"
    recording.touch()
    ended = command(
        *("run", "--set", f"socket.path={folder / 'socket'}", "--set", f"profiles={folder / 'profiles'}"),
        *("--set", f"model.name={WAVLM}", "--source", "-"),
        folder=folder,
        HF_HUB_OFFLINE="1",
    )
    assert ended.returncode == ExitCode.MODEL
    errors = [line for line in ended.stderr.splitlines() if "ERROR" in line]
    assert len(errors) == 1
    assert f"voiceauth model fetch {WAVLM}" in errors[0]
    assert not (folder / "socket").exists()


def test_the_doctor_says_which_model_and_why(folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text(json.dumps({"profiles": str(folder / "profiles"), "model": {"cache": str(folder / "models")}}))

    def model() -> dict[str, str]:
        seen = command("doctor", "--json", folder=folder, VOICEAUTHD_CONFIG=str(config))
        return next(check for check in json.loads(seen.stdout)["checks"] if check["id"] == "model.cached")

    assert "voiceauth model fetch campplus" in model()["found"]
    assert model()["state"] == "fail"
    add_campplus(folder)
    found = model()
    assert found["state"] == "ok"
    assert "auto: campplus is in the model cache" in found["found"]
