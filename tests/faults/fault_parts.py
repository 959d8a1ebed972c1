"""The owner's voice, which is heard without end, and the three ways in which somebody tries to be let in by it."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from daemon_box import ENOUGH, Box, Settings, merged, wait_until
from daemon_caller import HungUpError, RefusedError
from daemon_room import quiet, takes, voice
from faults_stub import BROKEN
from pam_room import PASSWORDS, PamRoom

from voiceauthd.client.client import Client
from voiceauthd.errors import VoiceauthError

OWNER, OTHER = "ralph", "susan"
PASSWORD = "the owner's password"
OWNER_UID, OTHER_UID = 41_001, 41_002

HELPER = Path(sys.executable).with_name("voiceauth-pam")

SPEED = 20.0
"""Of the owner's speech, in multiples of real time."""

LISTENS = 0.6
"""Seconds that the daemon listens to the owner in a try that is to fail: twelve seconds of speech."""

HELPER_TIMEOUT = 2.0
"""Seconds that the helper may delay the password by."""

SLACK = 2.0
"""Seconds that a busy machine may take to start and end pamtester and all that it starts."""

VOICE_ONLY, VOICE_FIRST = "voice-only", "voice-first"
"""Services of PAM: nothing but the voice lets in; the voice, else the password."""

SETTINGS: Settings = merged(ENOUGH, {"speech": {"confirm": False}, "lockout": {"failures": 100}})


