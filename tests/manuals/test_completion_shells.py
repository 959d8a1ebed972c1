"""The completion scripts in real shells, with the real command and a daemon that knows two voices."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_daemon import FakeDaemon, done
from manual_parts import folder_with_command

BASH = """
source <(voiceauth completion bash)
complete -p voiceauth voiceauthd >&2
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_voiceauth
printf '%s\\n' "${COMPREPLY[@]}"
"""

ZSH_START = "PS1='> '; autoload -Uz compinit; compinit -u -D; source <(voiceauth completion zsh)\n"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of a shell; `voiceauth` is in its path, and alice and Anna Maria are enrolled."""
    folder_with_command(tmp_path)
    (tmp_path / "recording one.wav").touch()
    (tmp_path / "recordings").mkdir()
    path = f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"
    profiles = [{"name": "alice"}, {"name": "Anna Maria"}]
    with FakeDaemon(tmp_path / "s", lambda _: [done(profiles=profiles)]) as daemon:
        yield {
            "PATH": path,
            "HOME": str(tmp_path),
            "VOICEAUTHD_SOCKET": daemon.path,
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
        }


def bash(environment: dict[str, str], *words: str) -> list[str]:
    ended = subprocess.run(
        ["bash", "-c", BASH, "bash", *words],
        env=environment,
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stderr.count("complete -F _voiceauth") == 2
    return ended.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("voiceauth", "enr"), ["enroll"]),
        (("/opt/bin/voiceauth", "profiles", "re"), ["rename", "rekey"]),
        (("voiceauth", "verify", "--po"), ["--policy"]),
        (("voiceauth", "verify", "--policy", "=", "u"), ["unlock"]),
        (("voiceauth", "verify", "--policy", "="), ["monitor", "unlock", "auth"]),
        (("voiceauth", "verify", "a"), ["alice"]),
        (("voiceauth", "verify", "Anna\\ M"), ["Anna\\ Maria"]),
        (("voiceauth", "enroll", "alice", "rec"), ["recording one.wav", "recordings"]),
        (("voiceauth", "evaluate", "rec"), ["recordings"]),
        (("voiceauthd", "--config", "=", "rec"), ["recording one.wav", "recordings"]),
        (("voiceauthd", "--v"), ["--version"]),
        (("voiceauth", "verify", "--timeout", ""), [""]),
    ],
)
def test_bash_completes(environment, words, expected) -> None:
    assert sorted(bash(environment, *words)) == sorted(expected)


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("voiceauth enr", ["enroll\tlearn a voice, from the microphone or from recordings"]),
        ("voiceauth verify --policy=u", ["--policy=unlock"]),
        ("voiceauth verify al", ["alice"]),
        ("voiceauth verify An", ["Anna Maria"]),
        ("voiceauth enroll alice recording\\ ", ["recording one.wav"]),
        ("voiceauth evaluate rec", ["recordings/\tDirectory"]),
        ("voiceauthd --config=recording\\ ", ["--config=recording one.wav"]),
        ("voiceauth verify --timeout ", []),
    ],
)
def test_fish_completes(environment, line, expected) -> None:
    program = f"voiceauth completion fish | source; complete -C '{line}'"
    ended = subprocess.run(
        ["fish", "--no-config", "-c", program],
        env=environment,
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stderr == ""
    assert [shown.strip().replace("\\ ", " ") for shown in ended.stdout.splitlines()] == expected


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("voiceauth enr", "voiceauth enroll "),
        ("voiceauth profiles ren", "voiceauth profiles rename "),
        ("voiceauth verify --policy=u", "voiceauth verify --policy=unlock "),
        ("voiceauth verify Ann", "voiceauth verify Anna\\ Maria "),
        ("voiceauth enroll alice recording", "voiceauth enroll alice recording\\ one.wav "),
        ("voiceauth evaluate rec", "voiceauth evaluate recordings/"),
        ("voiceauthd --config=recording", "voiceauthd --config=recording\\ one.wav "),
    ],
)
def test_zsh_completes(environment, typed, expected) -> None:
    """A shell on a terminal: the line is typed, with a Tab at its end."""
    if typed.endswith("recording"):
        (Path(environment["HOME"]) / "recordings").rmdir()
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=environment["HOME"]
    )
    os.close(theirs)
    try:
        os.write(ours, ZSH_START.encode())
        os.write(ours, b"bindkey -e; echo rea''dy\n")
        read_until(ours, "ready")
        os.write(ours, typed.encode() + b"\t")
        read_until(ours, expected)
    finally:
        os.close(ours)
        shell.kill()
        shell.wait()


def read_until(terminal: int, wanted: str, seconds: float = 30.0) -> None:
    """Read what the shell shows until the words appear, apart from how it redraws them."""
    shown, deadline = "", time.monotonic() + seconds
    while wanted not in redrawn(shown):
        ready = select.select([terminal], [], [], max(deadline - time.monotonic(), 0.0))[0]
        assert ready, f"not shown: {wanted!r}; shown: {redrawn(shown)!r}"
        shown += os.read(terminal, 4096).decode(errors="replace")


def redrawn(shown: str) -> str:
    """Return what remains visible where backspaces go back."""
    text: list[str] = []
    for char in shown:
        if char == "\b":
            del text[-1:]
        else:
            text.append(char)
    return "".join(text)
