"""`voiceauth-pam` grants access for one answer only, whatever else a daemon may send."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pam_parts import PAM_ENVIRONMENT, Daemon, accept, decided, message, owner_arguments, progress, run

from voiceauthd.client.pam import Verification
from voiceauthd.client.pam_arguments import Options
from voiceauthd.errors import VoiceauthError
from voiceauthd.protocol.wire import MAX_REPLY

pytestmark = pytest.mark.usefixtures("local")

SHORT = 1.5
"""Timeout in seconds of a run that must not succeed."""

SLACK = 1.5
"""Seconds that a busy machine may take to start and end a process."""


def error(name: str, /, **parameters: object):
    return lambda request: [message(error=f"org.voiceauthd.{name}", **parameters)]


def answer(**changes: object):
    return lambda request: [accept(request, **changes)]


def without(key: str):
    return lambda request: [message(**{k: v for k, v in decided(request).items() if k != key})]


def endless(make, pause: float = 0.0):
    def steps(request):
        while True:
            yield make(request)
            yield pause

    return steps


WRONG = {
    "nothing": lambda request: [],
    "another nonce": answer(nonce="0" * 32),
    "another name": answer(name="daemon"),
    "the name in other case": lambda request: [accept(request, name=str(request["name"]).upper())],
    "a laxer policy": answer(policy="monitor"),
    "already expired": answer(expires=0),
    "no expiry": without("expires"),
    "expires in a nanosecond": answer(expires=1e-9),
    "never expires": lambda request: [accept(request, expires=7.0).replace(b'"expires": 7.0', b'"expires": Infinity')],
    "no outcome": without("outcome"),
    "not yet decided": answer(state="progress"),
    "rejected": answer(outcome="reject", reason="no_match"),
    "inconclusive": answer(outcome="inconclusive", reason="too_little_speech"),
    "ACCEPT": answer(outcome="ACCEPT"),
    "true": answer(outcome=True),
    "an identification": lambda request: [
        message(state="decided", decision="known", identity=request["name"], nonce="n")
    ],
    "an acceptance with continues": lambda request: [message(continues=True, **decided(request))],
    "an acceptance that is an error": lambda request: [message(error="org.voiceauthd.Accepted", **decided(request))],
    "an acceptance twice": lambda request: [accept(request) * 2],
    "an error after an acceptance": lambda request: [accept(request) + message(error="org.voiceauthd.Internal")],
    "part of a message after an acceptance": lambda request: [accept(request) + b'{"par'],
    "an acceptance after a rejection": lambda request: [accept(request, outcome="reject") + accept(request)],
    "an acceptance that ends with a newline": lambda request: [accept(request)[:-1] + b"\n"],
    "an acceptance with an unknown key": lambda request: [accept(request)[:-2] + b',"more":true}\0'],
    "garbage": lambda request: [b"\xff\xfe\x00garbage\0"],
    "endless nesting": lambda request: [b"[" * 100_000 + b"\0"],
    "a number of a million digits": lambda request: [b'{"parameters":{"expires":' + b"9" * 1_000_000 + b"}}\0"],
    "an oversized acceptance": lambda request: [accept(request, advice="x" * MAX_REPLY)],
    "an acceptance too late": lambda request: [progress(request), 4.0, accept(request)],
    "endless progress": endless(progress, 0.01),
    "endless progress without a pause": endless(progress),
    "a byte at a time": endless(lambda request: b"x", 0.05),
    "a known error": error("NotEnrolled", name="games"),
    "an error without a name": lambda request: [message(error="")],
}


@pytest.mark.parametrize("what", WRONG)
def test_no_other_answer_grants_access(fixed, what):
    with Daemon(fixed / "socket", WRONG[what]) as daemon:
        ended = run(daemon.path, "--timeout", str(SHORT))
    assert ended.code == 1
    assert len(daemon.calls) == 1
    assert ended.seconds < SHORT + SLACK


@pytest.mark.parametrize("what", ["nothing", "a byte at a time", "a known error"])
def test_a_daemon_that_disconnects_grants_no_access_and_is_not_waited_for(fixed, what):
    def then_disconnect(request):
        yield from [step for step, _ in zip(WRONG[what](request), range(4), strict=False)]

    with Daemon(fixed / "socket", then_disconnect, hang=False) as daemon:
        ended = run(daemon.path)
    assert ended.code == 1
    assert ended.seconds < 3.0


def test_the_right_answer_grants_access_once(fixed):
    """Also in small pieces; a second run makes its own request."""
    pieces = lambda request: [accept(request)[at : at + 1] for at in range(len(accept(request)))]  # noqa: E731
    for answers in (lambda request: [accept(request)], lambda request: [progress(request), accept(request)], pieces):
        with Daemon(fixed / "socket", answers) as daemon:
            codes = [run(daemon.path).code for _ in range(2)]
        assert codes == [0, 0]
        first, second = (call["parameters"] for call in daemon.calls)
        assert (first["name"], first["policy"]) == ("games", "unlock")
        assert first["nonce"] != second["nonce"]


def test_a_replayed_answer_grants_no_access(fixed):
    sent: list[bytes] = []

    def replayed(request):
        sent.append(accept(request))
        return [sent[0]]

    with Daemon(fixed / "socket", replayed) as daemon:
        assert [run(daemon.path).code for _ in range(3)] == [0, 1, 1]


def run_in_process(path, timeout: float = 2.0) -> bool:
    """Return the result of `Verification`; False for a refusal."""
    own = tuple(owner_arguments()[1:]) or None
    with contextlib.suppress(VoiceauthError):
        return Verification(Options(socket=str(path), daemon_users=own), time.monotonic() + timeout).run(
            PAM_ENVIRONMENT
        )
    return False


def test_an_answer_truncated_at_any_byte_grants_no_access(fixed, capfd):
    cut = 0
    with Daemon(fixed / "socket", lambda request: [progress(request) + accept(request)[:cut]], hang=False) as daemon:
        with contextlib.closing(_first(daemon)) as whole:
            length = len(next(whole))
        for cut in range(length):  # noqa: B007 - the daemon reads it
            assert run_in_process(daemon.path) is False
        cut = length
        assert run_in_process(daemon.path) is True


def _first(daemon):
    yield accept({"name": "games", "nonce": "0" * 32, "policy": "unlock"})


KINDS = {
    "progress": progress,
    "speech": lambda request: progress(request, "speech"),
    "right": accept,
    "reject": lambda request: accept(request, outcome="reject"),
    "other nonce": lambda request: accept(request, nonce="n"),
    "continues": lambda request: message(continues=True, **decided(request)),
    "error": lambda request: message(error="org.voiceauthd.Busy", holder="x"),
    "half": lambda request: accept(request)[:40],
    "end": lambda request: b"\0",
    "junk": lambda request: b"junk\0",
}


@pytest.fixture
def scripted(fixed):
    """A daemon that sends the messages named in `.script`, all at once."""
    with Daemon(
        fixed / "socket", lambda request: [b"".join(KINDS[kind](request) for kind in daemon.script)], hang=False
    ) as (daemon):
        yield daemon


SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(script=st.lists(st.sampled_from(sorted(KINDS)), max_size=6))
@example(script=["progress", "speech", "progress", "right"])
@example(script=["right"])
@example(script=["continues", "right"])
def test_a_sequence_of_messages_grants_access_only_if_the_last_is_the_only_final_one_and_right(scripted, capfd, script):
    scripted.script = script
    intermediate = {"progress", "speech", "continues"}
    right = script[-1:] == ["right"] and set(script[:-1]) <= intermediate
    assert run_in_process(scripted.path) is right


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("accept"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
FIELDS = ("state", "outcome", "name", "nonce", "policy", "expires", "reason")


@SETTINGS
@given(
    changes=st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1),
    left_out=st.sets(st.sampled_from(FIELDS), max_size=2),
)
def test_a_decision_with_any_wrong_field_grants_no_access(fixed, capfd, changes, left_out):
    def changed(request):
        parameters = {k: v for k, v in (decided(request) | changes).items() if k not in left_out}
        return [json.dumps({"parameters": parameters}).encode() + b"\0"]

    def still_right(key: str) -> bool:
        """Whether the field is still valid: another reason, or another positive expiry."""
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
        assert run_in_process(daemon.path) <= all(map(still_right, FIELDS))


@SETTINGS
@given(junk=st.binary(max_size=200))
def test_random_bytes_grant_no_access(fixed, capfd, junk):
    with Daemon(fixed / "socket", lambda request: [junk], hang=False) as daemon:
        assert run_in_process(daemon.path) is False
