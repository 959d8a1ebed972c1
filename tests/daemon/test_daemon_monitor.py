"""The monitor stream: what is heard, as it is heard, to everybody who listens."""

from __future__ import annotations

import shutil
import socket
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from daemon_box import Box, wait_until, with_model
from daemon_caller import Caller
from daemon_room import CONVERSATION, quiet, voice
from models import campplus_cache

from voiceauthd.audio.block import Block
from voiceauthd.audio.file import read_recording
from voiceauthd.config.load import load_config
from voiceauthd.demo.script import judge
from voiceauthd.pipeline.recogniser import FailedWindow, ScoredWindow, follow
from voiceauthd.profiles.keys import KEY_FILE
from voiceauthd.server.event_queue import MAX_DROPPED
from voiceauthd.service.engine import build_engine
from voiceauthd.speech.segmenter import Segmenter

CLOSE = 2e-3
"""How far two cosines of one window may be apart: windows that are embedded together differ in the last bits, and a
reply is rounded to four digits."""

CLOSE_RATIO = 0.1
"""As much, of log-likelihood ratios: of a cosine, times what the calibration makes of it."""


def monitor(box: Box) -> Caller:
    """A monitor whose stream has begun."""
    caller = box.caller()
    caller.send("Monitor")
    event = caller.reply().parameters["event"]
    assert (event["kind"], event["sequence"]) == ("started", 0)
    assert event["detail"] == box.ask("Status")["source"]["description"]
    return caller


def until_idle(caller: Caller, silences: int) -> list[dict]:
    """The events up to so many ends of utterances."""
    found: list[dict] = []
    for _ in range(silences):
        found += caller.events("silence")
    return found


def kinds(events: list[dict]) -> list[str]:
    return [event["kind"] for event in events]


def of_kind(events: list[dict], kind: str) -> list[dict]:
    return [event for event in events if event["kind"] == kind]


def speakers(events: list[dict]) -> list[str | None]:
    """Who speaks, in turn: "unknown" for somebody who is not enrolled. That nobody speaks in between is left out."""
    told = [event["identity"] or event["decision"] for event in of_kind(events, "speaker")]
    return [name for name in told if name != "undecided"]


def test_a_conversation_is_told_as_it_is_held(box: Box) -> None:
    with monitor(box) as caller:
        assert box.ask("Status")["monitors"] == 1
        clips = [box.room.play(voice(turn), pause=0.9) for turn, _ in CONVERSATION]
        end = box.room.say(quiet(0.1), pause=1.0)
        events = until_idle(caller, len(CONVERSATION))
    starts = [clip.start + 0.9 for clip in clips]
    ends = [clip.start + len(clip.samples) / 16_000 for clip in clips]
    verdicts = [
        judge(speaker, clips[index].start, starts[index], [*starts, end][index + 1], events)
        for index, (_, speaker) in enumerate(CONVERSATION)
    ]
    assert [verdict.right for verdict in verdicts] == [True] * len(CONVERSATION), verdicts
    assert [verdict.expected for verdict in verdicts] == [speaker or "unknown" for _, speaker in CONVERSATION]
    assert speakers(events) == [speaker or "unknown" for _, speaker in CONVERSATION]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert kinds(events).count("speech") == kinds(events).count("silence") == len(CONVERSATION)
    for start, finish, event in zip(starts, ends, of_kind(events, "silence"), strict=True):
        assert start < event["start"] < finish + 0.5
    for event in of_kind(events, "window"):
        assert event["quality"]["net_speech"] >= 1.0
        assert event["latency_ms"] >= event["forward_ms"] > 0
        assert event["score"] is not None
        assert (event["identity"] is None) == (event["decision"] != "known")


def test_events_come_in_their_order(box: Box) -> None:
    with monitor(box) as caller:
        box.room.play(voice("ralph-1"))
        events = until_idle(caller, 1)
    assert (kinds(events)[0], set(kinds(events)[1:-1]), kinds(events)[-1]) == (
        "speech",
        {"window", "speaker"},
        "silence",
    )
    assert speakers(events) == ["Ralph"]
    first = next(event for event in of_kind(events, "window") if event["identity"] == "Ralph")
    assert events[events.index(first) + 1]["kind"] == "speaker"
    starts = [event["start"] for event in of_kind(events, "window")]
    assert starts == sorted(starts)
    assert [event["duration"] for event in of_kind(events, "window")][:2] == [1.5, 3.0]
    assert all(before["time"] <= after["time"] for before, after in pairwise(events))


