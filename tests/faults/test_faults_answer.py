"""An accept of the real daemon that arrives late, twice, changed or cut.

It is sent by root, so that only its content can give it away; in test_faults_impostor.py other users send it.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_caller import Caller
from fault_impostor import Answer, Impostor, hanging_up, late, saying
from faulty_daemon import HELPER_TIMEOUT, OTHER, OWNER, FaultyDaemon, new_folder, slow_except

from voiceauthd.client.client import Client
from voiceauthd.errors import VoiceauthError
from voiceauthd.protocol.wire import NUL

NONCE = "0123456789abcdef" * 2

END = NUL.decode()


@pytest.fixture(scope="module")
def accept(shared_faulty: FaultyDaemon) -> str:
    """The reply of the real daemon when it accepts, with placeholders for nonce and name."""
    with shared_faulty.speaking(), Caller(shared_faulty.daemon.socket, 10.0) as caller:
        caller.send("Verify", more=False, name=OWNER, nonce=NONCE)
        raw = b""
        while not raw.endswith(NUL):
            raw += caller.socket.recv(65536)
    text = raw.decode()
    parameters = json.loads(text.rstrip(END))["parameters"]
    assert (parameters["outcome"], parameters["nonce"], parameters["name"]) == ("accept", NONCE, OWNER)
    return text.replace(NONCE, "<NONCE>").replace(f'"{OWNER}"', '"<NAME>"')


@pytest.fixture
def between(shared_faulty: FaultyDaemon) -> Iterator[Callable[[Answer], Path]]:
    """Puts an impostor between the daemon and its callers; returns the socket to call."""
    folder = new_folder()
    made: list[Impostor] = []

    def put(answer: Answer) -> Path:
        for one in made:
            one.close()
        made[:] = [Impostor(str(folder / "socket"), answer)]
        return folder / "socket"

    yield put
    for one in made:
        one.close()
    (folder / "socket").unlink(missing_ok=True)
    folder.rmdir()


def changed(accept: str, **changes: object) -> str:
    """Return the accept with other parameters; `...` removes a parameter."""
    message = json.loads(accept.rstrip(END))
    for name, value in changes.items():
        if value is ...:
            del message["parameters"][name]
        else:
            message["parameters"][name] = value
    return json.dumps(message, separators=(",", ":")) + END


def wrapped(accept: str, **changes: object) -> str:
    """Return the accept with other fields next to its parameters."""
    return json.dumps({**json.loads(accept.rstrip(END)), **changes}, separators=(",", ":")) + END


CHANGES: dict[str, Callable[[str], str]] = {
    "another nonce": lambda accept: changed(accept, nonce="f" * 32),
    "half of the nonce": lambda accept: accept.replace("<NONCE>", "<NONCE>"[:3]),
    "the nonce and more": lambda accept: accept.replace("<NONCE>", "<NONCE>0"),
    "no nonce": lambda accept: changed(accept, nonce=...),
    "null for the nonce": lambda accept: changed(accept, nonce=None),
    "an empty nonce": lambda accept: changed(accept, nonce=""),
    "a list with the nonce": lambda accept: changed(accept, nonce=["<NONCE>"]),
    "the nonce outside the parameters": lambda accept: wrapped(changed(accept, nonce=...), nonce="<NONCE>"),
    "another name": lambda accept: changed(accept, name=OTHER),
    "no name": lambda accept: changed(accept, name=...),
    "the name in capitals": lambda accept: changed(accept, name=OWNER.upper()),
    "no decision": lambda accept: changed(accept, state="progress"),
    "no state": lambda accept: changed(accept, state=...),
    "no outcome": lambda accept: changed(accept, outcome=...),
    "true for the outcome": lambda accept: changed(accept, outcome=True),
    "accept in capitals": lambda accept: changed(accept, outcome="ACCEPT"),
    "a list with accept": lambda accept: changed(accept, outcome=["accept"]),
    "expired": lambda accept: changed(accept, expires=0),
    "expired long ago": lambda accept: changed(accept, expires=-10.0),
    "without an expiry": lambda accept: changed(accept, expires=...),
    "an expiry that is text": lambda accept: changed(accept, expires="10"),
    "an expiry of NaN": lambda accept: changed(accept, expires=-777).replace("-777", "NaN"),
    "an expiry of infinity": lambda accept: changed(accept, expires=-777).replace("-777", "1e999"),
    "a number for the policy": lambda accept: changed(accept, policy=17),
    "an error with the parameters of an accept": lambda accept: wrapped(accept, error="org.voiceauthd.Internal"),
    "more to come": lambda accept: wrapped(accept, continues=True),
    "an unknown field": lambda accept: wrapped(accept, signature="x"),
    "a list": lambda accept: f"[{accept.rstrip(END)}]{END}",
    "only the word accept": lambda accept: f'"accept"{END}',
    "a line feed at the end": lambda accept: accept.replace(END, "\n"),
    "a byte before it": lambda accept: "x" + accept,
    "deep": lambda accept: "[" * 100_000 + END,
    "long": lambda accept: accept.rstrip(END) + " " * (2 << 20) + END,
    "not UTF-8": lambda accept: accept.replace('"match"', '"\udcff"'),
}

QUICK = {"another nonce", "no nonce", "another name", "no decision", "expired"}


def by_both(faulty: FaultyDaemon, path: Path, fault: str) -> None:
    """Assert that neither the client nor the helper accepts; a client that checks nothing is not tried."""
    faulty.accepts_nobody(fault, found=[faulty.by_client(path=path), faulty.by_pam(path=path)])


def test_the_unchanged_answer_is_accepted(shared_faulty: FaultyDaemon, accept: str, between) -> None:
    path = between(saying([accept]))
    assert shared_faulty.by_client(path=path).accepted
    assert shared_faulty.by_pam(path=path).accepted


@pytest.mark.parametrize("what", slow_except(CHANGES, QUICK))
def test_a_changed_answer_accepts_nobody(shared_faulty: FaultyDaemon, accept: str, between, what: str) -> None:
    said = CHANGES[what](accept)
    assert said != accept

    def answer(call: dict, connection: socket.socket) -> None:
        raw = said.encode(errors="surrogateescape")
        for mark, value in ((b"<NONCE>", call["nonce"]), (b"<NAME>", call["name"]), (b"<NO", call["nonce"][:16])):
            raw = raw.replace(mark, value.encode())
        connection.sendall(raw)

    by_both(shared_faulty, between(answer), f"the answer: {what}")


def test_a_late_answer_accepts_nobody(shared_faulty: FaultyDaemon, accept: str, between) -> None:
    path = between(late([accept], HELPER_TIMEOUT + 3.0))
    found = [shared_faulty.by_pam(path=path)]
    with pytest.raises(VoiceauthError), Client(path, timeout=0.2) as client:
        client.verify(OWNER, timeout=0.2)
    shared_faulty.accepts_nobody("a late answer", found=found)


@pytest.mark.slow
def test_an_answer_that_arrives_byte_by_byte_is_not_waited_for(
    shared_faulty: FaultyDaemon, accept: str, between
) -> None:
    """Each single wait is short, and their sum is bounded too."""

    def answer(call: dict, connection: socket.socket) -> None:
        for byte in accept:
            connection.sendall(byte.encode())
            time.sleep(0.05)

    shared_faulty.accepts_nobody("an answer byte by byte", found=[shared_faulty.by_pam(path=between(answer))])


def test_an_answer_that_arrives_twice_is_used_once(shared_faulty: FaultyDaemon, accept: str, between) -> None:
    """The second copy must not become the answer to the next call."""
    by_both(shared_faulty, between(saying([accept + accept])), "the answer arrives twice")
    calls: list[dict] = []
    said = threading.Event()

    def answer(call: dict, connection: socket.socket) -> None:
        """Answer the first call, and again after it is over; never answer the second call."""
        calls.append(call)
        if len(calls) == 1:
            saying([accept])(call, connection)
            answered.wait(5.0)
            saying([accept])(call, connection)
            said.set()

    answered = threading.Event()
    with Client(between(answer), timeout=0.5) as client:
        assert client.verify(OWNER, timeout=0.5).accepted
        answered.set()
        assert said.wait(5.0)
        with pytest.raises(VoiceauthError):
            client.verify(OWNER, timeout=0.5)


def test_the_answer_to_one_call_is_not_valid_for_the_next(shared_faulty: FaultyDaemon, accept: str, between) -> None:
    calls: list[dict] = []

    def answer(call: dict, connection: socket.socket) -> None:
        """Answer each call with the answer to the first."""
        calls.append(call)
        saying([accept])({**call, "nonce": calls[0]["nonce"]}, connection)

    path = between(answer)
    with Client(path, timeout=1.0) as client:
        assert client.verify(OWNER, timeout=1.0).accepted
        with pytest.raises(VoiceauthError):
            client.verify(OWNER, timeout=1.0)
    by_both(shared_faulty, path, "an answer that was given before")


def test_a_nonce_is_accepted_for_one_call(faulty: FaultyDaemon) -> None:
    """An attacker who repeats a call with the same nonce gets nothing that could be used as its answer."""
    with faulty.daemon.caller() as caller:
        caller.send("Verify", name=OWNER, nonce="once", timeout=2.0)
        assert caller.rest()[-1]["outcome"] == "accept"
    refused = faulty.daemon.refusal("Verify", name=OWNER, nonce="once", timeout=2.0)
    assert (refused.error, refused.parameters["parameter"]) == ("InvalidParameter", "nonce")


@pytest.mark.parametrize("ending", [hanging_up, saying])
def test_an_answer_that_is_cut_accepts_nobody(
    shared_faulty: FaultyDaemon, accept: str, between, ending: Callable
) -> None:
    """It is cut at each byte, including the terminating one, without which it is not a message."""
    whole = accept.replace("<NONCE>", NONCE).replace("<NAME>", OWNER)
    cuts = range(len(whole)) if ending is hanging_up else (0, 1, len(whole) // 2, len(whole) - 1)
    place = [0]

    def answer(call: dict, connection: socket.socket) -> None:
        ending([whole[: place[0]]])(call, connection)

    path = between(answer)
    for cut in cuts:
        place[0] = cut
        with Client(path, timeout=0.05) as client, pytest.raises(VoiceauthError):
            client.verify(OWNER, timeout=0.05, nonce=NONCE)
    place[0] = len(whole)
    with Client(path, timeout=1.0) as client:
        assert client.verify(OWNER, timeout=1.0, nonce=NONCE).accepted


def test_the_helper_accepts_no_answer_that_is_cut(shared_faulty: FaultyDaemon, accept: str, between) -> None:
    for share in (0.0, 0.5, 0.97, 1.0):
        place = round(share * (len(accept) - 1))
        found = [shared_faulty.by_pam(path=between(hanging_up([accept[:place]])))]
        shared_faulty.accepts_nobody("the answer is cut", found=found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_helper_accepts_no_answer_that_is_cut_at_any_byte(
    shared_faulty: FaultyDaemon, accept: str, between
) -> None:
    for place in range(len(accept)):
        found = [shared_faulty.by_pam(path=between(hanging_up([accept[:place]])))]
        shared_faulty.accepts_nobody("the answer is cut", found=found)
    assert shared_faulty.by_pam(path=between(hanging_up([accept]))).accepted
