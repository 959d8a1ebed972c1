"""The shipped units: systemd accepts them, and they are confined."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from voiceauthd.errors import ExitCode

UNITS = Path(__file__).resolve().parents[2] / "systemd"
FOLDERS = ("", "user")
NAMES = ("voiceauthd.socket", "voiceauthd.service")
PROOF_NAMES = ("voiceauthd-proof.socket", "voiceauthd-proof@.service")
"""Only for the system's daemon: a user's own daemon needs no proofs."""

EXPOSURE_LIMIT = 1.0
"""On the scale of `systemd-analyze security`, from 0 to 10. Measured: 0.6; newer versions of systemd count more."""

PROOF_EXPOSURE_LIMIT = 1.5
"""For the process that checks a password, which must run as root. Measured: 1.2."""

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def analyze(*arguments: str, home: Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments],
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(home), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("folder", FOLDERS)
def test_systemd_analyze_verify_reports_no_problem(tmp_path, folder):
    names = NAMES if folder else NAMES + PROOF_NAMES
    for name in names:
        # The daemon is not installed here, so an existing command replaces it.
        text = re.sub("/usr/local/bin/voiceauthd[a-z-]*", "/bin/true", (UNITS / folder / name).read_text())
        (tmp_path / name).write_text(text)
    manager = ["--user"] if folder else ["--system"]
    said = analyze("verify", *manager, "--man=no", *(str(tmp_path / name) for name in names), home=tmp_path)
    # There may be problems of this machine's other units.
    assert "voiceauthd" not in said


def test_the_system_service_is_confined(tmp_path):
    threshold = f"--threshold={EXPOSURE_LIMIT * 10:.0f}"
    said = analyze("security", "--offline=true", threshold, str(UNITS / "voiceauthd.service"), home=tmp_path)
    assert "Overall exposure level" in said


def test_the_process_that_checks_a_password_is_confined(tmp_path):
    threshold = f"--threshold={PROOF_EXPOSURE_LIMIT * 10:.0f}"
    said = analyze("security", "--offline=true", threshold, str(UNITS / "voiceauthd-proof@.service"), home=tmp_path)
    assert "Overall exposure level" in said


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_service_is_not_restarted_after_a_permanent_failure(folder):
    lines = (UNITS / folder / "voiceauthd.service").read_text().splitlines()
    prevented = next(line for line in lines if line.startswith("RestartPreventExitStatus=")).split("=")[1]
    hopeless = {ExitCode.USAGE, ExitCode.CONFIG, ExitCode.MODEL, ExitCode.AUDIO, ExitCode.STORAGE}
    assert {int(code) for code in prevented.split()} == hopeless | {ExitCode.ALREADY_RUNNING}
