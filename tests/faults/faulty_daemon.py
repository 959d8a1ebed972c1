"""A daemon in which parts can be broken, and the three ways in which somebody tries to be accepted by it."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
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
from daemon_audio import quiet, takes, voice
from daemon_caller import HungUpError, RefusedError
from daemon_process import QUICK_ENROLMENT, DaemonProcess, Settings, merged
from faults_stub import BROKEN
from pam_room import PASSWORDS, PamRoom
from waiting import wait_until

from voiceauthd.client.client import Client
from voiceauthd.errors import VoiceauthError

OWNER, OTHER = "ralph", "susan"
PASSWORD = "the owner's password"
OWNER_UID, OTHER_UID = 41_001, 41_002

HELPER = Path(sys.executable).with_name("voiceauth-pam")

SPEED = 20.0
"""Speed of the owner's speech in multiples of real time."""

VERIFY_TIMEOUT = 0.6
"""Seconds that the daemon listens in an attempt that must fail: twelve seconds of speech."""

HELPER_TIMEOUT = 2.0
"""Seconds by which the helper may delay the password."""

SLACK = 2.0
"""Seconds that a busy machine may take to start and end pamtester and its child processes."""

VOICE_ONLY, VOICE_FIRST = "voice-only", "voice-first"
"""PAM services: only the voice grants access; the voice, else the password."""

SETTINGS: Settings = merged(QUICK_ENROLMENT, {"speech": {"confirm": False}, "lockout": {"failures": 100}})


