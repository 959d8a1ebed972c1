"""sudo by voice on a whole machine: a booted systemd, the shipped units, a microphone, PAM, and people who speak."""

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
from box import Box, wait_until
from installed import CHECKOUT, PYTHON, boot, call, wait_active
from pam_room import PASSWORDS, hashed
from voices import cast, samples, to_be_played

from voiceauthd.profiles.keys import WORD, new_key

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
DEADLINE = 6.0
PULSE = "unix:/run/vmic/native"

KEY = new_key()
CREDENTIAL = "/etc/credstore/profiles.key"

FILES = {
    CREDENTIAL: f"{WORD} {base64.b64encode(KEY.secret).decode()}\n",
    "/etc/sysusers.d/anna.conf": f'u {OWNER} {UID} "Anna" /home/anna /bin/bash\n',
    "/etc/asound.conf": "pcm.!default { type pulse }\nctl.!default { type pulse }\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "/etc/hosts": "127.0.0.1 localhost box\n",
    "/etc/pam.d/sudo": PASSWORDS,
    "/etc/sudoers": (
        f"Defaults !lecture, passwd_tries=1, timestamp_timeout=0\nroot ALL=(ALL) ALL\n{OWNER} ALL=(ALL) ALL\n"
    ),
    # The sound server of the machine. A desktop's belongs to its user; here everybody in the box may use it.
    "/etc/systemd/system/vmic.service": (
        "[Service]\n"
        f"User={OWNER}\n"
        "RuntimeDirectory=vmic\n"
        "Environment=HOME=/run/vmic XDG_RUNTIME_DIR=/run/vmic\n"
        "ExecStart=pulseaudio -n --daemonize=no --exit-idle-time=-1 --realtime=no --high-priority=no"
        " '--load=module-native-protocol-unix auth-anonymous=1 socket=/run/vmic/native'"
        " '--load=module-null-sink sink_name=vmic rate=48000 channels=1 norewinds=1'\n"
    ),
    # An environment as `make install` makes it, of the system's Python: the helper needs nothing else.
    f"{HOME}/pyvenv.cfg": "home = /usr/bin\ninclude-system-site-packages = false\n",
    f"{SITE}/voiceauthd.pth": "/opt/checkout/daemon\n",
}


def voiceauth(box: Box, *words: str) -> str:
    """What the command prints, as root."""
    environment = ["PYTHONPATH=/opt/checkout/daemon:/opt/packages", "LD_LIBRARY_PATH=/opt/python/lib"]
    return box.run("env", *environment, PYTHON, "-m", "voiceauthd.cli.main", *words)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A booted box in which Anna has a password, may use sudo, and is enrolled."""
    folder = tmp_path_factory.mktemp("sudo")
    drop_in = f"Environment=PULSE_SERVER={PULSE}\nLoadCredential=profiles.key:{CREDENTIAL}\n"
    settings = "model: {name: campplus}\nenroll: {speech: 10, exemplars: 3}\nlockout: {failures: 2, within: 300}\n"
    box = boot(folder, settings, drop_in, FILES)
    try:
        box.run("chown", "-R", "voiceauthd:", "/var/lib/voiceauthd/models")
        (box.folder / "etc/sudoers").chmod(0o440)
        (box.folder / CREDENTIAL.lstrip("/")).chmod(0o600)
        give_password(box)
        (box.folder / f"{HOME}/bin".lstrip("/")).mkdir()
        box.run("ln", "-s", "/usr/bin/python3", f"{HOME}/bin/python")
        box.write(HELPER, (CHECKOUT / "scripts" / "voiceauth-pam").read_text())
        box.run("chmod", "0755", HELPER)
        box.run("systemctl", "start", "vmic.service")
        wait_until("the sound server listens", lambda: box.path("/run/vmic/native").exists(), 20)
        wait_until("the default microphone is there", lambda: pactl(box, "set-default-source", "vmic.monitor"), 20)
        people = cast()
        takes = []
        for index, take in enumerate(people.enrolment):
            takes.append(f"/opt/take-{index}{take.suffix}")
            shutil.copy(take, box.folder / takes[-1].lstrip("/"))
        for name, recording in (("owner", people.owner), ("stranger", people.stranger), ("noise", people.noise)):
            if recording is not None:
                shutil.copy(to_be_played(recording, folder), box.folder / f"opt/{name}.wav")
        assert samples(people.owner).any()
        voiceauth(box, "enroll", OWNER, *takes)
        wait_active(box)
        voiceauth(box, "pam", "install", "sudo", "--allow-root", "--helper", HELPER, "--timeout", f"{DEADLINE:g}")
        yield box
    finally:
        box.close()


def give_password(box: Box) -> None:
    """What `passwd` would do."""
    shadow = box.folder / "etc/shadow"
    others = [line for line in shadow.read_text().splitlines() if not line.startswith(f"{OWNER}:")]
    shadow.write_text("\n".join([*others, f"{OWNER}:{hashed(PASSWORD)}:20000:0:99999:7:::"]) + "\n")


def pactl(box: Box, *words: str) -> bool:
    command = box.inside("env", f"PULSE_SERVER={PULSE}", "HOME=/tmp", "pactl", *words)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def sudo(box: Box, sound: str | None, typed: str = "") -> tuple[subprocess.CompletedProcess[str], float]:
    """`sudo id -u` as Anna while `sound` is played."""
    command: Sequence[str] = box.inside("sudo", "-S", "-p", "Password: ", "id", "-u", uid=UID)
    began = time.monotonic()
    asked = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    if sound is not None:
        wait_until("the daemon listens", lambda: status(box).get("claim") == "Verify", 20)
        play = box.inside("env", f"PULSE_SERVER={PULSE}", "HOME=/tmp", "paplay", "--device=vmic", f"/opt/{sound}.wav")
        subprocess.run(play, check=True, timeout=30)
    out, err = asked.communicate(typed, timeout=60)
    return subprocess.CompletedProcess(command, asked.returncode, out, err), time.monotonic() - began


def is_root(ended: subprocess.CompletedProcess[str]) -> bool:
    """Whether the command ran, as root. PAM's conversation is on standard output, too."""
    return ended.returncode == 0 and "0" in ended.stdout.splitlines()


