"""Between the daemon and who asks: an accept of the real daemon's that comes late, twice, changed or in pieces.

Who answers here is root, so that nothing but the content can give it away; in test_faults_impostor.py it is not.
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
from fault_parts import HELPER_TIMEOUT, OTHER, OWNER, House, new_folder, some

from voiceauthd.client.client import Client
from voiceauthd.errors import VoiceauthError
from voiceauthd.protocol.wire import NUL

NONCE = "0123456789abcdef" * 2

END = NUL.decode()


@pytest.fixture(scope="module")
def accept(shared_house: House) -> str:
    """What the real daemon has sent when it accepted, with marks in the place of nonce and name."""
    with shared_house.speaking(), Caller(shared_house.box.socket, 10.0) as caller:
        caller.send("Verify", more=False, name=OWNER, nonce=NONCE)
        raw = b""
        while not raw.endswith(NUL):
            raw += caller.socket.recv(65536)
    text = raw.decode()
    parameters = json.loads(text.rstrip(END))["parameters"]
    assert (parameters["outcome"], parameters["nonce"], parameters["name"]) == ("accept", NONCE, OWNER)
    return text.replace(NONCE, "<NONCE>").replace(f'"{OWNER}"', '"<NAME>"')


@pytest.fixture
def between(shared_house: House) -> Iterator[Callable[[Answer], Path]]:
    """Puts somebody between the daemon and who asks; gives the socket to ask at."""
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
    """The accept with other parameters; a parameter that becomes `...` is left out."""
    message = json.loads(accept.rstrip(END))
    for name, value in changes.items():
        if value is ...:
            del message["parameters"][name]
        else:
            message["parameters"][name] = value
    return json.dumps(message, separators=(",", ":")) + END


def wrapped(accept: str, **changes: object) -> str:
    """The accept with another frame around its parameters."""
    return json.dumps({**json.loads(accept.rstrip(END)), **changes}, separators=(",", ":")) + END


CHANGES: dict[str, Callable[[str], str]] = {
    "another nonce": lambda accept: changed(accept, nonce="f" * 32),
    "half of the nonce": lambda accept: accept.replace("<NONCE>", "<NONCE>"[:3]),
    "the nonce and more": lambda accept: accept.replace("<NONCE>", "<NONCE>0"),
    "no nonce": lambda accept: changed(accept, nonce=...),
    "null for the nonce": lambda accept: changed(accept, nonce=None),
    "an empty nonce": lambda accept: changed(accept, nonce=""),
    "a list with the nonce": lambda accept: changed(accept, nonce=["<NONCE>"]),
    "the nonce beside the parameters": lambda accept: wrapped(changed(accept, nonce=...), nonce="<NONCE>"),
    "another name": lambda accept: changed(accept, name=OTHER),
    "no name": lambda accept: changed(accept, name=...),
    "the name in other letters": lambda accept: changed(accept, name=OWNER.upper()),
    "no decision": lambda accept: changed(accept, state="progress"),
    "no state": lambda accept: changed(accept, state=...),
    "no outcome": lambda accept: changed(accept, outcome=...),
    "true for the outcome": lambda accept: changed(accept, outcome=True),
    "another word for accept": lambda accept: changed(accept, outcome="ACCEPT"),
    "a list with accept": lambda accept: changed(accept, outcome=["accept"]),
    "expired": lambda accept: changed(accept, expires=0),
    "expired long ago": lambda accept: changed(accept, expires=-10.0),
    "good for ever": lambda accept: changed(accept, expires=...),
    "good until text": lambda accept: changed(accept, expires="10"),
    "good until NaN": lambda accept: changed(accept, expires=-777).replace("-777", "NaN"),
    "good until infinity": lambda accept: changed(accept, expires=-777).replace("-777", "1e999"),
    "a number for the policy": lambda accept: changed(accept, policy=17),
    "an error that accepts": lambda accept: wrapped(accept, error="org.voiceauthd.Internal"),
    "more to come": lambda accept: wrapped(accept, continues=True),
    "an unknown key beside it": lambda accept: wrapped(accept, signature="x"),
    "a list": lambda accept: f"[{accept.rstrip(END)}]{END}",
    "nothing but accept": lambda accept: f'"accept"{END}',
    "a line feed for the end": lambda accept: accept.replace(END, "\n"),
    "a byte before it": lambda accept: "x" + accept,
    "deep": lambda accept: "[" * 100_000 + END,
    "long": lambda accept: accept.rstrip(END) + " " * (2 << 20) + END,
    "not UTF-8": lambda accept: accept.replace('"match"', '"\udcff"'),
}

OFTEN = {"another nonce", "no nonce", "another name", "no decision", "expired"}


def by_both(house: House, path: Path, fault: str) -> None:
    """Our client and the helper; a program that believes whatever it is told is not asked."""
    house.lets_nobody_in(fault, found=[house.by_client(path=path), house.by_pam(path=path)])


def test_the_same_answer_unchanged_lets_the_owner_in(shared_house: House, accept: str, between) -> None:
    path = between(saying([accept]))
    assert shared_house.by_client(path=path).accepted
    assert shared_house.by_pam(path=path).accepted


@pytest.mark.parametrize("what", some(CHANGES, OFTEN))
def test_an_answer_that_was_changed_lets_nobody_in(shared_house: House, accept: str, between, what: str) -> None:
    said = CHANGES[what](accept)
    assert said != accept

    def answer(call: dict, connection: socket.socket) -> None:
        raw = said.encode(errors="surrogateescape")
        for mark, value in ((b"<NONCE>", call["nonce"]), (b"<NAME>", call["name"]), (b"<NO", call["nonce"][:16])):
            raw = raw.replace(mark, value.encode())
        connection.sendall(raw)

    by_both(shared_house, between(answer), f"the answer: {what}")


def test_an_answer_that_comes_late_lets_nobody_in(shared_house: House, accept: str, between) -> None:
    path = between(late([accept], HELPER_TIMEOUT + 3.0))
    found = [shared_house.by_pam(path=path)]
    with pytest.raises(VoiceauthError), Client(path, timeout=0.2) as client:
        client.verify(OWNER, timeout=0.2)
    shared_house.lets_nobody_in("the answer comes late", found=found)


@pytest.mark.slow
def test_an_answer_in_drops_that_never_ends_is_not_waited_for(shared_house: House, accept: str, between) -> None:
    """A byte now and then keeps each single wait short; all of them together are bounded, too."""

    def answer(call: dict, connection: socket.socket) -> None:
        for byte in accept:
            connection.sendall(byte.encode())
            time.sleep(0.05)

    shared_house.lets_nobody_in("the answer in drops", found=[shared_house.by_pam(path=between(answer))])


def test_an_answer_that_comes_twice_is_good_once_at_most(shared_house: House, accept: str, between) -> None:
    """What came too much must not become the answer to the next call."""
    by_both(shared_house, between(saying([accept + accept])), "the answer comes twice at once")
    calls: list[dict] = []
    said = threading.Event()

    def answer(call: dict, connection: socket.socket) -> None:
        """The first call is answered, and once more when nobody waits for it; the second one never is."""
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


def test_the_answer_to_one_call_is_none_to_the_next(shared_house: House, accept: str, between) -> None:
    heard: list[dict] = []

    def answer(call: dict, connection: socket.socket) -> None:
        """The first call is answered, each later one with the answer to the first."""
        heard.append(call)
        saying([accept])({**call, "nonce": heard[0]["nonce"]}, connection)

    path = between(answer)
    with Client(path, timeout=1.0) as client:
        assert client.verify(OWNER, timeout=1.0).accepted
        with pytest.raises(VoiceauthError):
            client.verify(OWNER, timeout=1.0)
    by_both(shared_house, path, "an answer that was given before")


def test_a_nonce_is_good_for_one_call(house: House) -> None:
    """Whoever listens in and asks again with the same nonce gets nothing that could be passed off as an answer."""
    with house.box.caller() as caller:
        caller.send("Verify", name=OWNER, nonce="once", timeout=2.0)
        assert caller.rest()[-1]["outcome"] == "accept"
    refused = house.box.refusal("Verify", name=OWNER, nonce="once", timeout=2.0)
    assert (refused.error, refused.parameters["parameter"]) == ("InvalidParameter", "nonce")


@pytest.mark.parametrize("ending", [hanging_up, saying])
def test_an_answer_that_is_cut_lets_nobody_in(shared_house: House, accept: str, between, ending: Callable) -> None:
    """Cut off at each byte, the one before the last included: without its end it is no message."""
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


def test_the_helper_takes_no_answer_that_is_cut(shared_house: House, accept: str, between) -> None:
    for share in (0.0, 0.5, 0.97, 1.0):
        place = round(share * (len(accept) - 1))
        found = [shared_house.by_pam(path=between(hanging_up([accept[:place]])))]
        shared_house.lets_nobody_in("the answer is cut", found=found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_helper_takes_no_answer_that_is_cut_anywhere(shared_house: House, accept: str, between) -> None:
    for place in range(len(accept)):
        found = [shared_house.by_pam(path=between(hanging_up([accept[:place]])))]
        shared_house.lets_nobody_in("the answer is cut", found=found)
    assert shared_house.by_pam(path=between(hanging_up([accept]))).accepted
