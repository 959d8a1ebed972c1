"""A voice for a service: files on disk, and what Linux-PAM itself then does."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pam_room import PASSWORDS, PamRoom, pam_room  # noqa: F401  a fixture is used by its name

from voiceauthd.errors import BusyError, DeniedError, StorageError, UsageError
from voiceauthd.login import files
from voiceauthd.login.block import Block, with_block
from voiceauthd.login.files import PamFolder
from voiceauthd.login.services import install, make_block, remove, status

HELPER = "/usr/bin/voiceauth-pam"
VOICE = Block(HELPER)
ROOT_TOO = Block(HELPER, allow_root=True)
COMMON = "auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\nauth required pam_permit.so\n"
SWAYLOCK = (
    "#%PAM-1.0\n# a note\n@include common-auth\nauth optional pam_gnome_keyring.so\naccount required pam_permit.so"
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of PAM's must be root's")


@pytest.fixture
def pam(tmp_path):
    """A folder of services."""
    folder = tmp_path / "pam.d"
    folder.mkdir(mode=0o755)
    (folder / "common-auth").write_text(COMMON)
    (folder / "swaylock").write_text(SWAYLOCK)
    (folder / "sudo").write_text("session required pam_limits.so\n@include common-auth\n")
    (folder / "su").write_text("auth sufficient pam_rootok.so\n@include common-auth\n")
    (folder / "su-l").write_text("auth include su\naccount include su\n")
    return folder


def put(pam: Path, service: str, block: Block = VOICE, *may_skip: str, dry_run: bool = False):
    with PamFolder(pam) as folder:
        return install(folder, service, block, frozenset(may_skip), pam.parent / "backups", dry_run=dry_run)


def take(pam: Path, service: str, *, dry_run: bool = False):
    with PamFolder(pam) as folder:
        return remove(folder, service, pam.parent / "backups", dry_run=dry_run)


def listed(pam: Path):
    with PamFolder(pam) as folder:
        return {asked.service: asked for asked in status(folder)}


# Which services


@pytest.mark.parametrize("service", ["sudo", "su", "su-l", "SUDO", "polkit-1", "doas", "runuser", "pkexec"])
def test_a_service_that_gives_root_takes_no_voice_alone(service):
    with pytest.raises(UsageError, match=r"--with MODULE.*--allow-root"):
        make_block(service, VOICE)
    assert make_block(service, Block(HELPER, "pam_u2f.so")).allow_root
    assert make_block(service, ROOT_TOO) == ROOT_TOO


def test_another_service_takes_a_voice_but_not_root_s():
    assert make_block("swaylock", VOICE) == VOICE
    assert not make_block("login", Block(HELPER, "pam_u2f.so")).allow_root


@pytest.mark.parametrize(
    "service", ["voiceauthd", "other", "sshd", "cockpit", "common-auth", "system-auth", "VoiceAuthd"]
)
@pytest.mark.parametrize("block", [VOICE, ROOT_TOO, Block(HELPER, "pam_u2f.so")])
def test_some_services_never_take_a_voice(service, block):
    with pytest.raises(UsageError):
        make_block(service, block)


@pytest.mark.parametrize("service", ["", "../shadow", "a/b", ".hidden", "a b", "-x", "a\nb"])
def test_a_name_that_is_no_service_is_refused(pam, service):
    with pytest.raises(UsageError, match="no name"):
        make_block(service, VOICE)
    with pytest.raises(UsageError, match="no name"):
        take(pam, service)


@pytest.mark.parametrize(
    "module",
    [
        "pam_permit.so",
        "pam_rootok.so x",
        "/lib/security/pam_exec.so",
        "pam_unix.so",
        "pam_access.so",  # says who may, not who it is
        "pam_securetty.so",
        "pam_systemd.so",
    ],
)
def test_a_module_that_proves_nothing_does_not_stand_beside_a_voice(module):
    with pytest.raises(UsageError):
        make_block("sudo", Block(HELPER, module))


# The file on disk


@needs_root
def test_installed_and_removed_leaves_the_very_bytes_mode_and_owner(pam):
    file = pam / "swaylock"
    file.chmod(0o640)
    os.chown(file, 0, 42)
    change = put(pam, "swaylock")
    assert change.changed
    assert file.read_text() == with_block(SWAYLOCK, 2, VOICE, "swaylock") == change.after
    assert change.backup is not None
    assert change.backup.read_text() == SWAYLOCK
    assert (change.backup.stat().st_mode & 0o7777, change.backup.parent.stat().st_mode & 0o7777) == (0o600, 0o700)
    take(pam, "swaylock")
    assert file.read_bytes() == SWAYLOCK.encode()
    status_now = file.stat()
    assert (status_now.st_mode & 0o7777, status_now.st_uid, status_now.st_gid) == (0o640, 0, 42)
    assert sorted(os.listdir(pam)) == ["common-auth", "su", "su-l", "sudo", "swaylock"]


@needs_root
def test_twice_is_the_same_as_once_and_other_options_replace_the_block(pam):
    put(pam, "sudo", Block(HELPER, "pam_u2f.so"))
    once = (pam / "sudo").read_bytes()
    again = put(pam, "sudo", Block(HELPER, "pam_u2f.so"))
    assert (again.changed, again.backup, again.diff()) == (False, None, "")
    assert (pam / "sudo").read_bytes() == once
    put(pam, "sudo", ROOT_TOO._replace(timeout="3"))
    assert (pam / "sudo").read_text().count("voiceauth begin") == 1
    assert listed(pam)["sudo"].block == ROOT_TOO._replace(timeout="3")
    take(pam, "sudo")
    assert not take(pam, "sudo").changed
    assert (pam / "sudo").read_text() == "session required pam_limits.so\n@include common-auth\n"


@needs_root
def test_a_block_whose_place_has_moved_is_moved(pam):
    put(pam, "swaylock")
    moved = (pam / "swaylock").read_text() + "\n"
    block = VOICE.text("swaylock")
    (pam / "swaylock").write_text(block + moved.replace(block, ""))
    put(pam, "swaylock")
    assert (pam / "swaylock").read_text() == moved


@needs_root
def test_extended_attributes_stay(pam):
    try:
        os.setxattr(pam / "sudo", "user.label", b"of a kind")
    except OSError as problem:
        pytest.skip(f"no extended attributes here: {problem.strerror}")
    put(pam, "sudo", ROOT_TOO)
    assert os.getxattr(pam / "sudo", "user.label") == b"of a kind"


def test_a_dry_run_shows_the_difference_and_changes_nothing(pam):
    if os.geteuid() != 0:
        pytest.skip("files of PAM's must be root's")
    shown = put(pam, "swaylock", dry_run=True)
    assert shown.diff().startswith(f"--- {pam}/swaylock\n+++ {pam}/swaylock (new)\n")
    assert f"+auth sufficient pam_exec.so quiet stdout seteuid {HELPER}\n" in shown.diff()
    assert shown.diff().endswith(" account required pam_permit.so\n\\ No newline at end of file\n")
    assert (pam / "swaylock").read_text() == SWAYLOCK
    assert not (pam.parent / "backups").exists()


@needs_root
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.chmod(0o664), "not root's alone"),
        (lambda file: os.chown(file, 12345, 0), "not root's alone"),
        (lambda file: os.link(file, file.parent / "twin"), "2 names"),
        (lambda file: file.write_bytes(b"# " + 70_000 * b"x"), "64 KiB"),
        (lambda file: file.write_bytes(b"\xff\n"), "line 1: is no UTF-8"),
        (lambda file: file.write_text("auth maybe pam_unix.so\n"), "line 1: has the control 'maybe'"),
        (lambda file: (file.unlink(), file.symlink_to("su")), "is a link to su"),
        (lambda file: (file.unlink(), file.mkdir()), "not a file"),
        (lambda file: (file.unlink(), os.mkfifo(file)), "not a file"),
        (lambda file: file.parent.chmod(0o777), "not trusted"),
        (
            lambda file: file.write_text("# Generated by authselect, do not modify\n@include common-auth\n"),
            "authselect",
        ),
        (lambda file: file.write_text("@include nobody\n"), "nobody, which is included"),
        (lambda file: (file.parent / "common-auth").write_text("auth x\n"), "common-auth, line 1"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_left_alone(pam, spoil, said):
    spoil(pam / "sudo")
    before = os.lstat(pam / "sudo")
    with pytest.raises(StorageError, match=said):
        put(pam, "sudo", ROOT_TOO)
    assert os.lstat(pam / "sudo") == before
    assert not any(name.startswith(".") for name in os.listdir(pam))


@needs_root
def test_a_service_without_a_file_is_refused(pam):
    with pytest.raises(UsageError, match="there is no service hyprlock"):
        put(pam, "hyprlock")


@needs_root
def test_a_service_that_another_one_includes_speaks_for_both_and_is_asked_only_once(pam):
    assert put(pam, "su", ROOT_TOO).also == ("su-l",)
    with pytest.raises(StorageError, match="already"):
        put(pam, "su-l", ROOT_TOO)
    take(pam, "su")
    put(pam, "su-l", ROOT_TOO)
    with pytest.raises(StorageError, match="su-l includes su, and asks"):
        put(pam, "su", ROOT_TOO)


@needs_root
def test_a_jump_over_an_include_of_the_service_is_refused(pam):
    (pam / "su-l").write_text("auth [success=2 default=ignore] pam_x.so\nauth include su\n")
    with pytest.raises(StorageError, match="su-l includes su, and jumps"):
        put(pam, "su", ROOT_TOO)


@needs_root
@pytest.mark.parametrize("fails", ["rename", "fsync", "fchown", "write"])
def test_a_failure_while_writing_leaves_the_old_file(pam, monkeypatch, fails):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "keep", lambda *_: pam)
    monkeypatch.setattr("voiceauthd.login.services.keep", lambda *_: pam)
    monkeypatch.setattr(files.os, fails, full)
    with pytest.raises(StorageError, match="No space left"):
        put(pam, "sudo", ROOT_TOO)
    monkeypatch.undo()
    assert (pam / "sudo").read_text() == "session required pam_limits.so\n@include common-auth\n"
    assert not any(name.startswith(".") for name in os.listdir(pam))


@needs_root
def test_without_a_backup_nothing_is_changed(pam):
    (pam.parent / "backups").mkdir(mode=0o777)
    (pam.parent / "backups").chmod(0o777)
    with pytest.raises(StorageError, match="0700"):
        put(pam, "sudo", ROOT_TOO)
    assert "voiceauth" not in (pam / "sudo").read_text()


@needs_root
def test_a_file_that_somebody_else_changes_meanwhile_is_left_to_them(pam, monkeypatch):
    fsync = os.fsync

    def meanwhile(file: int) -> None:
        fsync(file)
        if b"sudo.voiceauthd-new" in os.readlink(f"/proc/self/fd/{file}").encode():
            (pam / "sudo").write_text("# theirs\n@include common-auth\n")

    monkeypatch.setattr(files.os, "fsync", meanwhile)
    with pytest.raises(StorageError, match="changed meanwhile"):
        put(pam, "sudo", ROOT_TOO)
    assert (pam / "sudo").read_text() == "# theirs\n@include common-auth\n"


@needs_root
def test_one_changes_the_folder_at_a_time(pam, monkeypatch):
    monkeypatch.setattr(files, "LOCK_TIMEOUT", 0.0)
    with PamFolder(pam) as other, other.change(), pytest.raises(BusyError, match="another"):
        put(pam, "sudo", ROOT_TOO)
    assert put(pam, "sudo", ROOT_TOO).changed


@needs_root
def test_many_at_once_leave_one_block(pam):
    code = (
        "import sys; from pathlib import Path; from voiceauthd.login.files import PamFolder; "
        "from voiceauthd.login.services import install; from voiceauthd.login.block import Block\n"
        "for turn in range(5):\n"
        "    with PamFolder(Path(sys.argv[1])) as folder:\n"
        "        block = Block('/usr/bin/voiceauth-pam', timeout=str(3 + int(sys.argv[2])))\n"
        "        install(folder, 'swaylock', block, frozenset(), Path(sys.argv[1]).parent / 'backups', dry_run=False)"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(pam), str(number)]) for number in range(3)]
    assert [process.wait(timeout=30) for process in running] == [0, 0, 0]
    assert (pam / "swaylock").read_text().count("voiceauth begin") == 1
    take(pam, "swaylock")
    assert (pam / "swaylock").read_text() == SWAYLOCK


def test_only_root_changes_a_folder(pam, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("files of PAM's must be root's")
    monkeypatch.setattr(files.os, "geteuid", lambda: 1000)
    with pytest.raises(DeniedError, match="--dry-run"):
        put(pam, "swaylock")
    assert put(pam, "swaylock", dry_run=True).changed


@needs_root
def test_the_list_tells_how_and_what_is_wrong(pam):
    put(pam, "swaylock", VOICE._replace(helper="/usr/bin/false"))
    put(pam, "sudo", Block(HELPER, "pam_u2f.so cue"))
    (pam / "su").write_text(f"auth sufficient pam_exec.so quiet {HELPER}\n")
    asked = listed(pam)
    assert set(asked) == {"swaylock", "sudo", "su"}
    assert (asked["swaylock"].block, asked["swaylock"].problem) == (VOICE._replace(helper="/usr/bin/false"), "")
    assert asked["sudo"].block == Block(HELPER, "pam_u2f.so cue", allow_root=True)
    assert "by hand" in asked["su"].problem
    (pam / "swaylock").write_text((pam / "swaylock").read_text().replace("# voiceauth end\n", ""))
    assert "not whole" in listed(pam)["swaylock"].problem
