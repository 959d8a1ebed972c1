"""The block in a real Linux-PAM: in the stacks of several distributions, with pamtester and sudo."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pam_room import PASSWORDS, PamRoom, pam_room  # noqa: F401  a fixture is used by its name

from voiceauthd.login.block import Block, with_block
from voiceauthd.login.files import PamFolder
from voiceauthd.login.services import install, remove

ALL = ("authenticate", "setcred(PAM_ESTABLISH_CRED)", "acct_mgmt", "open_session", "close_session")
YES, NO, ABSENT = "yes", "no", "absent"
KILLED = "killed"

STACKS = {  # nodelay: no delay after a wrong password
    "debian": ("@include common-auth\n", PASSWORDS.replace("pam_unix.so\n", "pam_unix.so nodelay\n", 1)),
    "arch": (
        "auth include system-auth\n",
        "auth required pam_faillock.so preauth nodelay dir=/nonexistent\n"
        "auth [success=1 default=bad] pam_unix.so nodelay try_first_pass\n"
        "auth [default=die] pam_deny.so\n"
        "auth optional pam_permit.so\nauth required pam_env.so\n",
    ),
    "fedora": (
        "auth substack system-auth\n",
        "auth required pam_env.so\nauth sufficient pam_unix.so nodelay\nauth required pam_deny.so\n",
    ),
    "plain": ("auth required pam_unix.so nodelay\n", ""),
}


class LoginService:
    """A PAM service with a scripted voice."""

    def __init__(self, room: PamRoom, stack: str = "debian", above: str = "auth required pam_env.so\n") -> None:
        self.room = room
        room.account("ada", 4321, "secret")
        main, shared = STACKS[stack]
        room.service("common-auth", shared)
        room.service("system-auth", shared)
        self.text = f"{above}{main}account required pam_permit.so\nsession required pam_permit.so\n"
        self.ran = room.folder / "ran"
        self.voice = self._script("voiceauth-pam", YES)

    def _script(self, name: str, answer: str) -> Path:
        file = self.room.folder / name
        ends = {YES: "exit 0", NO: "exit 1", KILLED: "kill -9 $$"}
        file.unlink(missing_ok=True)
        if answer != ABSENT:
            file.write_text(f"#!/bin/sh\necho {name} >>{self.ran}\necho says {name}\n{ends[answer]}\n")
            file.chmod(0o755)
        return file

    def ask(self, voice: str, password: str, module: str = "") -> tuple[bool, list[str], str]:
        """Return whether ada passes all five stages, which scripts ran, and what pamtester printed."""
        self._script("voiceauth-pam", voice)
        second = ""
        if module == ABSENT:
            second = "pam_missing.so"
        elif module:
            second = f"pam_exec.so quiet {self._script('second', module)}"
        block = Block(str(self.voice), second)
        lines = self.text.split("\n")
        place = next(index for index, line in enumerate(lines) if _asks_password(line))
        self.room.service("gate", with_block(self.text, place, block, "gate"))
        self.ran.write_text("")
        ended = self.room.authenticate("gate", "ada", f"{password}\n", ALL)
        assert ended.returncode != 0 or ended.stdout.count("success") == 4, ended
        return ended.returncode == 0, self.ran.read_text().split(), ended.stdout + ended.stderr


def _asks_password(line: str) -> bool:
    return "common-auth" in line or "system-auth" in line or "pam_unix" in line


@pytest.fixture(params=sorted(STACKS))
def gate(request, pam_room):  # noqa: F811  the fixture
    return LoginService(pam_room, request.param)


def test_an_accepted_voice_grants_access_and_the_stages_after_it_work(gate):
    granted, ran, printed = gate.ask(YES, "wrong")
    assert (granted, ran) == (True, ["voiceauth-pam"]), printed
    assert "assword" not in printed
    assert "says voiceauth-pam" in printed


@pytest.mark.parametrize("voice", [NO, ABSENT, KILLED])
def test_without_an_accept_the_password_decides(gate, voice):
    granted, _, printed = gate.ask(voice, "secret")
    assert granted, printed
    assert "assword" in printed
    granted, _, printed = gate.ask(voice, "wrong")
    assert not granted, printed


@pytest.mark.parametrize(
    ("voice", "module", "ran"),
    [
        (YES, NO, ["voiceauth-pam", "second"]),
        (YES, ABSENT, ["voiceauth-pam"]),
        (NO, YES, ["voiceauth-pam"]),
        (ABSENT, YES, []),
        (KILLED, YES, ["voiceauth-pam"]),
    ],
)
def test_of_a_voice_and_a_module_neither_is_enough_alone(gate, voice, module, ran):
    for password, right in (("secret", True), ("wrong", False)):
        granted, scripts, printed = gate.ask(voice, password, module)
        assert granted is right, printed
        assert scripts == ran
        assert "assword" in printed


def test_a_voice_and_a_module_together_grant_access_and_the_stages_after_them_work(gate):
    granted, ran, printed = gate.ask(YES, "wrong", YES)
    assert (granted, ran) == (True, ["voiceauth-pam", "second"]), printed
    assert "assword" not in printed


def test_a_check_above_the_voice_still_denies_access(pam_room):  # noqa: F811  the fixture
    gate = LoginService(pam_room, above="auth required pam_deny.so\n")
    assert not gate.ask(YES, "secret")[0]
    assert not gate.ask(YES, "secret", YES)[0]


def test_pam_runs_the_installed_block(pam_room):  # noqa: F811  the fixture
    gate = LoginService(pam_room)
    file = pam_room.service("gate", gate.text)
    with PamFolder(pam_room.folder / "pam.d") as folder:
        install(folder, "gate", Block(str(gate.voice)), frozenset(), pam_room.folder / "b", dry_run=False)
        assert pam_room.authenticate("gate", "ada", "wrong\n", ALL).returncode == 0
        assert "assword" not in pam_room.authenticate("gate", "ada", "wrong\n", ALL).stdout
        remove(folder, "gate", pam_room.folder / "b", dry_run=False)
    assert file.read_text() == gate.text
    assert pam_room.authenticate("gate", "ada", "wrong\n", ALL).returncode != 0
    assert pam_room.authenticate("gate", "ada", "secret\n", ALL).returncode == 0


@pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is missing")
def test_sudo_runs_the_installed_block(pam_room):  # noqa: F811  the fixture
    gate = LoginService(pam_room)
    pam_room.account("eve", 4322, "hers", sudo=True)
    pam_room.service("sudo", gate.text)
    (pam_room.folder / "pam.d" / "sudo").chmod(0o644)
    with PamFolder(pam_room.folder / "pam.d") as folder:
        install(
            folder, "sudo", Block(str(gate.voice), allow_root=True), frozenset(), pam_room.folder / "b", dry_run=False
        )

    def sudo(typed: str) -> tuple[bool, str]:
        ended = pam_room.run("sudo", "-S", "-k", "id", "-u", typed=typed, uid=4322)
        return ended.returncode == 0 and "0" in ended.stdout.splitlines(), ended.stdout + ended.stderr

    gate.ran.write_text("")
    granted, printed = sudo("wrong\n")
    assert granted, printed
    assert "says voiceauth-pam" in printed
    gate.voice.unlink()
    assert sudo("hers\n")[0]
    assert not sudo("wrong\n")[0]


def test_a_required_voice_locks_everybody_out_when_the_helper_is_gone(pam_room):  # noqa: F811  the fixture
    """The reason why `voiceauth pam` has no such mode."""
    gate = LoginService(pam_room)
    pam_room.service("strict", f"auth required pam_exec.so quiet {gate.voice}\n{gate.text}")
    assert pam_room.authenticate("strict", "ada", "secret\n", ALL).returncode == 0
    assert pam_room.authenticate("strict", "ada", "wrong\n", ALL).returncode != 0
    gate.voice.unlink()
    assert pam_room.authenticate("strict", "ada", "secret\n", ALL).returncode != 0