@functools.cache
def on_and_on(name: str) -> np.ndarray:
    """Minutes of one recording, with pauses."""
    once = np.concatenate([voice(name), quiet(0.6)])
    return np.tile(once, 1 + 600 * 16_000 // len(once))


@dataclass(frozen=True)
class Try:
    """One attempt to be let in. `way`: socket, client or PAM; `said`: what came of it; `seconds` that it took."""

    way: str
    accepted: bool
    said: str
    seconds: float


def some(every: Iterable[object], quick: Collection[object]) -> list[object]:
    """Parameters of a test: those that are not `quick` are for the long run."""
    return [one if one in quick else pytest.param(one, marks=pytest.mark.slow) for one in every]


class Tally:
    """How many tries there were, for the last line of the test run."""

    faults: ClassVar[set[str]] = set()
    tries = accepts = controls = 0


class House:
    """A daemon that can be broken, and a PAM that asks it. The owner is enrolled in it, and speaks all the time."""

    def __init__(self, box: Box, pam: PamRoom | None) -> None:
        self.box = box
        self.pam = pam

    # What is broken

    @contextlib.contextmanager
    def broken(self, what: str) -> Iterator[None]:
        """While the block runs."""
        self.begin(what)
        try:
            yield
        finally:
            self.mend()

    def begin(self, what: str) -> None:
        """From now on."""
        assert what in BROKEN
        self._write("broken", what)

    def mend(self) -> None:
        """Nothing is broken any more."""
        (self.box.folder / "broken").unlink(missing_ok=True)

    @contextlib.contextmanager
    def clock_off(self, seconds: float) -> Iterator[None]:
        """While the block runs, the daemon's clock is wrong by so much."""
        self.set_clock(seconds)
        try:
            yield
        finally:
            self.set_clock(0.0)

    def set_clock(self, seconds: float) -> None:
        """From now on, the daemon's clock is wrong by so much."""
        self._write("offset", str(seconds))

    def hold(self, point: str) -> None:
        """Whoever comes to this point waits there."""
        (self.box.folder / f"at-hold-{point}").unlink(missing_ok=True)
        (self.box.folder / f"hold-{point}").touch()

    def await_held(self, point: str) -> None:
        """Returns when somebody waits there."""
        wait_until(f"{point} is reached", (self.box.folder / f"at-hold-{point}").exists)

    def release(self, point: str) -> None:
        """Whoever waits there goes on."""
        (self.box.folder / f"hold-{point}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def held(self, point: str) -> Iterator[None]:
        """While the block runs."""
        self.hold(point)
        try:
            yield
        finally:
            self.release(point)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """While the block runs, the daemon can write nothing to any file."""
        import resource

        pid = self.box.process.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))

    def reload(self) -> None:
        """Has the store read again."""
        self.box.ask("Reload")

    def try_to_reload(self) -> None:
        """Whether or not the daemon takes it."""
        with contextlib.suppress(RefusedError):
            self.reload()

    def _write(self, name: str, text: str) -> None:
        new = self.box.folder / f"{name}.new"
        new.write_text(text, encoding="utf-8")
        new.rename(self.box.folder / name)

    # Who tries to be let in

    @contextlib.contextmanager
    def speaking(self, name: str = "verify-ralph") -> Iterator[None]:
        """While the block runs, the owner speaks."""
        room, over = self.box.room, threading.Event()
        assert room is not None

        def speak() -> None:
            while not over.is_set():
                clip = room.play(on_and_on(name))
                while not (clip.over.wait(0.1) or over.is_set()):
                    pass

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        try:
            yield
        finally:
            over.set()
            speaker.join()
            if self.box.process.poll() is None and not (self.box.folder / "hold-capture").exists():
                room.hush()

    def by_socket(self, name: str = OWNER, timeout: float = LISTENS, path: Path | None = None) -> Try:
        """A program that believes whatever it is told."""
        began = time.monotonic()
        try:
            with self.box.caller_of(path or self.box.socket) as caller:
                caller.send("Verify", name=name, timeout=timeout)
                last = caller.rest()[-1]
        except (RefusedError, HungUpError, OSError, AssertionError) as problem:
            return self._tried("socket", False, repr(problem), began)
        return self._tried("socket", last.get("outcome") == "accept", str(last.get("reason")), began)

    def by_client(self, name: str = OWNER, timeout: float = LISTENS, path: Path | None = None) -> Try:
        """Our client."""
        began = time.monotonic()
        try:
            with Client(path or self.box.socket, timeout=HELPER_TIMEOUT) as client:
                verified = client.verify(name, timeout=timeout)
        except VoiceauthError as problem:
            return self._tried("client", False, repr(problem), began)
        return self._tried("client", verified.accepted, verified.reason, began)

    def by_pam(self, name: str = OWNER, service: str = VOICE_ONLY, typed: str = "", path: Path | None = None) -> Try:
        """pamtester, libpam, pam_exec.so, voiceauth-pam, the socket."""
        assert self.pam is not None
        furnish(self.pam, path or self.box.socket)
        began = time.monotonic()
        done = self.pam.authenticate(service, name, typed)
        return self._tried("PAM", done.returncode == 0, f"{done.stdout}{done.stderr}", began)

    def tries(self, name: str = OWNER) -> list[Try]:
        """One in each way."""
        return [self.by_socket(name), self.by_client(name), self.by_pam(name)]

    def midway(self, act: Callable[[], object], before: Callable[[], object] = bool) -> list[Try]:
        """One in each way, in the middle of which, after speech was heard and before anything is decided, `act` is
        called. `before` is called before each."""
        found = []
        for way in (self.by_socket, self.by_client, self.by_pam):
            before()
            with self.held("worker"), self.begun(way) as trying:
                cut = self.box.ask("Status")["windows"]["cut"]
                wait_until("it is spoken", lambda before=cut: self.box.ask("Status")["windows"]["cut"] > before + 1)
                act()
                self.release("worker")
                found.append(trying.result(30.0))
        return found

    @contextlib.contextmanager
    def begun(self, way: Callable[..., Try], **more: object) -> Iterator[Future[Try]]:
        """A try that goes on while the block runs, from the moment on that the daemon listens."""
        if way != self.by_pam:
            more = {"timeout": 2.0, **more}
        with ThreadPoolExecutor(1) as thread:
            trying = thread.submit(way, **more)
            wait_until("it listens", lambda: self.box.ask("Status").get("claim") == "Verify")
            yield trying

    def _tried(self, way: str, accepted: bool, said: str, began: float) -> Try:
        return Try(way, accepted, said, time.monotonic() - began)

    def lets_the_owner_in(self, pam: bool = True) -> None:
        """The control: without a fault the same voice is accepted, so what follows could fail."""
        for way in (self.by_socket, self.by_pam)[: 1 + pam]:
            found = [way()]
            while not found[-1].accepted and len(found) < 3:  # a machine that is busy with other things
                found.append(way())
            assert found[-1].accepted, found
            Tally.controls += 1

    def lets_nobody_in(self, fault: str, name: str = OWNER, found: Sequence[Try] | None = None) -> list[Try]:
        """No way, in bounded time."""
        found = self.tries(name) if found is None else found
        Tally.faults.add(fault)
        Tally.tries += len(found)
        Tally.accepts += sum(one.accepted for one in found)
        assert not any(one.accepted for one in found), (fault, found)
        assert all(one.seconds < HELPER_TIMEOUT + SLACK for one in found if one.way == "PAM"), found
        return list(found)

    def falls_through_to_the_password(self) -> None:
        """The password lets in, and it is asked for in time."""
        right = self.by_pam(service=VOICE_FIRST, typed=f"{PASSWORD}\n")
        assert right.accepted, right
        assert "Password:" in right.said
        assert right.seconds < HELPER_TIMEOUT + SLACK


