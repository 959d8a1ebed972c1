"""sudo by voice on a whole machine: a booted systemd, the shipped units, the real model, a microphone, and PAM."""

from __future__ import annotations

import base64
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import soundfile
from container import Container
from installed import CHECKOUT, PYTHON, boot, call, wait_active
from pam_room import PASSWORDS, hashed
from voices import RATE, cast, samples, write_playable
from waiting import wait_until

from voiceauthd.profiles.keys import KEY_WORD, new_key

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(shutil.which("sudo") is None, reason="needs sudo"),
    pytest.mark.skipif(shutil.which("pulseaudio") is None, reason="needs pulseaudio and pulseaudio-utils"),
    pytest.mark.skipif(not Path("/usr/share/alsa/alsa.conf").exists(), reason="needs ALSA's configuration"),
    pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs the system's Python"),
]

OWNER, UID, PASSWORD = "anna", 1000, "correct horse"
SOCKET_PATH = "/run/voiceauthd/socket"
HOME = "/opt/voiceauthd"
HELPER = f"{HOME}/bin/voiceauth-pam"
SITE = f"{HOME}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
HELPER_TIMEOUT, SHORT_HELPER_TIMEOUT = 6.0, 3.0
"""Seconds that the helper listens; the short time is for attempts without speech."""
PULSE = "unix:/run/vmic/native"

KEY = new_key()
CREDENTIAL = "/etc/credstore/profiles.key"

FILES = {
    CREDENTIAL: f"{KEY_WORD} {base64.b64encode(KEY.secret).decode()}\n",
    "/etc/sysusers.d/anna.conf": f'u {OWNER} {UID} "Anna" /home/anna /bin/bash\n',
    "/etc/asound.conf": "pcm.!default { type pulse }\nctl.!default { type pulse }\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "/etc/hosts": "127.0.0.1 localhost container\n",
    "/etc/pam.d/sudo": PASSWORDS,
    "/etc/sudoers": (
        f"Defaults !lecture, passwd_tries=1, timestamp_timeout=0\nroot ALL=(ALL) ALL\n{OWNER} ALL=(ALL) ALL\n"
    ),
    # The machine's sound server. On a desktop it belongs to the user; here everybody in the container may use it.
    "/etc/systemd/system/vmic.service": (
        "[Service]\n"
        f"User={OWNER}\n"
        "RuntimeDirectory=vmic\n"
        "Environment=HOME=/run/vmic XDG_RUNTIME_DIR=/run/vmic\n"
        "ExecStart=pulseaudio -n --daemonize=no --exit-idle-time=-1 --realtime=no --high-priority=no"
        " '--load=module-native-protocol-unix auth-anonymous=1 socket=/run/vmic/native'"
        " '--load=module-null-sink sink_name=vmic rate=48000 channels=1 norewinds=1'\n"
    ),
    # A virtual environment as made by `make install`, with the system's Python: the helper needs nothing else.
    f"{HOME}/pyvenv.cfg": "home = /usr/bin\ninclude-system-site-packages = false\n",
    f"{SITE}/voiceauthd.pth": "/opt/checkout/daemon\n",
}


