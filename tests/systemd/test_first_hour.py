"""The first hour of a new user: the README's commands, word for word, on an empty machine, up to an accepted voice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from container import BootError, obstacle
from machine import Machine, pip_environment

CHECKOUT = Path(__file__).resolve().parents[2]
ALICE = 2000
MINUTES = 25


@pytest.mark.slow
@pytest.mark.timeout(60 * MINUTES)
def test_a_new_user_gets_from_an_empty_machine_to_an_accepted_verification(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := obstacle():
        pytest.skip(reason)
    machine = Machine(tmp_path / "machine", {})
    machine.add_user("alice", ALICE)
    clone = machine.folder / "home/alice/voiceauthd"
    copy_checkout(clone)
    subprocess.run(["chown", "-R", f"{ALICE}:{ALICE}", clone], check=True)
    try:
        machine.boot()
    except BootError as problem:
        pytest.skip(f"a container does not boot here: {problem}")
    try:
        machine.run("systemctl", "start", f"user@{ALICE}.service")
        environment = {
            "HOME": "/home/alice",
            "USER": "alice",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TERM": "xterm",
            "XDG_RUNTIME_DIR": f"/run/user/{ALICE}",
            **pip_environment(),
        }
        words = [f"{key}={value}" for key, value in environment.items()]
        command = machine.inside("env", "-i", *words, "/home/alice/voiceauthd/scripts/first-hour.sh", uid=ALICE)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES, check=False, cwd="/")
        with capsys.disabled():
            sys.stdout.write(f"\n{done.stdout}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "in all" in done.stdout
    finally:
        machine.close()


def copy_checkout(target: Path) -> None:
    """What a fresh clone would have: the files that git knows, as they are in this checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    ).stdout
    for name in listed.decode().split("\0"):
        if name and (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, target / name)
