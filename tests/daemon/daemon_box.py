"""The whole daemon as a child process: started in a folder of its own, spoken to through its socket, given sound on its
standard input, and ended by its own process id.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from daemon_caller import Caller, RefusedError
from daemon_room import Room, pcm16
from models import campplus_cache

from voiceauthd.profiles.document import export_document, import_document
from voiceauthd.profiles.profile import new_uid

DEADLINE = 15.0
"""Seconds after which something that should have happened has not, on a machine that is busy with other things."""

START_LIMIT = 60.0
"""Seconds for the daemon to load its model."""

PIECE = 32 * 1024
"""Bytes of sound in one SendAudio, the most that it takes."""

T = TypeVar("T")
Settings = dict[str, Any]

ENOUGH: Settings = {"enroll": {"speech": 10, "exemplars": 3, "refuse_duplicates": False}}
"""Half of what is asked for by default, to save time; and the same recordings enrol people of several names."""


def wait_until(what: str, probe: Callable[[], T | None], seconds: float = DEADLINE) -> T:
    """The first true value of `probe`. Fails the test, saying `what`, if none came within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


class Box:
    """One daemon. `settings` are those of its configuration file that differ from what every test wants.

    command      what to run in the place of `voiceauthd`; gets the same arguments
    hears        whether sound is played to its standard input; else nothing is on it
    speed        of the sound, in multiples of real time
    descriptors  that the child inherits
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings | None = None,
        *,
        command: Sequence[str] = (sys.executable, "-m", "voiceauthd.service.main"),
        environment: Mapping[str, str] | None = None,
        hears: bool = True,
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
            "scoring": str(folder / "scoring"),  # not this machine's
        }
        self.settings = merged(self.settings, settings or {})
        self.configure({})
        self._log = self.log.open("wb")
        self.process = subprocess.Popen(
            [*command, "--config", str(self.config)],
            stdin=subprocess.PIPE if hears else subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=without_service(os.environ) | {"OMP_WAIT_POLICY": "PASSIVE"} | dict(environment or {}),
            pass_fds=descriptors,
        )
        self.room: Room | None = None
        if hears:
            assert self.process.stdin is not None
            self.room = Room(self.process.stdin, speed)

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    # The process

    def configure(self, settings: Settings) -> None:
        """Writes the configuration file: what the daemon was started with, and before it `settings`."""
        new = self.config.with_name("config.new")
        new.write_text(json.dumps(merged(self.settings, settings), indent=1), encoding="utf-8")  # JSON is YAML, too
        new.rename(self.config)

    def await_socket(self) -> None:
        """Returns when somebody answers on the socket."""
        wait_until("the socket answers", lambda: self._alive() and answers(self.socket))

    def await_ready(self) -> None:
        """Returns when the model has loaded."""
        self.await_socket()
        wait_until("the model is loaded", lambda: self._alive() and self.ask("Status")["ready"], START_LIMIT)

    def _alive(self) -> bool:
        code = self.process.poll()
        assert code is None, f"the daemon ended with exit code {code}: {self.log.read_text()}"
        return True

    def signal(self, number: signal.Signals) -> None:
        """To this child alone."""
        self.process.send_signal(number)

    def wait(self, seconds: float = DEADLINE) -> int:
        """Waits until the daemon has ended. Returns its exit code."""
        code = self.process.wait(seconds)
        if self.room is not None:
            self.room.close()
        self._log.close()
        return code

    def end(self) -> int:
        """Tells the daemon to stop, and waits; kills it if it does not."""
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
        """Whether the log has a line with this."""
        return text in self.log.read_text(errors="replace")

    # Calls

    def caller(self) -> Caller:
        """A new connection."""
        return self.caller_of(self.socket)

    @staticmethod
    def caller_of(path: Path) -> Caller:
        """A new connection to another socket."""
        return Caller(path, DEADLINE)

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """The answer to one call, on a connection of its own. Raises `RefusedError`."""
        with self.caller() as caller:
            return caller.ask(method, **parameters)

    def refusal(self, method: str, **parameters: object) -> RefusedError:
        """The error that a call is answered with."""
        try:
            answer = self.ask(method, **parameters)
        except RefusedError as refused:
            return refused
        raise AssertionError(f"{method} was answered with {answer}")

    def names(self) -> list[str]:
        """Who is enrolled, usable or not."""
        return [profile["name"] for profile in self.ask("ListProfiles")["profiles"]]

    def begin_recordings(self, caller: Caller, **parameters: object) -> str:
        """Begins an enrolment from recordings. Returns the claim."""
        caller.send("Enroll", source="recordings", **parameters)
        claim = caller.until("listening")["claim"]
        assert claim
        return str(claim)

    def send_recordings(self, claim: str, takes: Sequence[np.ndarray], last: str = "all") -> None:
        """Sends them whole, piece by piece. `last`: how the last one ends, "take" if more follow."""
        with self.caller() as sender:
            for index, take in enumerate(takes):
                end = "take" if index < len(takes) - 1 else last
                pcm = pcm16(take)
                pieces = [pcm[start : start + PIECE] for start in range(0, len(pcm), PIECE)] or [b""]
                for number, piece in enumerate(pieces, 1):
                    closing = {"end": end} if number == len(pieces) else {}
                    sender.ask("SendAudio", claim=claim, pcm=base64.b64encode(piece).decode(), **closing)

    def enroll(self, name: str, takes: Sequence[np.ndarray], **parameters: object) -> list[dict[str, Any]]:
        """Enrols from recordings. Returns every reply; the last one has the profile. Raises `RefusedError`."""
        with self.caller() as caller:
            claim = self.begin_recordings(caller, name=name, **parameters)
            self.send_recordings(claim, takes)
            return caller.rest()

    def copy(self, name: str, new_name: str) -> dict[str, Any]:
        """Enrols the same voice under another name too, which recordings could do as well, but slowly."""
        profile = import_document(self.ask("ExportProfile", name=name)["document"])
        document = export_document(dataclasses.replace(profile, name=new_name, uid=new_uid()))
        return dict(self.ask("ImportProfile", document=document)["profile"])

    def await_idle(self) -> None:
        """Returns when nobody holds the claim and nobody monitors: what the test began is over."""

        def idle() -> bool:
            status = self.ask("Status")
            return status["claim"] is None and status["monitors"] == 0

        wait_until("the daemon is idle", idle)


def merged(old: Settings, new: Settings) -> Settings:
    """`new` before `old`, key by key."""
    whole = dict(old)
    for section, values in new.items():
        whole[section] = {**whole.get(section, {}), **values} if isinstance(values, dict) else values
    return whole


def without_service(environment: Mapping[str, str]) -> dict[str, str]:
    """Less the variables that would make a child take this process's sockets, configuration or state for its own."""
    return {
        key: value
        for key, value in environment.items()
        if not key.startswith(("VOICEAUTHD_", "LISTEN_", "WATCHDOG_")) and key != "NOTIFY_SOCKET"
    }


def with_model() -> dict[str, str]:
    """The environment that finds CAM++. Skips the test where it cannot be had."""
    return {"VOICEAUTHD_MODEL_CACHE": str(campplus_cache())}


def answers(path: Path) -> bool:
    """Whether a connection to the socket can be made."""
    try:
        Caller(path, DEADLINE).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True
