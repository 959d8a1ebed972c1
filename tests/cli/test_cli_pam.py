"""`voiceauth pam` on a folder of services made by the test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from fake_daemon import voiceauth_here

from voiceauthd.errors import ExitCode

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="PAM files must belong to root")

LOCK = "@include common-auth\n"


@pytest.fixture
def pam(tmp_path):
    folder = tmp_path / "pam.d"
    folder.mkdir(mode=0o755)
    (folder / "common-auth").write_text("auth required pam_unix.so\nauth optional pam_gnome_keyring.so\n")
    for service in ("swaylock", "sudo", "sshd"):
        (folder / service).write_text(LOCK)
    return folder


@pytest.fixture
def command(pam):
    """`voiceauth pam` in that folder, with a helper that any machine has."""

    def run(action, *words):
        more = ["--backups", str(pam.parent / "backups")] if action != "status" else []
        more += ["--helper", "/usr/bin/false"] if action == "install" else []
        return voiceauth_here("pam", action, *words, "--pam-folder", str(pam), *more)

    return run


def test_a_voice_is_installed_listed_and_removed(pam, command):
    done = command("install", "swaylock", "--timeout", "4")
    assert done.returncode == ExitCode.OK, done.stderr
    assert "auth sufficient pam_exec.so quiet stdout seteuid /usr/bin/false --timeout 4\n" in done.stdout
    assert "try it in another terminal before you close this one" in done.stdout
    assert "pam_gnome_keyring will get no password" in done.stdout
    assert "swaylock: the voice, but not for root; else the password" in done.stdout
    again = command("install", "swaylock", "--timeout", "4")
    assert (again.returncode, "needs no change" in again.stdout) == (0, True)
    seen = command("status", "--json")
    assert seen.returncode == 0
    assert json.loads(seen.stdout)["services"] == [
        {
            "service": "swaylock",
            "problem": None,
            "how": "the voice, but not for root",
            "helper": "/usr/bin/false",
            "with": None,
            "allow_root": False,
            "timeout": 4.0,
            "policy": None,
        }
    ]
    assert command("remove", "swaylock").returncode == ExitCode.OK
    assert (pam / "swaylock").read_text() == LOCK
    assert "no service asks for a voice" in command("status").stdout


def test_sudo_is_refused_with_both_alternatives(pam, command):
    refused = command("install", "sudo")
    assert refused.returncode == ExitCode.USAGE
    assert refused.stderr.count("\n") == 1
    assert "--with MODULE" in refused.stderr
    assert "--allow-root" in refused.stderr
    assert (pam / "sudo").read_text() == LOCK


def test_sudo_with_a_module_and_sudo_for_root(pam, command):
    both = command("install", "sudo", "--with", "pam_of_nobody.so  cue")
    assert both.returncode == ExitCode.OK, both.stderr
    assert "pam_of_nobody.so was not found" in both.stdout
    lines = (pam / "sudo").read_text().splitlines()
    assert lines[2:4] == [
        "auth [success=ignore default=1] pam_exec.so quiet stdout seteuid /usr/bin/false --allow-root",
        "auth sufficient pam_of_nobody.so cue",
    ]
    alone = command("install", "sudo", "--allow-root", "--json")
    assert json.loads(alone.stdout)["block"]["how"] == "the voice alone, also for root"
    assert "A good recording of it is accepted, too." in (pam / "sudo").read_text()


def test_a_dry_run_only_prints_the_difference(pam, command):
    shown = command("install", "swaylock", "--dry-run")
    assert shown.returncode == ExitCode.OK
    assert shown.stdout.startswith(f"--- {pam}/swaylock\n")
    assert "+auth sufficient" in shown.stdout
    assert "try it" not in shown.stdout
    assert (pam / "swaylock").read_text() == LOCK


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("sshd",), ExitCode.USAGE, "remote users"),
        (("../passwd",), ExitCode.USAGE, "not a valid name"),
        (("swaylock", "--with", "pam_permit.so"), ExitCode.USAGE, "the only proof"),
        (("swaylock", "--may-skip", "a b"), ExitCode.USAGE, "is not a PAM module"),
        (("swaylock", "--helper", "/tmp/helper"), ExitCode.STORAGE, "must not run /tmp/helper"),
        (("swaylock", "--helper", "helper"), ExitCode.USAGE, "absolute"),
    ],
)
def test_a_refusal_is_one_line_and_changes_nothing(pam, words, code, said):
    helper = () if "--helper" in words else ("--helper", "/usr/bin/false")
    refused = voiceauth_here("pam", "install", *words, *helper, "--pam-folder", str(pam), "--backups", str(pam / "b"))
    assert refused.returncode == code, refused.stderr
    assert refused.stderr.startswith("voiceauth: ")
    assert refused.stderr.count("\n") == 1
    assert said in refused.stderr
    assert sorted(os.listdir(pam)) == ["common-auth", "sshd", "sudo", "swaylock"]
    assert (pam / "swaylock").read_text() == LOCK


def test_a_file_that_is_not_understood_is_a_storage_error(pam, command):
    (pam / "swaylock").write_text("auth maybe pam_unix.so\n")
    refused = command("install", "swaylock")
    assert refused.returncode == ExitCode.STORAGE
    assert f"{pam}/swaylock, line 1" in refused.stderr


def test_status_reports_a_missing_helper(pam, command):
    assert command("install", "swaylock").returncode == ExitCode.OK
    text = (pam / "swaylock").read_text()
    (pam / "swaylock").write_text(text.replace("/usr/bin/false", "/usr/bin/no-such-helper"))
    seen = command("status")
    assert seen.returncode == ExitCode.STORAGE
    assert "no-such-helper: No such file" in seen.stdout


def test_a_user_other_than_root_may_preview_but_not_change():
    folder = Path(tempfile.mkdtemp(prefix="pam-looked-at-"))
    try:
        folder.chmod(0o755)
        (folder / "swaylock").write_text("auth required pam_unix.so\n")
        words = ["setpriv", "--reuid=4321", "--regid=4321", "--clear-groups", sys.executable, "-B", "-m"]
        words += ["voiceauthd.cli.main", "pam", "install", "swaylock", "--helper", "/usr/bin/false"]
        words += ["--pam-folder", str(folder), "--backups", str(folder / "b")]
        refused = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
        if "setpriv" in refused.stderr or "No module named" in refused.stderr or refused.returncode == 126:
            pytest.skip("another user cannot run this checkout")
        assert refused.returncode == ExitCode.DENIED, refused.stderr
        shown = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, check=False, cwd="/")
        assert (shown.returncode, "+auth sufficient" in shown.stdout) == (0, True)
        assert os.listdir(folder) == ["swaylock"]
    finally:
        shutil.rmtree(folder)