def voiceauth(container: Container, *words: str) -> str:
    """The output of a command that runs as root."""
    environment = ["PYTHONPATH=/opt/checkout/daemon:/opt/packages", "LD_LIBRARY_PATH=/opt/python/lib"]
    return container.run("env", *environment, PYTHON, "-m", "voiceauthd.cli.main", *words)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A booted container in which Anna has a password, may use sudo, and is enrolled."""
    folder = tmp_path_factory.mktemp("sudo")
    drop_in = f"Environment=PULSE_SERVER={PULSE}\nLoadCredential=profiles.key:{CREDENTIAL}\n"
    settings = "model: {name: campplus}\nenroll: {speech: 10, exemplars: 3}\nlockout: {failures: 1, within: 300}\n"
    container = boot(folder, settings, drop_in, FILES)
    try:
        container.run("chown", "-R", "voiceauthd:", "/var/lib/voiceauthd/models")
        (container.folder / "etc/sudoers").chmod(0o440)
        (container.folder / CREDENTIAL.lstrip("/")).chmod(0o600)
        give_password(container)
        (container.folder / f"{HOME}/bin".lstrip("/")).mkdir()
        container.run("ln", "-s", "/usr/bin/python3", f"{HOME}/bin/python")
        container.write(HELPER, (CHECKOUT / "scripts" / "voiceauth-pam").read_text())
        container.run("chmod", "0755", HELPER)
        container.run("systemctl", "start", "vmic.service")
        wait_until("the sound server listens", lambda: container.path("/run/vmic/native").exists(), 20)
        wait_until(
            "the default microphone is there", lambda: pactl(container, "set-default-source", "vmic.monitor"), 20
        )
        people = cast()
        takes = []
        for index, take in enumerate(people.enrolment):
            takes.append(f"/opt/take-{index}{take.suffix}")
            shutil.copy(take, container.folder / takes[-1].lstrip("/"))
        for name, recording in (("owner", people.owner), ("stranger", people.stranger)):
            shutil.copy(write_playable(recording, folder), container.folder / f"opt/{name}.wav")
        if people.noise is not None:
            noise = samples(people.noise)[: round(SHORT_HELPER_TIMEOUT * RATE)]
            soundfile.write(container.folder / "opt/noise.wav", noise, RATE)
        assert samples(people.owner).any()
        voiceauth(container, "enroll", OWNER, *takes)
        wait_active(container)
        install(container, HELPER_TIMEOUT)
        yield container
    finally:
        container.close()


@pytest.fixture
def short_timeout(container: Container) -> Iterator[Container]:
    """The container with a helper that listens for `SHORT_HELPER_TIMEOUT`."""
    service = container.folder / "etc/pam.d/sudo"
    text = service.read_text()
    shorter = text.replace(f"--timeout {HELPER_TIMEOUT:g}", f"--timeout {SHORT_HELPER_TIMEOUT:g}")
    assert shorter != text
    service.write_text(shorter)
    yield container
    service.write_text(text)


def give_password(container: Container) -> None:
    """Set the password, as `passwd` would."""
    shadow = container.folder / "etc/shadow"
    others = [line for line in shadow.read_text().splitlines() if not line.startswith(f"{OWNER}:")]
    shadow.write_text("\n".join([*others, f"{OWNER}:{hashed(PASSWORD)}:20000:0:99999:7:::"]) + "\n")


def install(container: Container, timeout: float) -> None:
    """Add the voice to the PAM service of sudo."""
    options = ("--allow-root", "--helper", HELPER, "--timeout", f"{timeout:g}")
    voiceauth(container, "pam", "install", "sudo", *options)


def pactl(container: Container, *words: str) -> bool:
    command = container.inside("env", f"PULSE_SERVER={PULSE}", "HOME=/tmp", "pactl", *words)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def sudo(
    container: Container, recording: str | None, typed: str = ""
) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run `sudo id -u` as Anna while a recording is played. Returns how it ended, and the seconds that it took."""
    command: Sequence[str] = container.inside("sudo", "-S", "-p", "Password: ", "id", "-u", uid=UID)
    began = time.monotonic()
    asked = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    if recording is not None:
        wait_until("the daemon listens", lambda: status(container).get("claim") == "Verify", 20)
        play = container.inside(
            "env", f"PULSE_SERVER={PULSE}", "HOME=/tmp", "paplay", "--device=vmic", f"/opt/{recording}.wav"
        )
        subprocess.run(play, check=True, timeout=30)
    out, err = asked.communicate(typed, timeout=60)
    return subprocess.CompletedProcess(command, asked.returncode, out, err), time.monotonic() - began


