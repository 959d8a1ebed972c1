"""Install, remove and list voices in PAM services: the files on disk."""

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

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="PAM files must belong to root")


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
        return {one.service: one for one in status(folder)}


# Which services


@pytest.mark.parametrize("service", ["sudo", "SUDO", "polkit-1"])
def test_a_service_that_grants_root_does_not_accept_a_voice_alone(service):
    with pytest.raises(UsageError, match=r"--with MODULE.*--allow-root"):
        make_block(service, VOICE)
    assert make_block(service, Block(HELPER, "pam_u2f.so")).allow_root
    assert make_block(service, ROOT_TOO) == ROOT_TOO


def test_another_service_accepts_a_voice_but_not_for_root():
    assert make_block("swaylock", VOICE) == VOICE
    assert not make_block("login", Block(HELPER, "pam_u2f.so")).allow_root


@pytest.mark.parametrize("service", ["voiceauthd", "other", "sshd", "common-auth", "VoiceAuthd"])
def test_excluded_remote_and_shared_services_never_accept_a_voice(service):
    for block in (VOICE, ROOT_TOO, Block(HELPER, "pam_u2f.so")):
        with pytest.raises(UsageError):
            make_block(service, block)


@pytest.mark.parametrize("service", ["", "../shadow", ".hidden", "-x", "a\nb"])
def test_an_invalid_service_name_is_refused(pam, service):
    with pytest.raises(UsageError, match="not a valid name"):
        make_block(service, VOICE)
    with pytest.raises(UsageError, match="not a valid name"):
        take(pam, service)


@pytest.mark.parametrize(
    "module",
    [
        "pam_rootok.so x",
        "/lib/security/pam_exec.so",
        "pam_unix.so",
        "pam_access.so",  # decides who may enter, and does not identify anybody
    ],
)
def test_a_module_that_does_not_identify_the_user_is_refused_beside_a_voice(module):
    with pytest.raises(UsageError):
        make_block("sudo", Block(HELPER, module))


# The file on disk


@needs_root
def test_install_and_remove_restore_content_mode_and_owner(pam):
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
def test_install_is_idempotent_and_other_options_replace_the_block(pam):
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
def test_a_block_in_the_wrong_place_is_moved(pam):
    put(pam, "swaylock")
    moved = (pam / "swaylock").read_text() + "\n"
    block = VOICE.text("swaylock")
    (pam / "swaylock").write_text(block + moved.replace(block, ""))
    put(pam, "swaylock")
    assert (pam / "swaylock").read_text() == moved


@needs_root
def test_extended_attributes_are_kept(pam):
    try:
        os.setxattr(pam / "sudo", "user.label", b"of a kind")
    except OSError as problem:
        pytest.skip(f"no extended attributes here: {problem.strerror}")
    put(pam, "sudo", ROOT_TOO)
    assert os.getxattr(pam / "sudo", "user.label") == b"of a kind"


def test_a_dry_run_shows_the_difference_and_changes_nothing(pam):
    if os.geteuid() != 0:
        pytest.skip("PAM files must belong to root")
    shown = put(pam, "swaylock", dry_run=True)
    assert shown.diff().startswith(f"--- {pam}/swaylock\n+++ {pam}/swaylock (new)\n")
    assert f"+auth sufficient pam_exec.so quiet stdout seteuid {HELPER}\n" in shown.diff()
    assert shown.diff().endswith(" account required pam_permit.so\n\\ No newline at end of file\n")
    assert (pam / "swaylock").read_text() == SWAYLOCK
    assert not (pam.parent / "backups").exists()


@needs_root
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.chmod(0o664), "other than root can write"),
        (lambda file: os.chown(file, 12345, 0), "other than root can write"),
        (lambda file: os.link(file, file.parent / "twin"), "2 hard links"),
        (lambda file: file.write_bytes(b"# " + 70_000 * b"x"), "64 KiB"),
        (lambda file: file.write_bytes(b"\xff\n"), "line 1: is not UTF-8"),
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
def test_an_unsafe_or_unparsable_file_is_not_changed(pam, spoil, message):
    spoil(pam / "sudo")
    before = os.lstat(pam / "sudo")
    with pytest.raises(StorageError, match=message):
        put(pam, "sudo", ROOT_TOO)
    assert os.lstat(pam / "sudo") == before
    assert not any(name.startswith(".") for name in os.listdir(pam))


