"""The event stream of Monitor, from a live source and from recordings, also to monitors that do not read."""

from __future__ import annotations

import shutil
import socket
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from daemon_audio import CONVERSATION, quiet, voice
from daemon_caller import Caller
from daemon_process import DaemonProcess, with_model
from models import campplus_cache
from waiting import wait_until

from voiceauthd.audio.block import Block
from voiceauthd.audio.file import read_recording
from voiceauthd.config.load import load_config
from voiceauthd.demo.script import judge
from voiceauthd.pipeline.recogniser import FailedWindow, ScoredWindow, follow
from voiceauthd.profiles.keys import KEY_FILE
from voiceauthd.server.event_queue import MAX_DROPPED
from voiceauthd.service.engine import build_engine
from voiceauthd.speech.segmenter import Segmenter

COSINE_TOLERANCE = 2e-3
"""Difference of two cosines of one window: embeddings computed in one batch differ in the last bits, and a reply is
rounded to four digits."""

LLR_TOLERANCE = 0.1
"""The same for log-likelihood ratios, which are steeper by the slope of the calibration."""

RECORDED = CONVERSATION[:4]
"""The part of the conversation that is read from a file."""


def monitor(daemon: DaemonProcess) -> Caller:
    """Return a monitor whose stream has begun."""
    caller = daemon.caller()
    caller.send("Monitor")
    event = caller.reply().parameters["event"]
    assert (event["kind"], event["sequence"]) == ("started", 0)
    assert event["detail"] == daemon.ask("Status")["source"]["description"]
    return caller


def events_of(caller: Caller, utterances: int) -> list[dict]:
    """The events up to the end of this number of utterances."""
    found: list[dict] = []
    for _ in range(utterances):
        found += caller.events("silence")
    return found


def kinds(events: list[dict]) -> list[str]:
    return [event["kind"] for event in events]


def of_kind(events: list[dict], kind: str) -> list[dict]:
    return [event for event in events if event["kind"] == kind]


def speakers(events: list[dict]) -> list[str | None]:
    """The speakers in their order, "unknown" for somebody who is not enrolled; without the silences in between."""
    labels = [event["identity"] or event["decision"] for event in of_kind(events, "speaker")]
    return [name for name in labels if name != "undecided"]


def test_every_turn_of_a_conversation_gets_the_right_label(daemon: DaemonProcess) -> None:
    with monitor(daemon) as caller:
        assert daemon.ask("Status")["monitors"] == 1
        clips = [daemon.feed.play(voice(turn), pause=0.9) for turn, _ in CONVERSATION]
        end = daemon.feed.play_through(quiet(0.1), pause=1.0)
        events = events_of(caller, len(CONVERSATION))
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


def test_events_are_in_order(daemon: DaemonProcess) -> None:
    with monitor(daemon) as caller:
        daemon.feed.play(voice("ralph-1"))
        events = events_of(caller, 1)
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


def test_the_label_ends_after_the_last_utterance(daemon: DaemonProcess) -> None:
    with monitor(daemon) as caller:
        daemon.feed.play(voice("ralph-1"))
        events = caller.events("silence")
        assert speakers(events) == ["Ralph"]
        nobody = caller.reply().parameters["event"]
    assert (nobody["kind"], nobody["decision"], nobody["identity"]) == ("speaker", "undecided", None)
    assert nobody["start"] == events[-1]["start"]


def test_two_monitors_get_the_same_events(daemon: DaemonProcess) -> None:
    with monitor(daemon) as one, monitor(daemon) as other:
        assert daemon.ask("Status")["monitors"] == 2
        daemon.feed.play(voice("susan-1"))
        first, second = events_of(one, 1), events_of(other, 1)
    own = ("time", "latency_ms")
    assert [[event[key] for key in event if key not in own] for event in first] == [
        [event[key] for key in event if key not in own] for event in second
    ]


def test_monitoring_does_not_disturb_a_verification(daemon: DaemonProcess) -> None:
    with monitor(daemon) as caller, daemon.caller() as verify:
        verify.send("Verify", name="Ralph")
        verify.until("listening")
        daemon.feed.play(voice("verify-ralph"))
        assert verify.until("decided")["outcome"] == "accept"
        assert of_kind(caller.events("silence"), "window")[0]["identity"] == "Ralph"


def test_monitoring_needs_more(daemon: DaemonProcess) -> None:
    assert daemon.refusal("Monitor").error == "ExpectedMore"


def test_a_monitor_that_disconnects_is_not_counted_any_more(daemon: DaemonProcess) -> None:
    monitor(daemon).close()
    wait_until("nobody monitors", lambda: daemon.ask("Status")["monitors"] == 0, 2.0)
    assert daemon.ask("Status")["state"] == "ready"


# Recordings


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first turns of the demo's conversation as one recording."""
    path = tmp_path_factory.mktemp("conversation") / "conversation.flac"
    pieces = [piece for turn, _ in RECORDED for piece in (quiet(0.9), voice(turn))]
    soundfile.write(path, np.concatenate([*pieces, quiet(0.2)]), 16_000)
    return path


