"""A hostile client in its own process: it sends mutated calls over many connections, and checks every answer.

    python daemon_fuzzer.py < settings > results       both in JSON; the settings are those of `Settings`

It can become another user before it connects. Every complete message must get exactly one final answer, in order and in
the message's own dialect, or none if it is a one-way call. A fault is reported with the case that caused it.
"""

from __future__ import annotations

import json
import os
import pwd
import random
import selectors
import socket
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz_parts import CLAIM, Case, Maker

from voiceauthd.errors import VoiceauthError
from voiceauthd.protocol.interface import VOICEAUTHD, load
from voiceauthd.protocol.wire import MAX_REPLY, NUL, Decoder, Reply, WireError, parse_reply, parse_request

DEADLINE = 60.0
"""Seconds for everything that one connection has sent to be answered. The slowest call waits 5 s for the microphone."""

MAX_FAULTS = 5

LAST_CALL = b'{"method":"org.voiceauthd.Info"}'
"""The last call of a client that does not close: its answer shows that all earlier calls are answered."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The task of one fuzzer.

    user         the user to become; None to stay the same
    first        number of the first case
    requests     least number of mutated requests to send
    connections  connections at one time
    texts, spoilt  for the maker of cases
    """

    socket: str
    seed: int
    first: int
    requests: int
    connections: int
    user: str | None = None
    texts: dict[str, list[str]] = field(default_factory=dict)
    spoilt: float = 0.6


@dataclass
class Results:
    """The result of one fuzzer.

    next     number of the first unused case
    slowest  duration of the slowest connection in seconds
    done     number of calls answered without an error, by method; `errors`: number of others, by error
    """

    next: int = 0
    requests: int = 0
    mutated: int = 0
    answers: int = 0
    connections: int = 0
    vanished: int = 0
    streams: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Manner(Enum):
    """How a client ends its connection.

    CLOSE   shuts down its sending direction, and reads to the end
    STAY    waits for its answers
    LATE    reads nothing for a while, then like CLOSE
    VANISH  disconnects at some point
    """

    CLOSE = auto()
    STAY = auto()
    LATE = auto()
    VANISH = auto()


MANNERS = [Manner.CLOSE] * 6 + [Manner.STAY] * 2 + [Manner.LATE, Manner.VANISH]


class FaultError(Exception):
    """The daemon misbehaved."""


