"""Hostile clients at the live socket while the daemon listens: no audio is lost, nobody waits, and memory is bounded.

The fuzzer is in daemon_fuzzer.py, and runs in one process per user; the other clients are in daemon_crowd.py. A failure
prints the case that caused it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from daemon_audio import RATE, takes
from daemon_crowd import Crowd, Fuzzer, HealthProbe, Listener, Microphone
from daemon_process import DaemonProcess, Settings, merged
from waiting import wait_until

from voiceauthd.audio.block import Block
from voiceauthd.config.load import load_config
from voiceauthd.speech.segmenter import Segmenter, segment
from voiceauthd.speech.window import SpeechBegan, Window

MEMORY = 12.0
"""MiB that the daemon may grow by once it is warm. Its heap is used by six threads, whose arenas glibc fills and does
not return; a leak per request would be far more: 1 KiB each is 49 MiB after 50,000."""

HIGH_LIMITS: Settings = {
    "socket": {
        "connections": 512,
        "connections_per_user": 256,
        "calls_per_minute": 1_000_000,
        "tries_per_minute": 10_000,
    },
    "verify": {"timeout": 1, "speech": 1},
    "enroll": {"timeout": 600, "speech": 3, "exemplars": 1},
}


def other_user() -> str | None:
    """Return a user that this process can become; None if it cannot become another user."""
    with contextlib.suppress(KeyError):
        if os.geteuid() == 0:
            return pwd.getpwnam("games").pw_name
    return None


def done(method: str, rounds: Sequence[dict[str, Any]]) -> int:
    """Return the number of calls of this method that were answered without an error."""
    return sum(one["done"].get(method, 0) for one in rounds)


def fuzz(daemon: DaemonProcess, seed: int, requests: int, first: Sequence[int] = (0, 0)) -> list[dict[str, Any]]:
    """Fuzz as two users at the same time, with half of the requests each."""
    fuzzers = [
        Fuzzer(daemon, seed + index, requests // 2, first=first[index], user=user)
        for index, user in enumerate((None, other_user()))
    ]
    return [fuzzer.results() for fuzzer in fuzzers]


def require_whole_log(daemon: DaemonProcess) -> None:
    """Fail the test if the log shows an internal error, or a line that a client has injected."""
    lines = daemon.log.read_text(errors="replace").splitlines()
    assert not [line for line in lines if "Traceback" in line or line.startswith("voiceauthd: ERROR")]
    assert [line for line in lines if not line.startswith("voiceauthd: ")] == []
    assert all(line.isprintable() for line in lines)


def expected(samples: np.ndarray, config: Path) -> list[tuple[str, float, float | None]]:
    """Return the events of a monitor for this audio without any other client, as in `Listener.speech_events`."""
    segmenter = Segmenter(load_config(config, []).speech)
    blocks = [Block(samples[start : start + 1600], start, float(start)) for start in range(0, len(samples), 1600)]
    found: list[tuple[str, float, float | None]] = []
    for one in segment(blocks, segmenter):
        if isinstance(one, Window):
            found.append(("window", round(one.start / RATE, 4), round(one.duration, 4)))
        else:
            found.append(("speech" if isinstance(one, SpeechBegan) else "silence", round(one.start / RATE, 4), None))
    return found


@pytest.fixture
def unlimited_daemon(stub_at: Callable[..., DaemonProcess], folder: Path) -> Iterator[tuple[DaemonProcess, Microphone]]:
    """A daemon with high limits, and a microphone that does not wait. Ralph and the user `games` are enrolled, with the
    same voice."""
    folder.chmod(0o755)  # other users call it
    pipe = folder / "microphone"
    microphone = Microphone(pipe)
    # The shell opens the pipe as the daemon's standard input.
    daemon = stub_at(HIGH_LIMITS, activate=("/bin/sh", "-c", 'exec "$@" <"$0"', str(pipe)), with_audio=False)
    try:
        for name in ("Ralph", "games"):
            daemon.enroll(name, takes("Ralph"))
        yield daemon, microphone
    finally:
        microphone.close()


@pytest.mark.parametrize(
    ("seed", "warm_up", "requests"),
    [(1, 600, 2_000), pytest.param(11, 6_000, 50_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])],
)
def test_a_fuzzed_daemon_neither_ends_nor_hangs_nor_grows_nor_misses_audio(
    unlimited_daemon: tuple[DaemonProcess, Microphone], seed: int, warm_up: int, requests: int, record_property
) -> None:
    """A verification starts a new utterance on purpose, for monitors too. In the first half a client holds the claim,
    and every window must be as without the fuzzers; in the second half the fuzzers take the claim."""
    daemon, microphone = unlimited_daemon
    listener = Listener(daemon)
    microphone.start()
    with HealthProbe(daemon) as probe:
        with daemon.caller() as holder:
            daemon.begin_recordings(holder, name="Holder", timeout=600.0)
            first = fuzz(daemon, seed, warm_up)
            warm = daemon.ask("Status")["memory_mib"]
            second = fuzz(daemon, seed, requests // 2, [one["next"] for one in first])
            microphone.fall_silent()
            received = listener.speech_events()
            played = microphone.played()
        daemon.configure({"enroll": {"timeout": 5}})
        daemon.ask("Reload")
        microphone.speak()
        third = fuzz(daemon, seed, requests - requests // 2, [one["next"] for one in second])
    status = daemon.ask("Status")
    record_property("rounds", [*first, *second, *third])
    record_property("memory", (warm, status["memory_mib"]))
    record_property("probe", (len(probe.seconds), max(probe.seconds)))
    assert sum(one["mutated"] for one in second + third) >= requests
    probe.require_healthy()
    require_whole_log(daemon)
    assert microphone.lost == 0
    assert received == [one for one in expected(played, daemon.config) if one[1] < len(played) / RATE]
    assert Counter(kind for kind, _, _ in received)["window"] >= 2
    assert [done("Identify", part) > 0 for part in (second, third)] == [False, True]
    assert (status["queue"]["dropped"], status["source"]["overflows"], status["windows"]["failed"]) == (0, 0, 0)
    assert status["memory_mib"] - warm < MEMORY


def test_a_user_who_calls_too_often_is_refused_each_time_and_others_are_not(
    stub_at: Callable[..., DaemonProcess], folder: Path
) -> None:
    user = other_user()
    if user is None:
        pytest.skip("needs root and the account 'games', to call as another user")
    folder.chmod(0o755)
    limits = {"connections_per_user": 16, "calls_per_minute": 60, "tries_per_minute": 20}
    daemon = stub_at(merged(HIGH_LIMITS, {"socket": limits}), with_audio=False)
    with HealthProbe(daemon) as probe:
        limited, free = Fuzzer(daemon, 31, 600, user=user), Fuzzer(daemon, 32, 300)
        counted, uncounted = limited.results(), free.results()
    probe.require_healthy()
    require_whole_log(daemon)
    assert counted["errors"]["TooOften"] > 100
    assert "TooOften" not in uncounted["errors"]
    assert counted["done"].get("Info", 0) + counted["done"].get("Status", 0) <= 60


@pytest.mark.parametrize(
    ("rounds", "visits"), [(1, 600), pytest.param(8, 2_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_misbehaving_clients_delay_nobody_and_leave_nothing_behind(
    stub_at: Callable[..., DaemonProcess], folder: Path, rounds: int, visits: int, record_property
) -> None:
    """Clients that send and never read, send a byte at a time, close their sending direction, or come and go."""
    daemon = stub_at(HIGH_LIMITS, speed=1.0)
    crowd = Crowd(daemon)
    memory = [daemon.ask("Status")["memory_mib"]]
    with HealthProbe(daemon) as probe:
        for _ in range(rounds):
            monitors = crowd.half_close(10)
            crowd.come_and_go(visits)
            crowd.trickle(40, 0.5)
            crowd.stuff(20)
            assert daemon.ask("Status")["monitors"] == len(monitors)
            crowd.disconnect_all()
            wait_until("all connections are closed", lambda: daemon.ask("Status")["connections"] <= 2)
            wait_until("no monitor is left", lambda: daemon.ask("Status")["monitors"] == 0)
            memory.append(daemon.ask("Status")["memory_mib"])
    record_property("memory", memory)
    record_property("probe", (len(probe.seconds), max(probe.seconds)))
    probe.require_healthy()
    require_whole_log(daemon)
    assert memory[-1] - memory[0] < MEMORY
