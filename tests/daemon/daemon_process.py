"""The whole daemon as a child process of the test, with its own folder, and audio on its standard input."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from daemon_audio import AudioFeed
from daemon_caller import Caller, RefusedError
from models import campplus_cache
from waiting import DEADLINE, wait_until

from voiceauthd.audio.pcm import pcm16
from voiceauthd.profiles.document import export_document, import_document
from voiceauthd.profiles.profile import new_uid

MODEL_LOAD_DEADLINE = 60.0
"""Seconds for the daemon to load its model."""

MAX_PIECE_BYTES = 32 * 1024
"""Bytes of PCM in one SendAudio, the most that it takes."""

Settings = dict[str, Any]

QUICK_ENROLMENT: Settings = {"enroll": {"speech": 10, "exemplars": 3, "refuse_duplicates": False}}
"""Half of the default, to save time; and the same recordings may be enrolled under several names."""


class DaemonProcess:
    """One daemon. `settings` are merged into the settings that every test uses.

    command      replaces `voiceauthd`; gets the same arguments
    with_audio   whether `feed` plays audio to its standard input, which is /dev/null otherwise
    speed        of the audio, in multiples of real time
    descriptors  inherited by the child
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings | None = None,
        *,
        command: Sequence[str] = (sys.executable, "-m", "voiceauthd.service.main"),
        environment: Mapping[str, str] | None = None,
        with_audio: bool = True,
        speed: float = 6.0,
        descriptors: Sequence[int] = (),
    ) -> None:
        self.folder = folder
        self.socket = folder / "socket"
        self.profiles = folder / "profiles"
        self.config = folder / "config.yaml"
        self.log = folder / "log"
        self.settings: Settings = {
            "model": {"name": "campplus", "device": "cpu"},
            "audio": {"source": "-"},
            "socket": {"path": str(self.socket)},
            "profiles": str(self.profiles),
            "scoring": str(folder / "scoring"),  # not that of this machine
        }
        self.settings = merged(self.settings, settings or {})
        self.configure({})
        self._log = self.log.open("wb")
        self._log_start = 0
        self.process = subprocess.Popen(
            [*command, "--config", str(self.config)],
            stdin=subprocess.PIPE if with_audio else subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=without_service(os.environ) | {"OMP_WAIT_POLICY": "PASSIVE"} | dict(environment or {}),
            pass_fds=descriptors,
        )
        self.feed: AudioFeed | None = None
        if with_audio:
            assert self.process.stdin is not None
            self.feed = AudioFeed(self.process.stdin, speed)

    def __enter__(self) -> DaemonProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    # The process

    def configure(self, settings: Settings) -> None:
        """Write the configuration file: the settings that the daemon was started with, overridden by `settings`."""
        new = self.config.with_name("config.new")
        new.write_text(json.dumps(merged(self.settings, settings), indent=1), encoding="utf-8")  # JSON is YAML, too
        new.rename(self.config)

    def await_socket(self) -> None:
        """Return when the socket accepts connections."""
        wait_until("the socket answers", lambda: self._alive() and answers(self.socket))

    def await_ready(self) -> None:
        """Return when the model is loaded."""
        self.await_socket()
        wait_until("the model is loaded", lambda: self._alive() and self.ask("Status")["ready"], MODEL_LOAD_DEADLINE)

    def _alive(self) -> bool:
        code = self.process.poll()
        assert code is None, f"the daemon ended with exit code {code}: {self.log.read_text()}"
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon."""
        self.process.send_signal(number)

    def wait(self, seconds: float = DEADLINE) -> int:
        """Wait until the daemon has ended, and return its exit code."""
        code = self.process.wait(seconds)
        if self.feed is not None:
            self.feed.close()
        self._log.close()
        return code

    def end(self) -> int:
        """Stop the daemon, and return its exit code; kills it if it does not stop."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.wait()
        finally:
            sys.stderr.write(self.log.read_text(errors="replace"))  # pytest shows it with a failure

    def logged(self, text: str) -> bool:
        """Return whether the daemon's log contains `text`, since the last `skip_log`."""
        return text in self.log.read_text(errors="replace")[self._log_start :]

    def skip_log(self) -> None:
        """Make `logged` ignore the log up to now."""
        self._log_start = len(self.log.read_text(errors="replace"))

    # Calls

    def caller(self) -> Caller:
        """Return a new connection."""
        return self.caller_of(self.socket)

    @staticmethod
    def caller_of(path: Path) -> Caller:
        """Return a new connection to another socket."""
        return Caller(path, DEADLINE)

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Return the answer to one call on a new connection. Raises `RefusedError`."""
        with self.caller() as caller:
            return caller.ask(method, **parameters)

    def refusal(self, method: str, **parameters: object) -> RefusedError:
        """Return the error that a call is answered with."""
        try:
            answer = self.ask(method, **parameters)
        except RefusedError as refused:
            return refused
        raise AssertionError(f"{method} was answered with {answer}")

    def names(self) -> list[str]:
        """Return the names of all profiles, including unusable ones."""
        return [profile["name"] for profile in self.ask("ListProfiles")["profiles"]]

    def verify(self, name: str, samples: np.ndarray | None = None, **parameters: object) -> dict[str, Any]:
        """Verify while `samples` are played from the moment the daemon listens, and return the decision."""
        with self.caller() as caller:
            caller.send("Verify", name=name, **parameters)
            caller.until("listening")
            if samples is not None:
                assert self.feed is not None
                self.feed.play(samples)
            return caller.until("decided")

    def begin_recordings(self, caller: Caller, **parameters: object) -> str:
        """Begin an enrolment from recordings, and return its claim."""
        caller.send("Enroll", source="recordings", **parameters)
        claim = caller.until("listening")["claim"]
        assert claim
        return str(claim)

    def send_recordings(self, claim: str, takes: Sequence[np.ndarray], last: str = "all") -> None:
        """Send whole recordings piece by piece. `last`: the `end` of the last one, "take" if more follow."""
        with self.caller() as sender:
            for index, take in enumerate(takes):
                end = "take" if index < len(takes) - 1 else last
                pcm = pcm16(take)
                starts = range(0, len(pcm), MAX_PIECE_BYTES)
                pieces = [pcm[start : start + MAX_PIECE_BYTES] for start in starts] or [b""]
                for number, piece in enumerate(pieces, 1):
                    closing = {"end": end} if number == len(pieces) else {}
                    sender.ask("SendAudio", claim=claim, pcm=base64.b64encode(piece).decode(), **closing)

    def enroll(self, name: str, takes: Sequence[np.ndarray], **parameters: object) -> list[dict[str, Any]]:
        """Enrol from recordings, and return all replies; the last one has the profile. Raises `RefusedError`."""
        with self.caller() as caller:
            claim = self.begin_recordings(caller, name=name, **parameters)
            self.send_recordings(claim, takes)
            return caller.rest()

    def copy(self, name: str, new_name: str) -> dict[str, Any]:
        """Enrol the same voice under another name too; faster than enrolling from recordings."""
        profile = import_document(self.ask("ExportProfile", name=name)["document"])
        document = export_document(dataclasses.replace(profile, name=new_name, uid=new_uid()))
        return dict(self.ask("ImportProfile", document=document)["profile"])

    def await_idle(self) -> None:
        """Return when nobody holds the claim and nobody monitors."""

        def idle() -> bool:
            status = self.ask("Status")
            return status["claim"] is None and status["monitors"] == 0

        wait_until("the daemon is idle", idle)


def start_stub(
    folder: Path,
    settings: Settings | None = None,
    *,
    program: str = "voiceauthd",
    activate: Sequence[str] = (),
    **others: Any,
) -> DaemonProcess:
    """Start a daemon with the model of `daemon_stub`.

    program   "voiceauthd" or "voiceauth run"
    activate  words before its command
    others    arguments of `DaemonProcess`
    """
    stub = Path(__file__).with_name("daemon_stub.py")
    command = [*activate, sys.executable, str(stub), str(folder), program]
    quick = merged(QUICK_ENROLMENT, {"speech": {"confirm": False}})
    return DaemonProcess(folder, merged(quick, settings or {}), command=command, **others)


def merged(old: Settings, new: Settings) -> Settings:
    """Return `old` with the settings of `new`, merged key by key."""
    whole = dict(old)
    for section, values in new.items():
        whole[section] = {**whole.get(section, {}), **values} if isinstance(values, dict) else values
    return whole


def without_service(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without variables through which a child would use this process's sockets or settings."""
    return {
        key: value
        for key, value in environment.items()
        if not key.startswith(("VOICEAUTHD_", "LISTEN_", "WATCHDOG_")) and key != "NOTIFY_SOCKET"
    }


def with_model() -> dict[str, str]:
    """Return the environment variables with which the daemon finds CAM++. Skips the test if the model is missing."""
    return {"VOICEAUTHD_MODEL_CACHE": str(campplus_cache())}


def answers(path: Path) -> bool:
    """Return whether the socket accepts connections."""
    try:
        Caller(path, DEADLINE).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True