class Session:
    """One connection, from the first byte to the last answer."""

    def __init__(self, case: Case, path: str, claim: bytes, results: Results) -> None:
        self.case = case
        self.claim: bytes | None = None
        self._results = results
        rng = random.Random(case.number)
        self.manner = rng.choice(MANNERS)
        chunks = [chunk.replace(CLAIM.encode(), claim) for chunk in case.chunks]
        self._expect(chunks)
        if self.manner is Manner.VANISH:
            del chunks[rng.randrange(len(chunks)) + 1 :]
        self._unsent = deque(chunks)
        # Without a complete message, answers end with both delimiters; a newline before a NUL is white space.
        self._replies = Decoder(MAX_REPLY, self._delimiter or NUL)
        self._first_read = time.monotonic() + (0.2 if self.manner is Manner.LATE else 0.0)
        self._began = time.monotonic()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.socket.setblocking(False)

    def _expect(self, chunks: list[bytes]) -> None:
        """Determine the answers that are due: for each message its method; None for one that is not a call."""
        decoder = Decoder()
        messages = [message for chunk in chunks for message in decoder.feed(chunk)]
        if self.manner is Manner.STAY and not decoder.overflowed:
            # Complete an open message, and request one more answer.
            ending = decoder.delimiter or b"\n"
            chunks += [ending, LAST_CALL, ending]
            messages += [message for chunk in chunks[-3:] for message in decoder.feed(chunk)]
        else:
            messages += decoder.finish()
        self.overflowed = decoder.overflowed
        self._delimiter = decoder.delimiter
        self._due: deque[str | None] = deque()
        self._requests = len(messages)
        for message in messages:
            try:
                request = parse_request(message)
            except WireError:
                self._due.append(None)
            else:
                if not request.oneway:
                    self._due.append(request.method)
        if self.overflowed:
            self._due.append(None)

    @property
    def wants(self) -> int:
        """The selector events that it waits for."""
        late = time.monotonic() < self._first_read
        return (0 if late else selectors.EVENT_READ) | (selectors.EVENT_WRITE if self._unsent else 0)

    def write(self) -> None:
        """Send as much as the daemon accepts."""
        chunk = self._unsent.popleft()
        try:
            sent = self.socket.send(chunk) if chunk else 0
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            if not self.overflowed:
                raise FaultError("closed while the client was sending") from None
            self._unsent.clear()
            return
        if sent < len(chunk):
            self._unsent.appendleft(chunk[sent:])
        elif not self._unsent and self.manner in (Manner.CLOSE, Manner.LATE):
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                if not self.overflowed:
                    raise FaultError("closed before the end of the input") from None

    def read(self) -> bool:
        """Process the received data. True at the end of the connection. Raises `FaultError`."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            if not self.overflowed:
                raise FaultError("reset") from None
            data = b""
        if not data:
            return self._ended()
        for raw in self._replies.feed(data):
            try:
                reply = parse_reply(raw)
            except WireError as problem:
                raise FaultError(f"not a reply: {problem}: {raw[:200]!r}") from None
            if self._take(reply):
                return True
        if self._replies.overflowed:
            raise FaultError("a reply without an end")
        return self.manner is Manner.STAY and not self._due

    def _take(self, reply: Reply) -> bool:
        if not self._due:
            raise FaultError(f"one answer too many: {reply}")
        method = self._due[0]
        if reply.error is None:
            if method is None:
                raise FaultError(f"a message that is not a call was answered with {reply}")
            interface, _, name = method.rpartition(".")
            _require(lambda: load(interface).check_reply(name, reply.parameters), reply)
        else:
            interface, _, error = reply.error.rpartition(".")
            _require(lambda: load(interface).check_error(error, reply.parameters), reply)
            if error in ("Internal", "TooManyConnections") or (method is None) > (
                error in ("MalformedMessage", "TooManyRequests")
            ):
                raise FaultError(f"{method} was answered with {reply}")
            self._results.errors[error] += 1
        if reply.continues:
            return self._continue(method, reply)
        self._due.popleft()
        self._results.answers += 1
        if reply.error is None and method is not None:
            self._results.done[method.rpartition(".")[2]] += 1
        return False

    def _continue(self, method: str | None, reply: Reply) -> bool:
        """Process a reply that others follow. True for an event stream, which never ends: the client disconnects."""
        if reply.parameters.get("claim"):
            self.claim = str(reply.parameters["claim"]).encode()
        if method == f"{VOICEAUTHD}.Monitor":
            self._results.streams += 1
            self.manner = Manner.VANISH
            return True
        return False

    def _ended(self) -> bool:
        if self._due and self.manner is not Manner.VANISH:
            raise FaultError(f"closed with {len(self._due)} answers due, the first to {self._due[0]}")
        if self._unsent and not self.overflowed:
            raise FaultError("closed before it had received everything")
        return True

    def over(self) -> bool:
        """Return whether there is nothing more to wait for. Raises `FaultError` if that takes too long."""
        if self.manner is Manner.VANISH and not self._unsent:
            return True
        if time.monotonic() - self._began > DEADLINE:
            raise FaultError(
                f"{len(self._due)} answers due after {DEADLINE:.0f} s, the first to {self._due and self._due[0]}"
            )
        return False

    def close(self) -> None:
        """Disconnect, and update the results."""
        self.socket.close()
        self._results.connections += 1
        self._results.vanished += self.manner is Manner.VANISH
        self._results.requests += self._requests - (len(self._due) if self.manner is Manner.VANISH else 0)
        self._results.mutated += 0 if self.manner is Manner.VANISH else self.case.mutated
        self._results.slowest = max(self._results.slowest, time.monotonic() - self._began)


def _require(check: Any, reply: Reply) -> None:
    try:
        check()
    except (VoiceauthError, LookupError) as problem:
        raise FaultError(f"does not match the interface: {problem}: {reply}") from None


def run(settings: Settings) -> Results:
    """Run the task, and return the result. Ends early after a few faults."""
    maker = Maker(settings.seed, texts=settings.texts, spoilt=settings.spoilt)
    results = Results(next=settings.first)
    began = time.monotonic()
    sessions: set[Session] = set()
    claim = CLAIM.encode()
    while sessions or (results.mutated < settings.requests and not results.faults):
        while len(sessions) < settings.connections and results.mutated < settings.requests and not results.faults:
            sessions.add(Session(maker.case(results.next), settings.socket, claim, results))
            results.next += 1
        with selectors.DefaultSelector() as selector:
            for session in sessions:
                if session.wants:
                    selector.register(session.socket, session.wants, session)
            ready = {key.data: events for key, events in selector.select(0.05)}
        for session in list(sessions):
            try:
                over = step(session, ready.get(session, 0))
            except FaultError as fault:
                results.faults.append(f"{fault}\n{session.manner.name} of {session.case}")
                over = True
            claim = session.claim or claim
            if over:
                session.close()
                sessions.discard(session)
        if len(results.faults) >= MAX_FAULTS:
            break
    results.seconds = time.monotonic() - began
    return results


def step(session: Session, events: int) -> bool:
    """Process the selector events of a session. True when the session is over."""
    if events & selectors.EVENT_WRITE:
        session.write()
    if events & selectors.EVENT_READ and session.read():
        return True
    return session.over()


def become(user: str) -> None:
    """Become another user."""
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)


def main() -> None:
    settings = Settings(**json.load(sys.stdin))
    for interface in (VOICEAUTHD, "org.varlink.service"):
        load(interface)  # the other user may not be able to read the file
    if settings.user is not None:
        become(settings.user)
    json.dump(vars(run(settings)), sys.stdout)


if __name__ == "__main__":
    main()