def test_when_nobody_speaks_any_more_the_label_ends(box: Box) -> None:
    with monitor(box) as caller:
        box.room.play(voice("ralph-1"))
        events = caller.events("silence")
        assert speakers(events) == ["Ralph"]
        nobody = caller.reply().parameters["event"]
    assert (nobody["kind"], nobody["decision"], nobody["identity"]) == ("speaker", "undecided", None)
    assert nobody["start"] == events[-1]["start"]


def test_two_monitors_are_told_the_same(box: Box) -> None:
    with monitor(box) as one, monitor(box) as other:
        assert box.ask("Status")["monitors"] == 2
        box.room.play(voice("susan-1"))
        first, second = until_idle(one, 1), until_idle(other, 1)
    own = ("time", "latency_ms")
    assert [[event[key] for key in event if key not in own] for event in first] == [
        [event[key] for key in event if key not in own] for event in second
    ]


def test_monitoring_does_not_disturb_a_verification(box: Box) -> None:
    with monitor(box) as caller, box.caller() as verify:
        verify.send("Verify", name="Ralph")
        verify.until("listening")
        box.room.play(voice("verify-ralph"))
        assert verify.until("decided")["outcome"] == "accept"
        assert of_kind(caller.events("silence"), "window")[0]["identity"] == "Ralph"


def test_monitoring_needs_more(box: Box) -> None:
    assert box.refusal("Monitor").error == "ExpectedMore"


def test_a_monitor_that_disconnects_is_forgotten(box: Box) -> None:
    monitor(box).close()
    wait_until("nobody monitors", lambda: box.ask("Status")["monitors"] == 0, 2.0)
    assert box.ask("Status")["state"] == "ready"


# Recordings


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's conversation as one recording."""
    path = tmp_path_factory.mktemp("conversation") / "conversation.flac"
    pieces = [piece for turn, _ in CONVERSATION for piece in (quiet(0.9), voice(turn))]
    soundfile.write(path, np.concatenate([*pieces, quiet(0.2)]), 16_000)
    return path


def test_a_recording_streams_as_it_is_cut_and_compared_offline(shared: Box, conversation: Path, folder: Path) -> None:
    """The same windows, the same scores, the same decisions; and then the stream ends."""
    shutil.copytree(shared.profiles, folder / "profiles", copy_function=shutil.copy2)
    (folder / "profiles").chmod(0o700)
    shutil.copy2(shared.folder / KEY_FILE, folder)
    audio = {"source": str(conversation), "pace": "fast"}
    with Box(folder, {"audio": audio}, environment=with_model(), hears=False) as box:
        box.await_ready()
        with monitor(box) as caller:
            events = caller.events()
        assert (events[-1]["kind"], events[-1]["detail"].split(":")[0]) == ("source", "ended")
        assert (events[-2]["kind"], events[-2]["decision"]) == ("speaker", "undecided")
        assert speakers(events) == [speaker or "unknown" for _, speaker in CONVERSATION]
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        assert box.ask("Status")["queue"]["dropped"] == 0
        assert box.ask("Status")["windows"]["embedded"] == len(of_kind(events, "window"))
        # Whoever comes later is told so, and does not wait for ever.
        with monitor(box) as late:
            assert late.events()[-1]["detail"] == events[-1]["detail"]
        assert box.refusal("Verify", name="Ralph").error == "NoSource"
    heard = offline(box.config, conversation)
    assert len(heard) == len(of_kind(events, "window")) > len(CONVERSATION)
    assert all(event["calibrated"] for event in of_kind(events, "window"))
    for event, expected in zip(of_kind(events, "window"), heard, strict=True):
        assert isinstance(expected, ScoredWindow)
        window, identified = expected.window, expected.identified
        assert event["start"] == pytest.approx(window.start / 16_000, abs=1e-4)
        assert event["duration"] == pytest.approx(window.duration, abs=1e-4)
        assert event["quality"]["net_speech"] == pytest.approx(window.quality.net_speech, abs=0.01)
        assert (event["decision"], event["identity"]) == (identified.recognition.value, identified.identity)
        assert event["score"] == pytest.approx(identified.best.llr, abs=CLOSE_RATIO)
        assert event["margin"] == pytest.approx(identified.margin, abs=CLOSE)


