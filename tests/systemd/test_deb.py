"""The Debian package in a booted system with its own /usr and its own package database: the host is not changed.

The tests follow the life of a package, so each continues where the one before it ended: installed, used, upgraded,
removed, purged.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from container import BootError, Container, obstacle
from debian_package import built_package, newer_version
from installed import CONFIG, SERVICE, SOCKET, call, wait_active
from waiting import wait_until

from voiceauthd.embed.cache import find

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg, and a Debian to install into"),
]

HOST_ETC = ("passwd", "group", "shadow", "gshadow", "login.defs", "nsswitch.conf", "manpath.config", "debian_version")
HOST_ETC_FOLDERS = ("pam.d", "security", "alternatives", "dpkg")

DAEMON, PROOF = "/run/voiceauthd/socket", "/run/voiceauthd/proof"
STATE, PAM = "/var/lib/voiceauthd", "/etc/pam.d"
VOICES = "daemon/voiceauthd/demo/voices"

DPKG_SECONDS = 600.0
"""Unpacking a gigabyte takes 20 s on an idle machine."""

OWN_FILES = ("/var/lib/dpkg/", "/var/log/", "/var/cache/", "/var/lib/systemd/", "/var/backups/", "/var/tmp/")
"""Where dpkg, man-db and systemd keep their own notes, which change with any package."""

USER_NOTES = {f"/etc/{name}{suffix}" for name in ("passwd", "group", "shadow", "gshadow") for suffix in ("", "-")}
"""Rewritten whenever a user comes or goes, also with the same content."""


class Room(NamedTuple):
    """A booted system and what is installed into it. `before`: its files before that."""

    container: Container
    package: Path
    newer: Path
    newer_version: str
    before: set[str]


def files(container: Container) -> set[str]:
    """All files of the system outside /usr, and what was added to /usr."""
    places = [place for place in ("/etc", "/opt", "/var", "/root", "/home") if container.path(place).exists()]
    found = container.run("find", *places, "-xdev", "-printf", "%p\n").splitlines()
    layer = container.usr_layer
    found += ["/usr/" + str(file.relative_to(layer)) for file in layer.rglob("*") if not file.is_dir()]
    return {file for file in found if not file.startswith(OWN_FILES) and file not in USER_NOTES}


def dpkg(container: Container, *arguments: str) -> str:
    environment = ["env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"]
    return container.run(*environment, "dpkg", *arguments, seconds=DPKG_SECONDS)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A booted system in which nothing of voiceauthd is installed yet."""
    if reason := obstacle():
        pytest.skip(reason)
    model = find("campplus", None)
    if model is None:
        pytest.skip("needs the CAM++ model: voiceauth model fetch campplus")
    folder = tmp_path_factory.mktemp("deb")
    package = built_package(folder)
    newer, version = newer_version(package, folder)
    container = Container(folder / "container", {folder: "/mnt"}, own_usr=True)
    for name in ("mnt", "var/backups"):  # as every Debian has them
        (container.folder / name).mkdir(exist_ok=True)
    for name in HOST_ETC:
        shutil.copy(Path("/etc", name), container.folder / "etc" / name)
    for name in HOST_ETC_FOLDERS:
        shutil.copytree(Path("/etc", name), container.folder / "etc" / name, symlinks=True, dirs_exist_ok=True)
    shutil.copytree("/var/lib/dpkg", container.folder / "var/lib/dpkg")
    shutil.copytree(model, container.folder / "srv" / model.name)
    if not package.is_relative_to(folder):
        shutil.copy(package, folder)
    try:
        container.boot()
        # An image for containers forbids packages to start services; this system has an init.
        container.run("rm", "-f", "/usr/sbin/policy-rc.d")
        yield Room(container, folder / package.name, newer, version, files(container))
    except BootError as problem:
        pytest.skip(f"a container does not boot here: {problem}")
    finally:
        container.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def box(room: Room) -> Container:
    """The system with the package installed, and the model where `voiceauth model fetch` puts it."""
    container = room.container
    dpkg(container, "--install", f"/mnt/{room.package.name}")
    container.run("sh", "-c", f"cp -r /srv/* {STATE}/models/ && chown -R voiceauthd: {STATE}/models")
    return container


def test_the_package_is_installed_and_its_socket_listens(box: Container) -> None:
    assert box.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "voiceauthd") == "installed"
    assert box.run("systemctl", "is-enabled", SOCKET).strip() == "enabled"
    assert box.show(SOCKET, "ActiveState") == "active"
    assert box.show(SERVICE, "ActiveState") == "inactive"
    assert box.path(DAEMON).is_socket()
    assert box.path(PROOF).is_socket()
    assert box.path(STATE).stat().st_mode & 0o777 == 0o700
    assert box.run("id", "-Gn", "voiceauthd").split() == ["voiceauthd", "audio"]


def test_every_file_of_the_package_is_as_it_was_built(box: Container) -> None:
    assert dpkg(box, "--verify", "voiceauthd") == ""


def test_a_call_starts_the_daemon_which_knows_the_model(box: Container) -> None:
    assert call(box, DAEMON, "Info")["parameters"]["version"]
    wait_active(box)
    wait_until("the model is loaded", lambda: call(box, DAEMON, "Status")["parameters"]["ready"] or None, seconds=60)
    assert b"/opt/voiceauthd/" in box.path(f"/proc/{box.show(SERVICE, 'MainPID')}/cmdline").read_bytes()