@functools.cache
def repeated(name: str) -> np.ndarray:
    """Return one recording repeated for ten minutes, with pauses."""
    once = np.concatenate([voice(name), quiet(0.6)])
    return np.tile(once, 1 + 600 * 16_000 // len(once))


@dataclass(frozen=True)
class Attempt:
    """One attempt to be accepted.

    way      "socket", "client" or "PAM"
    message  the reason, the error, or the output of pamtester
    """

    way: str
    accepted: bool
    message: str
    seconds: float


def slow_except(every: Iterable[object], quick: Collection[object]) -> list[object]:
    """Return the parameters of a test, of which those that are not in `quick` are marked as slow."""
    return [one if one in quick else pytest.param(one, marks=pytest.mark.slow) for one in every]


class Tally:
    """The number of attempts, for the last line of the test run."""

    faults: ClassVar[set[str]] = set()
    attempts = accepts = controls = 0


class FaultyDaemon:
    """A daemon in which parts can be broken, and a PAM that asks it. The owner is enrolled."""

    def __init__(self, daemon: DaemonProcess, pam: PamRoom | None) -> None:
        self.daemon = daemon
        self.pam = pam

    # Faults

    @contextlib.contextmanager
    def broken(self, what: str) -> Iterator[None]:
        """Break something while the block runs."""
        self.begin(what)
        try:
            yield
        finally:
            self.repair()

    def begin(self, what: str) -> None:
        """Break something from now on."""
        assert what in BROKEN
        self._write("broken", what)

    def repair(self) -> None:
        """Repair everything."""
        (self.daemon.folder / "broken").unlink(missing_ok=True)

    @contextlib.contextmanager
    def clock_off(self, seconds: float) -> Iterator[None]:
        """Set the daemon's clock wrong by `seconds` while the block runs."""
        self.set_clock(seconds)
        try:
            yield
        finally:
            self.set_clock(0.0)

    def set_clock(self, seconds: float) -> None:
        """Set the daemon's clock wrong by `seconds` from now on."""
        self._write("offset", str(seconds))

    def hold(self, point: str) -> None:
        """Make the daemon hang when it reaches this point."""
        (self.daemon.folder / f"at-hold-{point}").unlink(missing_ok=True)
        (self.daemon.folder / f"hold-{point}").touch()

    def await_held(self, point: str) -> None:
        """Return when the daemon hangs at this point."""
        wait_until(f"{point} is reached", (self.daemon.folder / f"at-hold-{point}").exists)

    def release(self, point: str) -> None:
        """Let the daemon continue from this point."""
        (self.daemon.folder / f"hold-{point}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def held(self, point: str) -> Iterator[None]:
        """Make the daemon hang at this point while the block runs."""
        self.hold(point)
        try:
            yield
        finally:
            self.release(point)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Prevent the daemon from writing to any file while the block runs."""
        pid = self.daemon.process.pid
        _, hard_limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard_limit))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard_limit, hard_limit))

    def reload(self) -> None:
        """Make the daemon read its configuration and profiles again."""
        self.daemon.ask("Reload")

    def try_to_reload(self) -> None:
        """Like `reload`, but ignore a refusal."""
        with contextlib.suppress(RefusedError):
            self.reload()

    def _write(self, name: str, text: str) -> None:
        new = self.daemon.folder / f"{name}.new"
        new.write_text(text, encoding="utf-8")
        new.rename(self.daemon.folder / name)

    # Attempts

    @contextlib.contextmanager
    def speaking(self, name: str = "verify-ralph") -> Iterator[None]:
        """Play the owner's speech while the block runs."""
        feed, over = self.daemon.feed, threading.Event()
        assert feed is not None

        def speak() -> None:
            while not over.is_set():
                clip = feed.play(repeated(name))
                while not (clip.over.wait(0.1) or over.is_set()):
                    pass

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        try:
            yield
        finally:
            over.set()
            speaker.join()
            if self.daemon.process.poll() is None and not (self.daemon.folder / "hold-capture").exists():
                feed.stop_playing()

    def by_socket(self, name: str = OWNER, timeout: float = VERIFY_TIMEOUT, path: Path | None = None) -> Attempt:
        """Attempt by a client that checks nothing."""
        began = time.monotonic()
        try:
            with self.daemon.caller_of(path or self.daemon.socket) as caller:
                caller.send("Verify", name=name, timeout=timeout)
                last = caller.rest()[-1]
        except (RefusedError, HungUpError, OSError, AssertionError) as problem:
            return self._attempt("socket", False, repr(problem), began)
        return self._attempt("socket", last.get("outcome") == "accept", str(last.get("reason")), began)

    def by_client(self, name: str = OWNER, timeout: float = VERIFY_TIMEOUT, path: Path | None = None) -> Attempt:
        """Attempt by the `Client` of this project."""
        began = time.monotonic()
        try:
            with Client(path or self.daemon.socket, timeout=HELPER_TIMEOUT) as client:
                verified = client.verify(name, timeout=timeout)
        except VoiceauthError as problem:
            return self._attempt("client", False, repr(problem), began)
        return self._attempt("client", verified.accepted, verified.reason, began)

    def by_pam(
        self, name: str = OWNER, service: str = VOICE_ONLY, typed: str = "", path: Path | None = None
    ) -> Attempt:
        """Attempt by pamtester, through libpam, pam_exec.so, voiceauth-pam and the socket."""
        assert self.pam is not None
        furnish(self.pam, path or self.daemon.socket)
        began = time.monotonic()
        done = self.pam.authenticate(service, name, typed)
        return self._attempt("PAM", done.returncode == 0, f"{done.stdout}{done.stderr}", began)

    def attempts(self, name: str = OWNER, timeout: float = VERIFY_TIMEOUT) -> list[Attempt]:
        """Return one attempt in each way. `timeout`: of the socket and the client."""
        return [self.by_socket(name, timeout), self.by_client(name, timeout), self.by_pam(name)]

    def midway(self, act: Callable[[], object], before: Callable[[], object] = bool) -> list[Attempt]:
        """Return one attempt in each way, during each of which `act` is called: after speech, and before the decision.

        `before` is called before each attempt.
        """
        found = []
        for way in (self.by_socket, self.by_client, self.by_pam):
            before()
            with self.held("worker"), self.begun(way) as trying:
                cut = self.daemon.ask("Status")["windows"]["cut"]
                wait_until(
                    "there are windows", lambda before=cut: self.daemon.ask("Status")["windows"]["cut"] > before + 1
                )
                act()
                self.release("worker")
                found.append(trying.result(30.0))
        return found

    @contextlib.contextmanager
    def begun(self, way: Callable[..., Attempt], **more: object) -> Iterator[Future[Attempt]]:
        """An attempt that is in progress while the block runs; the daemon listens when the block begins."""
        if way != self.by_pam:
            more = {"timeout": 2.0, **more}
        with ThreadPoolExecutor(1) as thread:
            trying = thread.submit(way, **more)
            wait_until("the daemon listens", lambda: self.daemon.ask("Status").get("claim") == "Verify")
            yield trying

    def _attempt(self, way: str, accepted: bool, message: str, began: float) -> Attempt:
        return Attempt(way, accepted, message, time.monotonic() - began)

    def accepts_the_owner(self, pam: bool = True) -> None:
        """Assert that the owner's voice is accepted: the control that shows that an attempt can succeed."""
        for way in (self.by_socket, self.by_pam)[: 1 + pam]:
            found = [way()]
            while not found[-1].accepted and len(found) < 3:  # on a busy machine
                found.append(way())
            assert found[-1].accepted, found
            Tally.controls += 1

    def accepts_nobody(self, fault: str, name: str = OWNER, found: Sequence[Attempt] | None = None) -> list[Attempt]:
        """Assert that no attempt is accepted, by default one in each way, and that PAM answers in time."""
        found = self.attempts(name) if found is None else found
        Tally.faults.add(fault)
        Tally.attempts += len(found)
        Tally.accepts += sum(one.accepted for one in found)
        assert not any(one.accepted for one in found), (fault, found)
        assert all(one.seconds < HELPER_TIMEOUT + SLACK for one in found if one.way == "PAM"), found
        return list(found)

    def falls_through_to_the_password(self) -> None:
        """Assert that PAM asks for the password in time, and accepts it."""
        right = self.by_pam(service=VOICE_FIRST, typed=f"{PASSWORD}\n")
        assert right.accepted, right
        assert "Password:" in right.message
        assert right.seconds < HELPER_TIMEOUT + SLACK


@contextlib.contextmanager
def start_faulty(
    settings: Settings | None = None, *, folder: Path | None = None, pam: PamRoom | None = None, **others: object
) -> Iterator[FaultyDaemon]:
    """A daemon for one test, in which the owner and another person are enrolled."""
    made = new_folder() if folder is None else folder
    daemon = start(made, settings, **others)
    try:
        daemon.await_ready()
        faulty = FaultyDaemon(daemon, pam)
        for person in (OWNER, OTHER):
            if person not in daemon.names():
                daemon.enroll(person, takes(person))
        yield faulty
    finally:
        end(daemon)
        if folder is None:
            shutil.rmtree(made, ignore_errors=True)


def new_folder() -> Path:
    """Make a folder with a short path, of root's, because the helper does not trust a socket in /tmp."""
    made = Path(tempfile.mkdtemp(prefix="faults-", dir="/run" if os.access("/run", os.W_OK) else None))
    made.chmod(0o755)
    return made


def start(
    folder: Path, settings: Settings | None = None, prefix: Sequence[str] = (), **others: object
) -> DaemonProcess:
    """Start the daemon in which parts can be broken. `prefix`: words before its command."""
    stub = Path(__file__).with_name("faults_stub.py")
    command = [*prefix, sys.executable, str(stub), str(folder), "voiceauthd"]
    return DaemonProcess(folder, merged(SETTINGS, settings or {}), command=command, speed=SPEED, **others)


def end(daemon: DaemonProcess) -> None:
    """Stop the daemon, also while it hangs."""
    for file in [*daemon.folder.glob("hold-*"), *daemon.folder.glob("broken")]:
        file.unlink()
    daemon.end()


def kill(daemon: DaemonProcess) -> None:
    """Kill the daemon with SIGKILL."""
    daemon.signal(signal.SIGKILL)
    daemon.wait()


def furnish(pam: PamRoom, socket: Path, *options: str) -> None:
    """Create the accounts and services of the private PAM; the services ask the daemon at `socket`."""
    if OWNER not in (pam.folder / "passwd").read_text():
        pam.account(OWNER, OWNER_UID, PASSWORD)
        pam.account(OTHER, OTHER_UID, PASSWORD)
    words = [str(HELPER), "--socket", str(socket), "--timeout", str(HELPER_TIMEOUT), *options]
    ask = f"auth sufficient pam_exec.so quiet stdout seteuid {' '.join(words)}\n"
    deny = "auth required pam_deny.so\naccount required pam_permit.so\nsession required pam_permit.so\n"
    pam.service(VOICE_ONLY, ask + deny)
    pam.service(VOICE_FIRST, ask + PASSWORDS.replace("pam_unix.so", "pam_unix.so nodelay"))


def in_root_of(pid: int, path: Path) -> Path:
    """Return a path as the process sees it, which may be in another mount namespace."""
    return Path(f"/proc/{pid}/root") / path.relative_to("/")