def is_root(ended: subprocess.CompletedProcess[str]) -> bool:
    """Return whether the command ran as root. PAM's conversation is on standard output too."""
    return ended.returncode == 0 and "0" in ended.stdout.splitlines()


def status(container: Container) -> dict:
    answer = call(container, SOCKET_PATH, "Status")
    assert answer is not None
    return dict(answer["parameters"])


def test_profiles_are_encrypted_with_the_key_from_the_systemd_credential(container: Container) -> None:
    assert "campplus" in container.show("voiceauthd.service", "StatusText")
    state = container.path("/var/lib/voiceauthd")
    sealed = (state / "profiles" / f"{OWNER}.profile").read_bytes()
    assert f'"key":"{KEY.id}"'.encode() in sealed
    assert not (state / "profiles.key").exists(), "with a credential there is no key file"


def test_the_owner_becomes_root_by_voice_and_everybody_else_needs_the_password(container: Container) -> None:
    spoken, _ = sudo(container, "owner")
    assert is_root(spoken), spoken
    assert "Recognised" in spoken.stdout
    assert "Password" not in spoken.stderr

    # A stranger's voice leads to the password, and a wrong one is refused.
    refused, _ = sudo(container, "stranger", typed="a guess\n")
    assert refused.returncode != 0
    assert "Password" in refused.stderr
    assert "Not recognised" in refused.stdout
    assert not is_root(refused)

    # The failure has locked the voice, even for the owner. The password has no lock.
    locked, took = sudo(container, None, typed=f"{PASSWORD}\n")
    assert is_root(locked)
    assert "locked" in locked.stdout
    assert "Password" in locked.stderr
    assert took < 3.0
    voiceauth(container, "profiles", "unlock", OWNER)
    assert is_root(sudo(container, "owner")[0])


def test_a_terminal_shows_when_to_speak(short_timeout: Container) -> None:
    container = short_timeout
    ours, theirs = pty.openpty()
    command = container.inside("sudo", "-S", "-p", "Password: ", "id", "-u", uid=UID)
    asked = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = ""
    try:
        for words in ("Speak now", "Password"):  # in this order: the voice comes first
            while words not in shown:
                assert select.select([ours], [], [], 20)[0], f"not shown: {words}; shown: {shown}"
                shown += os.read(ours, 4096).decode()
        assert shown.index("Speak now") < shown.index("Not recognised") < shown.index("Password")
        os.write(ours, f"{PASSWORD}\n".encode())
        assert asked.wait(20) == 0
    finally:
        os.close(ours)
        asked.kill()
        asked.wait()


@pytest.mark.parametrize("recording", [None, "noise"])
def test_silence_and_noise_lead_to_the_password_in_time(short_timeout: Container, recording: str | None) -> None:
    if recording is not None and not short_timeout.path(f"/opt/{recording}.wav").exists():
        pytest.skip("no recorded noise: ../shared/speech is missing")
    waited, took = sudo(short_timeout, recording, typed=f"{PASSWORD}\n")
    assert is_root(waited)
    assert "Password" in waited.stderr
    assert took < SHORT_HELPER_TIMEOUT + 2.0


def test_the_daemon_stops_in_time_and_the_password_is_asked_for_at_once(container: Container) -> None:
    began = time.monotonic()
    container.run("systemctl", "stop", "voiceauthd.socket", "voiceauthd.service")
    assert time.monotonic() - began < 2.0
    try:
        waited, took = sudo(container, None, typed=f"{PASSWORD}\n")
    finally:
        container.run("systemctl", "start", "voiceauthd.socket")
    assert is_root(waited)
    assert took < 2.0


def test_pam_remove_restores_the_service_file(container: Container) -> None:
    voiceauth(container, "pam", "remove", "sudo")
    try:
        assert (container.folder / "etc/pam.d/sudo").read_text() == PASSWORDS
        asked, _ = sudo(container, None, typed="a guess\n")
        assert asked.returncode != 0
    finally:
        install(container, HELPER_TIMEOUT)