def test_a_voice_is_enrolled_and_verified_with_the_installed_command(box: Container) -> None:
    voices = box.run("sh", "-c", "echo /opt/voiceauthd/lib/python3*/site-packages/voiceauthd/demo/voices").strip()
    takes = box.run("sh", "-c", f"ls {voices}/ralph*").split()
    box.run("voiceauth", "config", "set", "enroll.speech", "10")
    box.run("systemctl", "reload", SERVICE)
    assert "ralph" in box.run("voiceauth", "enroll", "ralph", *takes, seconds=120)
    assert "accept" in box.run("voiceauth", "verify", "ralph", takes[0], seconds=120)


def test_manuals_and_completions_are_where_programs_look_for_them(box: Container) -> None:
    assert "VOICEAUTH-VERIFY(1)" in box.run("man", "voiceauth-verify")
    for file in (
        "bash-completion/completions/voiceauth",
        "zsh/vendor-completions/_voiceauth",
        "fish/vendor_completions.d/voiceauth.fish",
        "man/man8/voiceauthd.8.gz",
        "doc/voiceauthd/copyright",
    ):
        assert box.path(f"/usr/share/{file}").is_file()


def test_an_upgrade_keeps_configuration_and_voices_and_restarts_the_daemon(room: Room, box: Container) -> None:
    before = box.show(SERVICE, "MainPID")
    said = dpkg(box, "--install", f"/mnt/{room.newer.name}")
    assert "prompt" not in said
    assert box.run("dpkg-query", "-W", "-f", "${Version}", "voiceauthd") == room.newer_version
    assert "speech: 10" in box.path(CONFIG).read_text()
    assert wait_active(box) != before
    assert [each["name"] for each in call(box, DAEMON, "ListProfiles")["parameters"]["profiles"]] == ["ralph"]


def test_an_upgrade_does_not_start_a_socket_that_was_disabled(room: Room, box: Container) -> None:
    box.run("systemctl", "disable", "--now", SOCKET, SERVICE)
    dpkg(box, "--install", f"/mnt/{room.newer.name}")
    assert box.show(SOCKET, "ActiveState") == "inactive"
    assert box.show(SERVICE, "ActiveState") == "inactive"
    box.run("systemctl", "enable", "--now", SOCKET)


def test_a_login_that_needs_the_helper_stops_a_removal(box: Container) -> None:
    by_hand = "auth required pam_exec.so /opt/voiceauthd/bin/voiceauth-pam\n"
    box.path(f"{PAM}/odd").write_text(by_hand)
    try:
        with pytest.raises(AssertionError, match=f"edited by hand: {PAM}/odd"):
            dpkg(box, "--remove", "voiceauthd")
    finally:
        box.path(f"{PAM}/odd").unlink()
    assert box.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "voiceauthd") == "installed"
    assert box.show(SOCKET, "ActiveState") == "active"


def test_a_removal_takes_the_voice_out_of_logins_and_keeps_the_voices(box: Container) -> None:
    service = box.path(f"{PAM}/sudo")
    service.write_text("auth required pam_unix.so\naccount required pam_unix.so\n")
    before = service.read_text()
    box.run("voiceauth", "pam", "install", "sudo", "--allow-root")
    assert "voiceauth-pam" in service.read_text()
    assert call(box, DAEMON, "Info")["parameters"]["version"]
    wait_active(box)
    dpkg(box, "--remove", "voiceauthd")
    assert service.read_text() == before
    assert box.run("systemctl", "is-active", SOCKET, SERVICE, check=False).split() == ["inactive", "inactive"]
    assert not box.path("/opt/voiceauthd").exists()
    assert not box.path("/usr/bin/voiceauth").exists()
    assert box.path(CONFIG).exists()
    assert len(list(box.path(f"{STATE}/profiles").glob("*.profile"))) == 1


def test_an_installation_after_a_removal_finds_the_voices_again(room: Room, box: Container) -> None:
    dpkg(box, "--install", f"/mnt/{room.package.name}")
    assert box.show(SOCKET, "ActiveState") == "active"
    assert [each["name"] for each in call(box, DAEMON, "ListProfiles")["parameters"]["profiles"]] == ["ralph"]


def test_a_purge_leaves_nothing(room: Room, box: Container) -> None:
    dpkg(box, "--purge", "voiceauthd")
    left = files(box) - room.before
    left -= {f"{PAM}/sudo"}  # of the test above, if the host has no sudo
    assert left == set()
    assert room.before - files(box) <= {"/opt"}  # dpkg removes a folder that is empty and that no package owns
    assert box.run("getent", "passwd", "voiceauthd", check=False) == ""
    assert box.run("getent", "group", "voiceauthd", check=False) == ""
    assert "voiceauthd" not in box.path("/var/lib/dpkg/status").read_text()
    assert box.run("find", "/etc", "/run", "/tmp", "/usr", "/var", "-xdev", "-name", "*voiceauth*", seconds=120) == ""
    assert not box.path("/run/voiceauthd").exists()


def test_the_host_was_not_changed() -> None:
    known = subprocess.run(["dpkg-query", "-W", "voiceauthd"], capture_output=True, text=True, check=False)
    assert known.returncode != 0
    for file in (
        "/usr/bin/voiceauth",
        "/usr/lib/systemd/system/voiceauthd.socket",
        "/usr/share/man/man8/voiceauthd.8.gz",
    ):
        assert not Path(file).exists()