def offline(config_file: Path, recording: Path) -> list[ScoredWindow | FailedWindow]:
    """What `follow` hears in the recording, in this process, with the same configuration and the same profiles."""
    config = load_config(config_file, [f"model.cache={campplus_cache()}"])
    engine = build_engine(config, lambda _happening: None)
    samples = read_recording(recording)
    # Blocks of another length than the daemon's: where the sound is cut must not matter.
    blocks = [Block(samples[start : start + 1000], start, float(start)) for start in range(0, len(samples), 1000)]
    return list(follow(blocks, Segmenter(config.speech), engine.recogniser))


def test_a_recording_in_real_time_is_heard_in_real_time(stub_at, folder: Path) -> None:
    soundfile.write(folder / "ralph.wav", voice("ralph-1")[:48_000], 16_000)
    box = stub_at({"audio": {"source": str(folder / "ralph.wav")}}, hears=False)
    assert box.ask("Status")["source"]["state"] == "closed"
    with monitor(box) as caller:
        began = time.monotonic()
        first = caller.events("window")[-1]
        assert 1.5 <= time.monotonic() - began < 4.0
        assert box.ask("Status")["source"]["state"] == "open"
        assert caller.events()[-1]["detail"].startswith("ended")
    assert first["duration"] == 1.5
    assert 2.7 <= time.monotonic() - began < 6.0


# Monitors that do not read


@pytest.fixture
def busy(stub_at, folder: Path) -> Box:
    """A daemon that has ten minutes of speech to tell of as fast as it can, and waits for the word to begin."""
    seconds = 10 * 60
    speech = voice("ralph-1")
    soundfile.write(folder / "long.wav", np.tile(speech, seconds * 16_000 // len(speech)), 16_000)
    settings = {
        "audio": {"source": str(folder / "long.wav"), "pace": "fast"},
        "speech": {"window": 1.0, "first": 1.0, "hop": 0.25},
        "socket": {"events_queued": 64},
    }
    return stub_at(settings, hears=False, hold="hold-capture")


def test_a_monitor_that_never_reads_holds_nobody_up(busy: Box) -> None:
    with monitor(busy) as reader, busy.caller() as idle, busy.caller() as verify:
        idle.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.send("Monitor")
        wait_until("both monitor", lambda: busy.ask("Status")["monitors"] == 2)
        (busy.folder / "hold-capture").unlink()
        events = reader.events()
        assert events[-1]["detail"].startswith("ended")
        windows = of_kind(events, "window")
        assert len(windows) == busy.ask("Status")["windows"]["embedded"] > MAX_DROPPED
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        # The one that does not read is disconnected, and does not count any more.
        wait_until("only readers are left", lambda: busy.ask("Status")["monitors"] == 0)
        verify.send("ListProfiles", more=False)
        assert verify.reply().parameters == {"profiles": []}


def test_a_monitor_that_reads_late_is_told_how_many_events_it_missed(busy: Box) -> None:
    with busy.caller() as caller:
        caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.send("Monitor")
        wait_until("it monitors", lambda: busy.ask("Status")["monitors"] == 1)
        (busy.folder / "hold-capture").unlink()
        wait_until("much is told", lambda: busy.ask("Status")["windows"]["embedded"] > 1000)
        (busy.folder / "hold-capture").touch()
        events = caller.events("dropped")
    missed = events[-1]
    assert (missed["detail"], missed["count"] > 0) == ("events", True)
    assert missed["sequence"] == events[-2]["sequence"] + missed["count"] + 1


def test_the_daemon_stops_in_time_although_a_monitor_never_reads(busy: Box) -> None:
    with busy.caller() as idle:
        idle.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.send("Monitor")
        wait_until("it monitors", lambda: busy.ask("Status")["monitors"] == 1)
        (busy.folder / "hold-capture").unlink()
        wait_until("its buffers are full", lambda: busy.ask("Status")["windows"]["embedded"] > 1000)
        began = time.monotonic()
        assert busy.end() == 0
        assert time.monotonic() - began < 2.0