@needs_root
def test_a_service_without_a_file_is_refused(pam):
    with pytest.raises(UsageError, match="there is no service hyprlock"):
        put(pam, "hyprlock")


@needs_root
def test_a_block_in_an_included_service_covers_both_and_is_not_installed_twice(pam):
    assert put(pam, "su", ROOT_TOO).also == ("su-l",)
    with pytest.raises(StorageError, match="already"):
        put(pam, "su-l", ROOT_TOO)
    take(pam, "su")
    put(pam, "su-l", ROOT_TOO)
    with pytest.raises(StorageError, match="su-l includes su, and already asks"):
        put(pam, "su", ROOT_TOO)


@needs_root
def test_a_jump_over_an_include_of_the_service_is_refused(pam):
    (pam / "su-l").write_text("auth [success=2 default=ignore] pam_x.so\nauth include su\n")
    with pytest.raises(StorageError, match="su-l includes su, and jumps"):
        put(pam, "su", ROOT_TOO)


@needs_root
@pytest.mark.parametrize("fails", ["rename", "fsync", "fchown", "write"])
def test_a_failed_write_leaves_the_old_file(pam, monkeypatch, fails):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "back_up", lambda *_: pam)
    monkeypatch.setattr("voiceauthd.login.services.back_up", lambda *_: pam)
    monkeypatch.setattr(files.os, fails, full)
    with pytest.raises(StorageError, match="No space left"):
        put(pam, "sudo", ROOT_TOO)
    monkeypatch.undo()
    assert (pam / "sudo").read_text() == "session required pam_limits.so\n@include common-auth\n"
    assert not any(name.startswith(".") for name in os.listdir(pam))


@needs_root
def test_without_a_safe_backup_folder_nothing_is_changed(pam):
    (pam.parent / "backups").mkdir(mode=0o777)
    (pam.parent / "backups").chmod(0o777)
    with pytest.raises(StorageError, match="0700"):
        put(pam, "sudo", ROOT_TOO)
    assert "voiceauth" not in (pam / "sudo").read_text()


@needs_root
def test_a_file_changed_in_the_meantime_is_not_overwritten(pam, monkeypatch):
    fsync = os.fsync

    def change_after_fsync(file: int) -> None:
        fsync(file)
        if b"sudo.voiceauthd-new" in os.readlink(f"/proc/self/fd/{file}").encode():
            (pam / "sudo").write_text("# theirs\n@include common-auth\n")

    monkeypatch.setattr(files.os, "fsync", change_after_fsync)
    with pytest.raises(StorageError, match="changed in the meantime"):
        put(pam, "sudo", ROOT_TOO)
    assert (pam / "sudo").read_text() == "# theirs\n@include common-auth\n"


@needs_root
def test_one_process_at_a_time_changes_the_folder(pam, monkeypatch):
    monkeypatch.setattr(files, "LOCK_TIMEOUT", 0.0)
    with PamFolder(pam) as other, other.change(), pytest.raises(BusyError, match="another"):
        put(pam, "sudo", ROOT_TOO)
    assert put(pam, "sudo", ROOT_TOO).changed


@needs_root
def test_concurrent_installs_leave_one_block(pam):
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
        pytest.skip("PAM files must belong to root")
    monkeypatch.setattr(files.os, "geteuid", lambda: 1000)
    with pytest.raises(DeniedError, match="--dry-run"):
        put(pam, "swaylock")
    assert put(pam, "swaylock", dry_run=True).changed


@needs_root
def test_the_list_shows_each_block_and_its_problem(pam):
    put(pam, "swaylock", VOICE._replace(helper="/usr/bin/false"))
    put(pam, "sudo", Block(HELPER, "pam_u2f.so cue"))
    (pam / "su").write_text(f"auth sufficient pam_exec.so quiet {HELPER}\n")
    services = listed(pam)
    assert set(services) == {"swaylock", "sudo", "su"}
    assert (services["swaylock"].block, services["swaylock"].problem) == (VOICE._replace(helper="/usr/bin/false"), "")
    assert services["sudo"].block == Block(HELPER, "pam_u2f.so cue", allow_root=True)
    assert "by hand" in services["su"].problem
    (pam / "swaylock").write_text((pam / "swaylock").read_text().replace("# voiceauth end\n", ""))
    assert "incomplete block" in listed(pam)["swaylock"].problem
