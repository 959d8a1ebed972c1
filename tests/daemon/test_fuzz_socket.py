"""A hostile crowd at the live socket, while the daemon listens: nothing is lost, nobody waits, nothing grows.

Who fuzzes is in daemon_fuzzer.py, a process of its own for each user; the others are in daemon_crowd.py. A failure
prints the case that brought it about.
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
from daemon_box import Box, Settings, merged, wait_until
from daemon_crowd import Crowd, Fuzzer, Listener, Microphone, Pulse
from daemon_room import RATE, takes

from voiceauthd.audio.block import Block
from voiceauthd.config.load import load_config
from voiceauthd.speech.segmenter import Segmenter, segment
from voiceauthd.speech.window import SpeechBegan, Window

MEMORY = 12.0
"""MiB that the daemon may grow by once it is warm. Its heap is used by six threads, whose arenas glibc fills and does
not give back; what is kept for each request would be far more: 1 KiB each is 49 MiB after 50,000."""

OPEN_DOOR: Settings = {
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
    """Somebody whom this process can become; None if it cannot become anybody."""
    with contextlib.suppress(KeyError):
        if os.geteuid() == 0:
            return pwd.getpwnam("games").pw_name
    return None


def done(method: str, rounds: Sequence[dict[str, Any]]) -> int:
    """How many calls of this method were answered without an error."""
    return sum(one["done"].get(method, 0) for one in rounds)


def fuzz(box: Box, seed: int, requests: int, first: Sequence[int] = (0, 0)) -> list[dict[str, Any]]:
    """Both users at once, half of the requests each."""
    fuzzers = [
        Fuzzer(box, seed + index, requests // 2, first=first[index], user=user)
        for index, user in enumerate((None, other_user()))
    ]
    return [fuzzer.results() for fuzzer in fuzzers]


def require_whole_log(box: Box) -> None:
    """No defect was met, and no line is a client's own."""
    lines = box.log.read_text(errors="replace").splitlines()
    assert not [line for line in lines if "Traceback" in line or line.startswith("voiceauthd: ERROR")]
    assert [line for line in lines if not line.startswith("voiceauthd: ")] == []
    assert all(line.isprintable() for line in lines)


def expected(samples: np.ndarray, config: Path) -> list[tuple[str, float, float | None]]:
    """What a monitor is told of this sound where nobody disturbs: kind, start and duration, as in `Listener.told`."""
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
def open_box(stub_at: Callable[..., Box], folder: Path) -> Iterator[tuple[Box, Microphone]]:
    """A daemon that nearly nothing is too much for, with a microphone that is in a real hurry. Ralph is enrolled, and
    the user `games` with the same voice."""
    folder.chmod(0o755)  # other users call
    pipe = folder / "microphone"
    microphone = Microphone(pipe)
    # The shell opens the pipe as the daemon's standard input.
    box = stub_at(OPEN_DOOR, activate=("/bin/sh", "-c", 'exec "$@" <"$0"', str(pipe)), hears=False)
    try:
        for name in ("Ralph", "games"):
            box.enroll(name, takes("Ralph"))
        yield box, microphone
    finally:
        microphone.close()


@pytest.mark.parametrize(
    ("seed", "warm_up", "requests"),
    [(1, 600, 2_000), pytest.param(11, 6_000, 50_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])],
)
def test_a_fuzzed_daemon_neither_ends_nor_hangs_nor_grows_and_hears_all(
    open_box: tuple[Box, Microphone], seed: int, warm_up: int, requests: int, record_property
) -> None:
    """A verification begins a new stretch of sound by intent, for monitors, too. So in the first half somebody holds
    the claim, and every window must come as it would have come; in the second half the fuzzers take it."""
    box, microphone = open_box
    listener = Listener(box)
    microphone.start()
    with Pulse(box) as pulse:
        with box.caller() as holder:
            box.begin_recordings(holder, name="Holder", timeout=600.0)
            first = fuzz(box, seed, warm_up)
            warm = box.ask("Status")["memory_mib"]
            second = fuzz(box, seed, requests // 2, [one["next"] for one in first])
            microphone.fall_silent()
            heard = listener.told()
            played = microphone.played()
        box.configure({"enroll": {"timeout": 5}})
        box.ask("Reload")
        microphone.speak()
        third = fuzz(box, seed, requests - requests // 2, [one["next"] for one in second])
    status = box.ask("Status")
    record_property("rounds", [*first, *second, *third])
    record_property("memory", (warm, status["memory_mib"]))
    record_property("pulse", (len(pulse.seconds), max(pulse.seconds)))
    assert sum(one["mutated"] for one in second + third) >= requests
    pulse.require_calm()
    require_whole_log(box)
    assert microphone.lost == 0
    assert heard == [one for one in expected(played, box.config) if one[1] < len(played) / RATE]
    assert Counter(kind for kind, _, _ in heard)["window"] >= 2
    assert [done("Identify", part) > 0 for part in (second, third)] == [False, True]
    assert (status["queue"]["dropped"], status["source"]["overflows"], status["windows"]["failed"]) == (0, 0, 0)
    assert status["memory_mib"] - warm < MEMORY


def test_a_user_who_calls_too_often_is_told_so_each_time_and_others_are_not(
    stub_at: Callable[..., Box], folder: Path
) -> None:
    user = other_user()
    if user is None:
        pytest.skip("needs root and the account 'games', to call as another user")
    folder.chmod(0o755)
    limits = {"connections_per_user": 16, "calls_per_minute": 60, "tries_per_minute": 20}
    box = stub_at(merged(OPEN_DOOR, {"socket": limits}), hears=False)
    with Pulse(box) as pulse:
        limited, free = Fuzzer(box, 31, 600, user=user), Fuzzer(box, 32, 300)
        counted, uncounted = limited.results(), free.results()
    pulse.require_calm()
    require_whole_log(box)
    assert counted["errors"]["TooOften"] > 100
    assert "TooOften" not in uncounted["errors"]
    assert counted["done"].get("Info", 0) + counted["done"].get("Status", 0) <= 60


@pytest.mark.parametrize(
    ("rounds", "visits"), [(1, 600), pytest.param(8, 2_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_clients_with_bad_manners_keep_nobody_waiting_and_leave_nothing_behind(
    stub_at: Callable[..., Box], folder: Path, rounds: int, visits: int, record_property
) -> None:
    """Those who send and never read, who send a byte at a time, who stop sending and still listen, who come and go."""
    box = stub_at(OPEN_DOOR, speed=1.0)
    crowd = Crowd(box)
    memory = [box.ask("Status")["memory_mib"]]
    with Pulse(box) as pulse:
        for _ in range(rounds):
            monitors = crowd.half_close(10)
            crowd.come_and_go(visits)
            crowd.trickle(40, 0.5)
            crowd.stuff(20)
            assert box.ask("Status")["monitors"] == len(monitors)
            crowd.go()
            wait_until("all are forgotten", lambda: box.ask("Status")["connections"] <= 2)
            wait_until("no monitor is left", lambda: box.ask("Status")["monitors"] == 0)
            memory.append(box.ask("Status")["memory_mib"])
    record_property("memory", memory)
    record_property("pulse", (len(pulse.seconds), max(pulse.seconds)))
    pulse.require_calm()
    require_whole_log(box)
    assert memory[-1] - memory[0] < MEMORY