def test_a_recording_gives_the_same_windows_and_scores_as_offline(
    shared_daemon: DaemonProcess, conversation: Path, folder: Path
) -> None:
    """Windows, scores and decisions are the same as those of `follow`; then the stream ends."""
    shutil.copytree(shared_daemon.profiles, folder / "profiles", copy_function=shutil.copy2)
    (folder / "profiles").chmod(0o700)
    shutil.copy2(shared_daemon.folder / KEY_FILE, folder)
    audio = {"source": str(conversation), "pace": "fast"}
    with DaemonProcess(folder, {"audio": audio}, environment=with_model(), with_audio=False) as daemon:
        daemon.await_ready()
        with monitor(daemon) as caller:
            events = caller.events()
        assert (events[-1]["kind"], events[-1]["detail"].split(":")[0]) == ("source", "ended")
        assert (events[-2]["kind"], events[-2]["decision"]) == ("speaker", "undecided")
        assert speakers(events) == [speaker or "unknown" for _, speaker in RECORDED]
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        assert daemon.ask("Status")["queue"]["dropped"] == 0
        assert daemon.ask("Status")["windows"]["embedded"] == len(of_kind(events, "window"))
        # A later monitor gets the end at once, instead of waiting for ever.
        with monitor(daemon) as late:
            assert late.events()[-1]["detail"] == events[-1]["detail"]
        assert daemon.refusal("Verify", name="Ralph").error == "NoSource"
    scored = offline(daemon.config, conversation)
    assert len(scored) == len(of_kind(events, "window")) > len(RECORDED)
    assert all(event["calibrated"] for event in of_kind(events, "window"))
    for event, expected in zip(of_kind(events, "window"), scored, strict=True):
        assert isinstance(expected, ScoredWindow)
        window, identified = expected.window, expected.identified
        assert event["start"] == pytest.approx(window.start / 16_000, abs=1e-4)
        assert event["duration"] == pytest.approx(window.duration, abs=1e-4)
        assert event["quality"]["net_speech"] == pytest.approx(window.quality.net_speech, abs=0.01)
        assert (event["decision"], event["identity"]) == (identified.recognition.value, identified.identity)
        assert event["score"] == pytest.approx(identified.best.llr, abs=LLR_TOLERANCE)
        assert event["margin"] == pytest.approx(identified.margin, abs=COSINE_TOLERANCE)


def offline(config_file: Path, recording: Path) -> list[ScoredWindow | FailedWindow]:
    """The results of `follow` in this process, with the same recording, configuration and profiles."""
    config = load_config(config_file, [f"model.cache={campplus_cache()}"])
    engine = build_engine(config, lambda _event: None)
    samples = read_recording(recording)
    # Blocks of another length than the daemon's, which must not matter.
    blocks = [Block(samples[start : start + 1000], start, float(start)) for start in range(0, len(samples), 1000)]
    return list(follow(blocks, Segmenter(config.speech), engine.recogniser))


def test_a_recording_with_real_time_pace_takes_its_length(stub_at, folder: Path) -> None:
    soundfile.write(folder / "ralph.wav", voice("ralph-1")[:48_000], 16_000)
    daemon = stub_at({"audio": {"source": str(folder / "ralph.wav")}}, with_audio=False)
    assert daemon.ask("Status")["source"]["state"] == "closed"
    with monitor(daemon) as caller:
        began = time.monotonic()
        first = caller.events("window")[-1]
        assert 1.5 <= time.monotonic() - began < 4.0
        assert daemon.ask("Status")["source"]["state"] == "open"
        assert caller.events()[-1]["detail"].startswith("ended")
    assert first["duration"] == 1.5
    assert 2.7 <= time.monotonic() - began < 6.0


# Monitors that do not read

MANY_WINDOWS = 500
"""Windows after which the buffers between the daemon and a monitor that does not read are full: they hold about 380.
Many more would take a busy machine longer than the daemon waits for such a monitor."""


@pytest.fixture
def busy(stub_at, folder: Path) -> DaemonProcess:
    """A daemon that processes ten minutes of speech as fast as it can, once `hold-capture` is removed."""
    seconds = 10 * 60
    speech = voice("ralph-1")
    soundfile.write(folder / "long.wav", np.tile(speech, seconds * 16_000 // len(speech)), 16_000)
    settings = {
        "audio": {"source": str(folder / "long.wav"), "pace": "fast"},
        "speech": {"window": 1.0, "first": 1.0, "hop": 0.25},
        "socket": {"events_queued": 64},
    }
    return stub_at(settings, with_audio=False, hold="hold-capture")


def monitor_without_reading(daemon: DaemonProcess, caller: Caller) -> None:
    """Return when `caller` monitors and the daemon has sent it more than the buffers hold."""
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.send("Monitor")
    wait_until("it monitors", lambda: daemon.ask("Status")["monitors"] == 1)
    (daemon.folder / "hold-capture").unlink()
    wait_until("the buffers are full", lambda: daemon.ask("Status")["windows"]["embedded"] > MANY_WINDOWS, 60.0)


def test_a_monitor_that_never_reads_delays_nobody(busy: DaemonProcess) -> None:
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
        # The monitor that does not read is disconnected, and not counted any more.
        wait_until("no monitor is left", lambda: busy.ask("Status")["monitors"] == 0)
        verify.send("ListProfiles", more=False)
        assert verify.reply().parameters == {"profiles": []}


def test_a_monitor_that_reads_late_gets_the_number_of_missed_events(busy: DaemonProcess) -> None:
    with busy.caller() as caller:
        monitor_without_reading(busy, caller)
        (busy.folder / "hold-capture").touch()
        events = caller.events("dropped")
    missed = events[-1]
    assert (missed["detail"], missed["count"] > 0) == ("events", True)
    assert missed["sequence"] == events[-2]["sequence"] + missed["count"] + 1


def test_the_daemon_stops_in_time_even_if_a_monitor_never_reads(busy: DaemonProcess) -> None:
    with busy.caller() as idle:
        monitor_without_reading(busy, idle)
        began = time.monotonic()
        assert busy.end() == 0
        assert time.monotonic() - began < 2.0
