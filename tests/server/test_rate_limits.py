"""How often a user may call in a minute."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_parts import LISTENER, MALLORY, ROOT, UNCALIBRATED, Desk, window

from voiceauthd.config.schema import Config, SocketConfig
from voiceauthd.errors import TooOftenError
from voiceauthd.server.rate_limits import LISTENING, MOST_USERS, Rates
from voiceauthd.service.access import TABLE

CONFIG = SocketConfig(calls_per_minute=30, tries_per_minute=3)


class Watch:
    """A clock that is set by hand."""

    def __init__(self, now=1_000_000.25):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def rates(watch):
    return Rates(watch)


def taken(rates, uid, method, times=1, config=CONFIG):
    """How many of the calls were."""
    count = 0
    for _ in range(times):
        try:
            rates.require(uid, method, config)
        except TooOftenError:
            continue
        count += 1
    return count


def refusal(rates, uid, method, config=CONFIG):
    with pytest.raises(TooOftenError) as caught:
        rates.require(uid, method, config)
    return caught.value


def test_a_limit_is_held_within_any_minute(rates, watch):
    assert taken(rates, 7, "Status", 100) == 30
    watch.now += 59.9
    assert taken(rates, 7, "Status", 100) == 0
    watch.now += 2.0
    assert taken(rates, 7, "Status", 100) == 30


def test_whoever_waits_as_long_as_is_said_is_heard_again(rates, watch):
    taken(rates, 7, "Verify", 2)
    watch.now += 20.0
    taken(rates, 7, "Verify")
    refused = refusal(rates, 7, "Verify")
    assert (refused.limit, refused.reason) == (3, "too_often")
    assert 39.0 <= refused.seconds <= 42.0
    watch.now += refused.seconds
    assert taken(rates, 7, "Verify", 9) == 2
    refused = refusal(rates, 7, "Verify")
    assert 19.0 <= refused.seconds <= 22.0


def test_a_call_that_was_one_too_many_does_not_count_itself(rates, watch):
    taken(rates, 7, "Verify", 3)
    for _ in range(60):
        watch.now += 1.0
        assert taken(rates, 7, "Verify") == 0
    watch.now += 1.0
    assert taken(rates, 7, "Verify", 9) == 3


@settings(deadline=None, max_examples=100)
@given(
    calls=st.lists(st.tuples(st.floats(0.0, 40.0), st.integers(1, 8)), max_size=40),
    limit=st.integers(1, 12),
)
def test_never_more_than_the_limit_in_sixty_seconds_and_never_fewer_in_sixty_one(calls, limit):
    watch = Watch(0.0)
    rates, config = Rates(watch), SocketConfig(calls_per_minute=1_000, tries_per_minute=limit)
    passed: list[float] = []
    for wait, times in calls:
        watch.now += wait
        for _ in range(times):
            recent = [at for at in passed if watch.now - at < 60.0]
            almost = [at for at in passed if watch.now - at <= 61.0]
            got = taken(rates, 1, "Verify", config=config) == 1
            assert not (got and len(recent) >= limit)
            assert got or len(almost) >= limit
            passed += [watch.now] if got else []


@pytest.mark.parametrize("method", sorted(LISTENING))
def test_what_listens_has_a_limit_of_its_own(rates, method):
    assert taken(rates, 7, method, 9) == 3
    assert taken(rates, 7, "Status", 100) == 30 - 9, "each is a call as well"


def test_what_listens_is_counted_together(rates):
    assert [taken(rates, 7, method) for method in ("Verify", "Identify", "Enroll", "Monitor")] == [1, 1, 1, 0]


def test_all_methods_count():
    assert TABLE.keys() >= LISTENING
    for method in TABLE:
        assert taken(Rates(Watch()), 7, method, 100, SocketConfig(calls_per_minute=30, tries_per_minute=100)) == 30


def test_each_user_is_counted_apart(rates):
    assert taken(rates, 7, "Verify", 9) == 3
    assert taken(rates, 8, "Verify", 9) == 3


def test_other_limits_count_at_once(rates):
    assert taken(rates, 7, "Verify", 9) == 3
    assert taken(rates, 7, "Verify", 9, SocketConfig(tries_per_minute=5)) == 2
    assert taken(rates, 7, "Verify", 9) == 0
    assert refusal(rates, 7, "Verify").limit == 3


def test_many_users_neither_fill_the_memory_nor_have_anybody_forgotten(rates, watch):
    assert taken(rates, 7, "Verify", 9) == 3
    for uid in range(100_000, 100_000 + 20 * MOST_USERS):
        taken(rates, uid, "Info")
    assert len(rates._users) == MOST_USERS
    assert taken(rates, 7, "Verify", 9) == 0
    assert taken(rates, 99, "Info", 99) == 0, "those for whom there is no room share one count, which is used up"
    assert sum(map(sys.getsizeof, (u.calls._counts for u in rates._users.values()))) < 1_000 * MOST_USERS
    watch.now += 62.0
    assert taken(rates, 99, "Info", 99) == 30


def test_a_call_costs_next_to_nothing(watch):
    rates, config = Rates(), SocketConfig(calls_per_minute=1_000_000)
    for uid in range(2 * MOST_USERS):
        rates.require(uid, "Info", config)
    began = time.perf_counter()
    for number in range(20_000):
        rates.require(number % (2 * MOST_USERS), "Info", config)
    assert (time.perf_counter() - began) / 20_000 < 100e-6


# At the one door of the daemon


def asked(folder, peer, *calls, **limits):
    """The errors of these calls, one after the other."""

    async def run():
        config = dataclasses.replace(Config(), socket=SocketConfig(**limits))
        desk = Desk(folder, UNCALIBRATED, [window(0.9)], config)
        found = []
        for method, parameters in calls:
            reply = (await desk.ask(method, peer, **parameters))[-1]
            found.append(None if reply.error is None else reply.error.rpartition(".")[2])
        return found, reply.parameters

    return asyncio.run(run())


def test_denied_and_refused_calls_count(tmp_path):
    denied = ("Verify", {"name": "Ralph"})
    errors, parameters = asked(tmp_path, MALLORY, *[denied] * 4, ("Identify", {}), tries_per_minute=4)
    assert errors == ["PermissionDenied"] * 4 + ["TooOften"]
    assert (parameters["limit"], 0 < parameters["seconds"] <= 61) == (4, True)
    errors, _ = asked(tmp_path, MALLORY, *[("ExportProfile", {"name": "Nobody"})] * 11, calls_per_minute=10)
    assert errors == ["PermissionDenied"] * 10 + ["TooOften"]


def test_a_listener_is_counted_too(tmp_path):
    errors, _ = asked(tmp_path, LISTENER, *[("Identify", {"timeout": 0.0})] * 3, tries_per_minute=2)
    assert errors == [None, None, "TooOften"]


def test_root_is_not_counted(tmp_path):
    errors, _ = asked(tmp_path, ROOT, *[("Verify", {"name": "Ralph", "timeout": 0.0})] * 9, tries_per_minute=2)
    assert errors == [None] * 9


def test_sound_counts_unless_it_is_for_an_enrolment_of_the_senders(tmp_path):
    async def run(peer, holder):
        desk = Desk(tmp_path, UNCALIBRATED, [], dataclasses.replace(Config(), socket=SocketConfig(calls_per_minute=10)))
        with desk.state.claims.take("Enroll", holder.uid) as claim:
            replies = [await desk.ask("SendAudio", peer, claim=claim.token, pcm="") for _ in range(12)]
        return [reply[-1].error.rpartition(".")[2] for reply in replies]

    assert asyncio.run(run(MALLORY, MALLORY)) == ["InvalidParameter"] * 12, "the claim awaits no recordings just now"
    assert asyncio.run(run(MALLORY, LISTENER)) == ["InvalidParameter"] * 10 + ["TooOften"] * 2
