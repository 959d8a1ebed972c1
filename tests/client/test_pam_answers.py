"""`voiceauth-pam` lets somebody in for one answer only, whatever else a daemon may send."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pam_parts import ASKED, Daemon, accept, decided, message, owner_arguments, progress, run

from voiceauthd.client.pam import Asking
from voiceauthd.client.pam_arguments import Options
from voiceauthd.errors import VoiceauthError
from voiceauthd.protocol.wire import MAX_REPLY

pytestmark = pytest.mark.usefixtures("local")

SHORT = 1.5
"""Seconds given to a run that is not to succeed."""

SLACK = 1.5
"""Seconds that a busy machine may take to start and to reap a process."""


def error(name: str, /, **parameters: object):
    return lambda asked: [message(error=f"org.voiceauthd.{name}", **parameters)]


def answer(**changes: object):
    return lambda asked: [accept(asked, **changes)]


def without(key: str):
    return lambda asked: [message(**{k: v for k, v in decided(asked).items() if k != key})]


def endless(make, pause: float = 0.0):
    def steps(asked):
        while True:
            yield make(asked)
            yield pause

    return steps


WRONG = {
    "nothing at all": lambda asked: [],
    "a decision with another nonce": answer(nonce="0" * 32),
    "a decision without a nonce": without("nonce"),
    "a decision about another": answer(name="daemon"),
    "a decision about one with another case": lambda asked: [accept(asked, name=str(asked["name"]).upper())],
    "a decision by a laxer policy": answer(policy="monitor"),
    "a decision by no policy": without("policy"),
    "a decision that has expired": answer(expires=0),
    "a decision that expired long ago": answer(expires=-10.0),
    "a decision that does not expire": without("expires"),
    "a decision that expires in a nanosecond": answer(expires=1e-9),
    "a decision with an endless life": lambda asked: [
        accept(asked, expires=7.0).replace(b'"expires": 7.0', b'"expires": Infinity')
    ],
    "no outcome": without("outcome"),
    "no state": without("state"),
    "not yet decided": answer(state="progress"),
    "rejected": answer(outcome="reject", reason="no_match"),
    "inconclusive": answer(outcome="inconclusive", reason="too_little_speech"),
    "ACCEPT": answer(outcome="ACCEPT"),
    "true": answer(outcome=True),
    "1": answer(outcome=1),
    "a list": answer(outcome=["accept"]),
    "an identification": lambda asked: [message(state="decided", decision="known", identity=asked["name"], nonce="n")],
    "a monitor's event": lambda asked: [message(event={"kind": "speaker", "identity": asked["name"]})],
    "an acceptance that goes on": lambda asked: [message(continues=True, **decided(asked))],
    "an acceptance that is an error": lambda asked: [message(error="org.voiceauthd.Accepted", **decided(asked))],
    "an acceptance twice": lambda asked: [accept(asked) * 2],
    "an error after an acceptance": lambda asked: [accept(asked) + message(error="org.voiceauthd.Internal")],
    "a rejection after an acceptance": lambda asked: [accept(asked) + accept(asked, outcome="reject")],
    "the beginning of something after an acceptance": lambda asked: [accept(asked) + b'{"par'],
    "an acceptance after a rejection": lambda asked: [accept(asked, outcome="reject") + accept(asked)],
    "an acceptance after an error": lambda asked: [message(error="org.voiceauthd.Internal") + accept(asked)],
    "an acceptance that ends with a newline": lambda asked: [accept(asked)[:-1] + b"\n"],
    "an acceptance with an unknown key": lambda asked: [accept(asked)[:-2] + b',"more":true}\0'],
    "an acceptance in a list": lambda asked: [b"[" + accept(asked)[:-1] + b"]\0"],
    "garbage": lambda asked: [b"\xff\xfe\x00garbage\0"],
    "an empty message": lambda asked: [b"\0"],
    "no object": lambda asked: [b"42\0"],
    "endless nesting": lambda asked: [b"[" * 100_000 + b"\0"],
    "a number of a million digits": lambda asked: [b'{"parameters":{"expires":' + b"9" * 1_000_000 + b"}}\0"],
    "more than a message may be": lambda asked: [b"x" * (MAX_REPLY + 2)],
    "a huge acceptance": lambda asked: [accept(asked, advice="x" * MAX_REPLY)],
    "an acceptance too late": lambda asked: [progress(asked), 4.0, accept(asked)],
    "progress without end": endless(progress, 0.01),
    "progress without end or pause": endless(progress),
    "a byte at a time": endless(lambda asked: b"x", 0.05),
    "busy": error("Busy", holder="somebody"),
    "locked": error("Locked", name="games", seconds=200.0),
    "too often": error("TooOften", limit=20, seconds=3.0),
    "not enrolled": error("NotEnrolled", name="games"),
    "not ready": error("NotReady", detail="loading"),
    "internal": error("Internal", detail="a defect"),
    "denied": lambda asked: [message(error="org.varlink.service.PermissionDenied")],
    "an error without a name": lambda asked: [message(error="")],
    "an error that nobody knows": lambda asked: [message(error="org.example.Strange")],
}


@pytest.mark.parametrize("what", WRONG)
def test_no_other_answer_lets_anybody_in(fixed, what):
    with Daemon(fixed / "socket", WRONG[what]) as daemon:
        ended = run(daemon.path, "--timeout", str(SHORT))
    assert ended.code == 1
    assert len(daemon.asked) == 1
    assert ended.seconds < SHORT + SLACK


@pytest.mark.parametrize("what", ["nothing at all", "a byte at a time", "not enrolled"])
def test_a_daemon_that_hangs_up_lets_nobody_in_and_is_not_waited_for(fixed, what):
    def and_over(asked):
        yield from [step for step, _ in zip(WRONG[what](asked), range(4), strict=False)]

    with Daemon(fixed / "socket", and_over, hang=False) as daemon:
        ended = run(daemon.path)
    assert ended.code == 1
    assert ended.seconds < 3.0


def test_the_right_answer_lets_somebody_in_once(fixed):
    """Also in small pieces; and a second run has to ask for itself."""
    pieces = lambda asked: [accept(asked)[at : at + 1] for at in range(len(accept(asked)))]  # noqa: E731
    for answers in (lambda asked: [accept(asked)], lambda asked: [progress(asked), accept(asked)], pieces):
        with Daemon(fixed / "socket", answers) as daemon:
            codes = [run(daemon.path).code for _ in range(2)]
        assert codes == [0, 0]
        first, second = (call["parameters"] for call in daemon.asked)
        assert (first["name"], first["policy"]) == ("games", "unlock")
        assert first["nonce"] != second["nonce"]


def test_an_answer_that_is_said_again_lets_nobody_in(fixed):
    said: list[bytes] = []

    def replayed(asked):
        said.append(accept(asked))
        return [said[0]]

    with Daemon(fixed / "socket", replayed) as daemon:
        assert [run(daemon.path).code for _ in range(3)] == [0, 1, 1]


def asked_in_process(path, timeout: float = 2.0) -> bool:
    """What `Asking` says; a refusal is its no."""
    own = tuple(owner_arguments()[1:]) or None
    with contextlib.suppress(VoiceauthError):
        return Asking(Options(socket=str(path), daemon_users=own), time.monotonic() + timeout).ask(ASKED)
    return False


def test_an_answer_cut_off_at_any_byte_lets_nobody_in(fixed, capfd):
    cut = 0
    with Daemon(fixed / "socket", lambda asked: [progress(asked) + accept(asked)[:cut]], hang=False) as daemon:
        with contextlib.closing(_first(daemon)) as whole:
            length = len(next(whole))
        for cut in range(length):  # noqa: B007 - the daemon reads it
            assert asked_in_process(daemon.path) is False
        cut = length
        assert asked_in_process(daemon.path) is True


def _first(daemon):
    yield accept({"name": "games", "nonce": "0" * 32, "policy": "unlock"})


KINDS = {
    "progress": progress,
    "speech": lambda asked: progress(asked, "speech"),
    "right": accept,
    "reject": lambda asked: accept(asked, outcome="reject"),
    "other nonce": lambda asked: accept(asked, nonce="n"),
    "goes on": lambda asked: message(continues=True, **decided(asked)),
    "error": lambda asked: message(error="org.voiceauthd.Busy", holder="x"),
    "half": lambda asked: accept(asked)[:40],
    "end": lambda asked: b"\0",
    "junk": lambda asked: b"junk\0",
}


@pytest.fixture
def scripted(fixed):
    """A daemon that says what is put into `.script`, all at once."""
    with Daemon(
        fixed / "socket", lambda asked: [b"".join(KINDS[kind](asked) for kind in daemon.script)], hang=False
    ) as (daemon):
        yield daemon


SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(script=st.lists(st.sampled_from(sorted(KINDS)), max_size=6))
@example(script=["progress", "speech", "progress", "right"])
@example(script=["right"])
@example(script=["goes on", "right"])
def test_of_any_sequence_of_messages_only_one_right_last_one_lets_somebody_in(scripted, capfd, script):
    scripted.script = script
    going_on = {"progress", "speech", "goes on"}
    right = script[-1:] == ["right"] and set(script[:-1]) <= going_on
    assert asked_in_process(scripted.path) is right


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("accept"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
RIGHT = ("state", "outcome", "name", "nonce", "policy", "expires", "reason")


@SETTINGS
@given(
    changes=st.dictionaries(st.sampled_from(RIGHT), JSON, min_size=1),
    left_out=st.sets(st.sampled_from(RIGHT), max_size=2),
)
def test_a_decision_that_is_not_right_in_everything_lets_nobody_in(fixed, capfd, changes, left_out):
    def changed(asked):
        parameters = {k: v for k, v in (decided(asked) | changes).items() if k not in left_out}
        return [json.dumps({"parameters": parameters}).encode() + b"\0"]

    def still_right(key: str) -> bool:
        """Changed to what is as good: another reason, or another time that is left."""
        if key in left_out:
            return key == "reason"
        value = changes.get(key, "accept" if key == "outcome" else None)
        if key == "reason":
            return value is None or isinstance(value, str)
        if key == "expires":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return key not in changes or (is_number and 0 < value < float("inf"))
        return key not in changes or value == {"state": "decided", "outcome": "accept", "policy": "unlock"}.get(key)

    with Daemon(fixed / "socket", changed, hang=False) as daemon:
        assert asked_in_process(daemon.path) <= all(map(still_right, RIGHT))


@SETTINGS
@given(junk=st.binary(max_size=200))
def test_no_bytes_whatever_let_anybody_in(fixed, capfd, junk):
    with Daemon(fixed / "socket", lambda asked: [junk], hang=False) as daemon:
        assert asked_in_process(daemon.path) is False
