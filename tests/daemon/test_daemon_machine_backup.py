"""A backup of a running daemon's machine, restored on another machine, whose daemon then knows the same people."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from daemon_audio import takes, voice
from daemon_process import DaemonProcess, Settings, start_stub, without_service
from small_disk import fill, small_disk

from voiceauthd.errors import ExitCode
from voiceauthd.profiles.keys import KEY_FILE, load_keys


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `voiceauth` with these words."""
    return subprocess.run(
        [sys.executable, "-m", "voiceauthd.cli.main", *words],
        env=without_service(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


def accepted(daemon: DaemonProcess) -> bool:
    return bool(daemon.verify("Ralph", voice("ralph-1"))["outcome"] == "accept")


@pytest.fixture
def secret(folder: Path) -> Path:
    file = folder / "secret"
    file.write_text("four words that rhyme\n")
    return file


@pytest.fixture
def backup(stub_at, folder: Path, secret: Path) -> Path:
    """A backup of a daemon that knows Ralph, made while it runs."""
    daemon = stub_at()
    daemon.enroll("Ralph", takes("Ralph"))
    file = folder / "voices.vab"
    words = ("--config", str(daemon.config), "--passphrase-file", str(secret), "--json")
    made = command("backup", str(file), *words)
    assert made.returncode == ExitCode.OK, made.stderr
    assert [each["name"] for each in json.loads(made.stdout)["profiles"]] == ["Ralph"]
    assert accepted(daemon), "the daemon was not disturbed"
    return file


def machine(folder: Path, settings: Settings | None = None) -> DaemonProcess:
    """Start the daemon of another machine, whose state is in `folder`."""
    folder.mkdir(exist_ok=True)
    daemon = start_stub(folder, settings)
    daemon.await_ready()
    return daemon


def restore(backup: Path, daemon: DaemonProcess, secret: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = ("--config", str(daemon.config), "--passphrase-file", str(secret), *more)
    return command("restore", str(backup), *words)


def test_another_machine_recognises_the_same_person(backup: Path, folder: Path, secret: Path) -> None:
    with machine(folder / "b") as there:
        assert there.names() == []
        refused = restore(backup, there, secret)
        assert refused.returncode == ExitCode.ALREADY_RUNNING
        assert "voiceauth service stop" in refused.stderr
        assert there.names() == []
    done = restore(backup, there, secret)
    assert done.returncode == ExitCode.OK, done.stderr
    assert f"{there.config} was left as it was" in done.stdout.replace("\n            ", " ")
    with machine(folder / "b") as there:
        assert there.names() == ["Ralph"]
        assert accepted(there)
        assert not there.logged("keep a copy"), "no new key was made"
        keys = [load_keys(each / KEY_FILE, {}).all() for each in (folder, folder / "b")]
        assert keys[1][0] == keys[0][0]
        assert there.ask("Rekey")["profiles"] == 1


def test_a_full_disk_leaves_the_old_people(backup: Path, folder: Path, secret: Path) -> None:
    with small_disk(folder / "disk") as disk:
        settings: Settings = {"profiles": str(disk / "profiles"), "state": str(folder / "b")}
        with machine(folder / "b", settings) as there:
            there.enroll("Susan", takes("Susan"))
        before = (disk / "profiles" / "Susan.profile").read_bytes()
        fill(disk / "filler")
        refused = restore(backup, there, secret, "--replace", "--keep-config")
        assert refused.returncode == ExitCode.STORAGE
        assert "disk is full" in refused.stderr
        assert "nothing was changed" in refused.stderr
        assert (disk / "profiles" / "Susan.profile").read_bytes() == before
        assert sorted(os.listdir(disk)) == ["filler", "profiles"]
        with machine(folder / "b", settings) as there:
            assert there.names() == ["Susan"]
        (disk / "filler").unlink()
        assert restore(backup, there, secret, "--replace", "--keep-config").returncode == ExitCode.OK
        with machine(folder / "b", settings) as there:
            assert there.names() == ["Ralph"]
            assert accepted(there)