@contextlib.contextmanager
def new_house(
    settings: Settings | None = None, *, folder: Path | None = None, pam: PamRoom | None = None, **others: object
) -> Iterator[House]:
    """A daemon of the test's own, in which the owner and another are enrolled."""
    made = new_folder() if folder is None else folder
    box = start(made, settings, **others)
    try:
        box.await_ready()
        house = House(box, pam)
        for person in (OWNER, OTHER):
            if person not in box.names():
                box.enroll(person, takes(person))
        yield house
    finally:
        end(box)
        if folder is None:
            shutil.rmtree(made, ignore_errors=True)


def new_folder() -> Path:
    """A short path, in which nobody else could put a socket: the helper would not trust one in /tmp."""
    made = Path(tempfile.mkdtemp(prefix="faults-", dir="/run" if os.access("/run", os.W_OK) else None))
    made.chmod(0o755)
    return made


def start(folder: Path, settings: Settings | None = None, prefix: Sequence[str] = (), **others: object) -> Box:
    """Starts the daemon that can be broken. `prefix`: words before its command."""
    stub = Path(__file__).with_name("faults_stub.py")
    command = [*prefix, sys.executable, str(stub), str(folder), "voiceauthd"]
    return Box(folder, merged(SETTINGS, settings or {}), command=command, speed=SPEED, **others)


def end(box: Box) -> None:
    """Whatever it hangs at."""
    for file in [*box.folder.glob("hold-*"), *box.folder.glob("broken")]:
        file.unlink()
    box.end()


def kill(box: Box) -> None:
    """SIGKILL, to this child alone."""
    box.signal(signal.SIGKILL)
    box.wait()


def furnish(pam: PamRoom, socket: Path, *options: str) -> None:
    """The accounts and services of the room, with a voice that is asked of the daemon at `socket`."""
    if OWNER not in (pam.folder / "passwd").read_text():
        pam.account(OWNER, OWNER_UID, PASSWORD)
        pam.account(OTHER, OTHER_UID, PASSWORD)
    words = [str(HELPER), "--socket", str(socket), "--timeout", str(HELPER_TIMEOUT), *options]
    ask = f"auth sufficient pam_exec.so quiet stdout seteuid {' '.join(words)}\n"
    deny = "auth required pam_deny.so\naccount required pam_permit.so\nsession required pam_permit.so\n"
    pam.service(VOICE_ONLY, ask + deny)
    pam.service(VOICE_FIRST, ask + PASSWORDS.replace("pam_unix.so", "pam_unix.so nodelay"))


def in_root_of(pid: int, path: Path) -> Path:
    """A path as the process sees it, which may be in a mount namespace of its own."""
    return Path(f"/proc/{pid}/root") / path.relative_to("/")
