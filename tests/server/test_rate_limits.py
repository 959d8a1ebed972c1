"""The limits on a user's calls per minute."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inprocess_daemon import LISTENER, MALLORY, ROOT, UNCALIBRATED, InProcessDaemon, window

from voiceauthd.config.schema import Config, SocketConfig
from voiceauthd.errors import TooOftenError
from voiceauthd.server.rate_limits import LISTENING_METHODS, MAX_USERS, RateLimits
from voiceauthd.service.access import TABLE

CONFIG = SocketConfig(calls_per_minute=30, tries_per_minute=3)


class Watch:
    """A clock set by the test."""

    def __init__(self, now=1_000_000.25):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def rates(watch):
    return RateLimits(watch)


def allowed(rates, uid, method, times=1, config=CONFIG):
    """Return how many of the calls were allowed."""
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


def test_a_limit_holds_for_any_minute(rates, watch):
    assert allowed(rates, 7, "Status", 100) == 30
    watch.now += 59.9
    assert allowed(rates, 7, "Status", 100) == 0
    watch.now += 2.0
    assert allowed(rates, 7, "Status", 100) == 30


def test_after_the_reported_wait_a_call_is_allowed_again(rates, watch):
    allowed(rates, 7, "Verify", 2)
    watch.now += 20.0
    allowed(rates, 7, "Verify")
    refused = refusal(rates, 7, "Verify")
    assert (refused.limit, refused.reason) == (3, "too_often")
    assert 39.0 <= refused.seconds <= 42.0
    watch.now += refused.seconds
    assert allowed(rates, 7, "Verify", 9) == 2
    refused = refusal(rates, 7, "Verify")
    assert 19.0 <= refused.seconds <= 22.0


def test_a_refused_call_does_not_count(rates, watch):
    allowed(rates, 7, "Verify", 3)
    for _ in range(60):
        watch.now += 1.0
        assert allowed(rates, 7, "Verify") == 0
    watch.now += 1.0
    assert allowed(rates, 7, "Verify", 9) == 3


@settings(deadline=None, max_examples=100)
@given(
    calls=st.lists(st.tuples(st.floats(0.0, 40.0), st.integers(1, 8)), max_size=40),
    limit=st.integers(1, 12),
)
def test_the_limit_is_the_maximum_in_60_s_and_always_possible_in_61_s(calls, limit):
    watch = Watch(0.0)
    rates, config = RateLimits(watch), SocketConfig(calls_per_minute=1_000, tries_per_minute=limit)
    passed: list[float] = []
    for wait, times in calls:
        watch.now += wait
        for _ in range(times):
            within_60 = [at for at in passed if watch.now - at < 60.0]
            within_61 = [at for at in passed if watch.now - at <= 61.0]
            got = allowed(rates, 1, "Verify", config=config) == 1
            assert not (got and len(within_60) >= limit)
            assert got or len(within_61) >= limit
            passed += [watch.now] if got else []


def test_methods_that_listen_have_a_limit_of_their_own(rates):
    for uid, method in enumerate(sorted(LISTENING_METHODS)):
        assert allowed(rates, uid, method, 9) == 3
        assert allowed(rates, uid, "Status", 100) == 30 - 9, "each also counts as a call"


def test_methods_that_listen_are_counted_together(rates):
    assert [allowed(rates, 7, method) for method in ("Verify", "Identify", "Enroll", "Monitor")] == [1, 1, 1, 0]


def test_all_methods_count():
    assert TABLE.keys() >= LISTENING_METHODS
    for method in TABLE:
        assert (
            allowed(RateLimits(Watch()), 7, method, 100, SocketConfig(calls_per_minute=30, tries_per_minute=100)) == 30
        )


def test_each_user_is_counted_separately(rates):
    assert allowed(rates, 7, "Verify", 9) == 3
    assert allowed(rates, 8, "Verify", 9) == 3


def test_new_limits_take_effect_at_once(rates):
    assert allowed(rates, 7, "Verify", 9) == 3
    assert allowed(rates, 7, "Verify", 9, SocketConfig(tries_per_minute=5)) == 2
    assert allowed(rates, 7, "Verify", 9) == 0
    assert refusal(rates, 7, "Verify").limit == 3


def test_many_users_neither_fill_the_memory_nor_reset_the_counts_of_others(rates, watch):
    assert allowed(rates, 7, "Verify", 9) == 3
    for uid in range(100_000, 100_000 + 20 * MAX_USERS):
        allowed(rates, uid, "Info")
    assert len(rates._users) == MAX_USERS
    assert allowed(rates, 7, "Verify", 9) == 0
    assert allowed(rates, 99, "Info", 99) == 0, "users without a count of their own share one, which is used up"
    assert sum(map(sys.getsizeof, (u.calls._counts for u in rates._users.values()))) < 1_000 * MAX_USERS
    watch.now += 62.0
    assert allowed(rates, 99, "Info", 99) == 30


def test_counting_a_call_is_cheap(watch):
    rates, config = RateLimits(), SocketConfig(calls_per_minute=1_000_000)
    for uid in range(2 * MAX_USERS):
        rates.require(uid, "Info", config)
    began = time.perf_counter()
    for number in range(20_000):
        rates.require(number % (2 * MAX_USERS), "Info", config)
    assert (time.perf_counter() - began) / 20_000 < 100e-6


# In the daemon


def errors_of(folder, peer, *calls, **limits):
    """Return the errors of these calls, one after the other."""

    async def run():
        config = dataclasses.replace(Config(), socket=SocketConfig(**limits))
        daemon = InProcessDaemon(folder, UNCALIBRATED, [window(0.9)], config)
        found = []
        for method, parameters in calls:
            reply = (await daemon.ask(method, peer, **parameters))[-1]
            found.append(None if reply.error is None else reply.error.rpartition(".")[2])
        return found, reply.parameters

    return asyncio.run(run())


def test_denied_and_refused_calls_count(tmp_path):
    denied = ("Verify", {"name": "Ralph"})
    errors, parameters = errors_of(tmp_path, MALLORY, *[denied] * 4, ("Identify", {}), tries_per_minute=4)
    assert errors == ["PermissionDenied"] * 4 + ["TooOften"]
    assert (parameters["limit"], 0 < parameters["seconds"] <= 61) == (4, True)
    errors, _ = errors_of(tmp_path, MALLORY, *[("ExportProfile", {"name": "Nobody"})] * 11, calls_per_minute=10)
    assert errors == ["PermissionDenied"] * 10 + ["TooOften"]


def test_a_member_of_the_monitor_group_is_counted_too(tmp_path):
    errors, _ = errors_of(tmp_path, LISTENER, *[("Identify", {"timeout": 0.0})] * 3, tries_per_minute=2)
    assert errors == [None, None, "TooOften"]


def test_root_is_not_counted(tmp_path):
    errors, _ = errors_of(tmp_path, ROOT, *[("Verify", {"name": "Ralph", "timeout": 0.0})] * 9, tries_per_minute=2)
    assert errors == [None] * 9


def test_send_audio_counts_except_for_ones_own_enrolment(tmp_path):
    async def run(peer, holder):
        daemon = InProcessDaemon(
            tmp_path, UNCALIBRATED, [], dataclasses.replace(Config(), socket=SocketConfig(calls_per_minute=10))
        )
        with daemon.state.claims.take("Enroll", holder.uid) as claim:
            replies = [await daemon.ask("SendAudio", peer, claim=claim.token, pcm="") for _ in range(12)]
        return [reply[-1].error.rpartition(".")[2] for reply in replies]

    assert asyncio.run(run(MALLORY, MALLORY)) == ["InvalidParameter"] * 12, "the claim is not for recordings"
    assert asyncio.run(run(MALLORY, LISTENER)) == ["InvalidParameter"] * 10 + ["TooOften"] * 2