def status(box: Box) -> dict:
    answer = call(box, SOCKET_PATH, "Status")
    assert answer is not None
    return dict(answer["parameters"])


def test_voices_are_sealed_with_the_key_that_systemd_hands_over(box: Box) -> None:
    state = box.path("/var/lib/voiceauthd")
    sealed = (state / "profiles" / f"{OWNER}.profile").read_bytes()
    assert f'"key":"{KEY.id}"'.encode() in sealed
    assert not (state / "profiles.key").exists(), "where there is a credential no key lies on the disk"


def test_the_owner_becomes_root_by_voice_and_everybody_else_needs_the_password(box: Box) -> None:
    spoken, _ = sudo(box, "owner")
    assert is_root(spoken), spoken
    assert "Recognised" in spoken.stdout
    assert "Password" not in spoken.stderr

    refused, _ = sudo(box, "stranger", typed="a guess\n")
    assert refused.returncode != 0
    assert "Password" in refused.stderr
    assert "Not recognised" in refused.stdout
    assert not is_root(refused)

    helped, _ = sudo(box, "stranger", typed=f"{PASSWORD}\n")
    assert is_root(helped)
    assert "Password" in helped.stderr

    # The second failure has locked the voice, the owner's own included. The password has no lock.
    locked, took = sudo(box, None, typed=f"{PASSWORD}\n")
    assert is_root(locked)
    assert "locked" in locked.stdout
    assert "Password" in locked.stderr
    assert took < 3.0
    voiceauth(box, "profiles", "unlock", OWNER)
    assert is_root(sudo(box, "owner")[0])


def test_at_a_terminal_the_person_is_told_when_to_speak(box: Box) -> None:
    ours, theirs = pty.openpty()
    command = box.inside("sudo", "-S", "-p", "Password: ", "id", "-u", uid=UID)
    asked = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = ""
    try:
        for words in ("Speak now", "Password"):  # in this order: first the voice is heard, or nobody speaks
            while words not in shown:
                assert select.select([ours], [], [], 20)[0], f"not said: {words}; said: {shown}"
                shown += os.read(ours, 4096).decode()
        assert shown.index("Speak now") < shown.index("Not recognised") < shown.index("Password")
        os.write(ours, f"{PASSWORD}\n".encode())
        assert asked.wait(20) == 0
    finally:
        os.close(ours)
        asked.kill()
        asked.wait()


@pytest.mark.parametrize("sound", [None, "noise"])
def test_silence_and_noise_lead_to_the_password_within_the_deadline(box: Box, sound: str | None) -> None:
    if sound is not None and not box.path(f"/opt/{sound}.wav").exists():
        pytest.skip("no recorded noise: ../shared/speech is not there")
    waited, took = sudo(box, sound, typed=f"{PASSWORD}\n")
    assert is_root(waited)
    assert "Password" in waited.stderr
    assert took < DEADLINE + 2.0


def test_a_daemon_that_is_stopped_leads_to_the_password_at_once(box: Box) -> None:
    box.run("systemctl", "stop", "voiceauthd.socket", "voiceauthd.service")
    try:
        waited, took = sudo(box, None, typed=f"{PASSWORD}\n")
    finally:
        box.run("systemctl", "start", "voiceauthd.socket", "voiceauthd.service")
        wait_active(box)
    assert is_root(waited)
    assert took < 2.0


def test_what_was_installed_is_taken_out_again(box: Box) -> None:
    voiceauth(box, "pam", "remove", "sudo")
    try:
        assert (box.folder / "etc/pam.d/sudo").read_text() == PASSWORDS
        asked, _ = sudo(box, None, typed="a guess\n")
        assert asked.returncode != 0
    finally:
        voiceauth(box, "pam", "install", "sudo", "--allow-root", "--helper", HELPER)
