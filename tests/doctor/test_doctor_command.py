"""`voiceauth doctor` as a whole: its checks, their order, and its exit code."""

from __future__ import annotations

import json

import pytest
from fake_daemon import voiceauth_here

from voiceauthd.doctor import all_checks
from voiceauthd.doctor.check import OK, Check
from voiceauthd.errors import ExitCode

IDS = [
    "python",
    "packages",
    "config",
    "torch.threads",
    "vad",
    "model.cached",
    "scoring",
    "portaudio",
    "microphone.listed",
    "microphone.flows",
    "audio.group",
    "profiles.folder",
    "profiles.refused",
    "state.owner",
    "profiles.key",
    "audit.chain",
    "socket.path",
    "daemon.running",
    "daemon.ready",
    "daemon.owner",
    "systemd.unit",
    "service.kind",
    "pam.services",
]


@pytest.fixture(scope="module")
def examined(tmp_path_factory):
    """Doctor's result on a machine without model, profiles and daemon."""
    folder = tmp_path_factory.mktemp("doctor")
    environment = {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": "",
        "XDG_CACHE_HOME": "",
        "XDG_STATE_HOME": "",
        "VOICEAUTHD_PROFILES": str(folder / "profiles"),
        "VOICEAUTHD_MODEL__CACHE": str(folder / "models"),
    }
    result = voiceauth_here("doctor", "--json", socket=str(folder / "socket"), environment=environment)
    return result, {check["id"]: check for check in json.loads(result.stdout)["checks"]}


def test_all_checks_run_in_order_under_stable_names(examined):
    _, checks = examined
    assert list(checks) == IDS
    assert {check["state"] for check in checks.values()} <= {"ok", "warn", "fail"}


def test_each_check_finds_what_exists_and_what_is_missing(examined):
    _, checks = examined
    for name in ("python", "packages", "config", "torch.threads", "vad", "profiles.folder"):
        assert checks[name]["state"] == "ok", checks[name]
    for name in ("model.cached", "socket.path", "daemon.running"):
        assert checks[name]["state"] == "fail"
        assert checks[name]["fix"]
    assert "model fetch" in checks["model.cached"]["fix"]


def test_the_exit_code_is_that_of_the_first_failure(examined):
    result, checks = examined
    first = next(check["id"] for check in checks.values() if check["state"] == "fail")
    assert first == "model.cached"
    assert result.returncode == ExitCode.MODEL
    assert json.loads(result.stdout)["ok"] is False


def test_a_check_that_breaks_is_a_failure_and_the_others_still_run(monkeypatch):
    def check_odd(_machine):
        raise ZeroDivisionError

    monkeypatch.setattr(all_checks, "CHECKS", (check_odd, lambda _: Check("last", OK, "reached")))
    result = voiceauth_here("doctor", "--json")
    assert result.returncode == ExitCode.INTERNAL
    checks = json.loads(result.stdout)["checks"]
    assert [(check["id"], check["state"]) for check in checks[-2:]] == [("odd", "fail"), ("last", "ok")]
