"""The units as they are shipped: does systemd understand them, and how much do they let the daemon touch?"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
FOLDERS = ("", "user")
NAMES = ("voiceauthd.socket", "voiceauthd.service")
PROOF_NAMES = ("voiceauthd-proof.socket", "voiceauthd-proof@.service")
"""Of the whole machine only: a user's own daemon needs no proofs."""

EXPOSURE_LIMIT = 1.0
"""`systemd-analyze security`'s scale: 0 is nothing, 10 everything. 0.6 was reached; newer systemds count more."""

PROOF_EXPOSURE_LIMIT = 1.5
"""Of the process that asks for a password, which must be root. 1.2 was reached."""

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
def test_systemd_finds_nothing_to_complain_about(tmp_path, folder):
    names = NAMES if folder else NAMES + PROOF_NAMES
    for name in names:
        # Not installed here: a command that exists stands in for it.
        text = re.sub("/usr/local/bin/voiceauthd[a-z-]*", "/bin/true", (UNITS / folder / name).read_text())
        (tmp_path / name).write_text(text)
    manager = ["--user"] if folder else ["--system"]
    said = analyze("verify", *manager, "--man=no", *(str(tmp_path / name) for name in names), home=tmp_path)
    # Other units of this machine may be complained about; ours may not.
    assert "voiceauthd" not in said


def test_the_system_service_may_touch_little(tmp_path):
    threshold = f"--threshold={EXPOSURE_LIMIT * 10:.0f}"
    said = analyze("security", "--offline=true", threshold, str(UNITS / "voiceauthd.service"), home=tmp_path)
    assert "Overall exposure level" in said


def test_the_process_that_is_given_a_password_may_touch_little(tmp_path):
    threshold = f"--threshold={PROOF_EXPOSURE_LIMIT * 10:.0f}"
    said = analyze("security", "--offline=true", threshold, str(UNITS / "voiceauthd-proof@.service"), home=tmp_path)
    assert "Overall exposure level" in said


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_failure_that_will_not_go_away_is_not_tried_again(folder):
    from voiceauthd.errors import ExitCode

    lines = (UNITS / folder / "voiceauthd.service").read_text().splitlines()
    prevented = next(line for line in lines if line.startswith("RestartPreventExitStatus=")).split("=")[1]
    hopeless = {ExitCode.USAGE, ExitCode.CONFIG, ExitCode.MODEL, ExitCode.AUDIO, ExitCode.STORAGE}
    assert {int(code) for code in prevented.split()} == hopeless | {ExitCode.ALREADY_RUNNING}
