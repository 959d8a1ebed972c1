"""The measurements measure what they claim, on real processes, pipes and daemons."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from fake_daemon import voiceauth
from models import campplus_cache

from voiceauthd.audio.block import RATE
from voiceauthd.audio.pcm import pcm16
from voiceauthd.bench.context import BenchContext, Effort
from voiceauthd.bench.delay import hop_events, through_pipe
from voiceauthd.bench.models import WAVLM_BASE, Models, random_wavlm_config
from voiceauthd.bench.process_usage import memory, usage
from voiceauthd.bench.realtime_player import FRAME, TimedPlayer
from voiceauthd.bench.report import Measurement, NotMeasuredError, median, percentile, table
from voiceauthd.bench.synthetic_audio import continuous_speech, white_noise
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.errors import ExitCode, NotRunningError


@pytest.fixture
def models(tmp_path):
    campplus_cache()
    return Models("campplus", tmp_path, lambda _text: None)


# The report


@pytest.mark.parametrize(
    ("value", "verdict"), [(19.9, "met"), (20, "met"), (20.1, "missed"), (math.nan, "missed"), (None, "")]
)
def test_a_value_up_to_the_target_meets_it_and_nan_does_not(value, verdict):
    assert Measurement("delay", value, "ms", 3, target=20).verdict == verdict


def test_a_value_that_could_not_be_measured_is_reported_with_the_reason():
    (line,) = table([median("delay", [], "ms", 20, "no virtual microphone")])
    assert "not measured" in line
    assert line.endswith("no virtual microphone")
    assert "met" not in line.replace("not measured", "")


def test_a_line_shows_the_value_the_runs_the_target_and_the_verdict():
    measurements = [
        median("a", [1.0, 2.0, 30.0], "ms", 20),
        percentile("longer", [1.0, 2.0, 30.0], 100, "ms", 20),
        median("no target", [1.0], "ms"),
    ]
    first, second, third = table(measurements)
    assert first.split() == ["a", "2.00", "ms", "n", "3", "at", "most", "20", "ms:", "met"]
    assert second.split() == ["longer", "30.0", "ms", "n", "3", "at", "most", "20", "ms:", "missed"]
    assert third.split() == ["no", "target", "1.00", "ms", "n", "1"]
    assert first.index("n 3") == second.index("n 3")


# Process usage


def test_work_counts_as_cpu_time_of_the_thread_that_did_it():
    before = usage(os.getpid())
    began = time.process_time()
    while time.process_time() - began < 0.3:
        pass
    used = usage(os.getpid()).since(before)
    assert used.cpu >= 0.25
    assert used.threads[threading.get_native_id()] >= 0.25
    assert used.share == pytest.approx(100.0 * used.cpu / used.at)


def test_sleep_counts_as_wake_ups_and_not_as_cpu_time():
    before = usage(os.getpid())
    for _ in range(20):
        time.sleep(0.005)
    used = usage(os.getpid()).since(before)
    assert used.wakeups >= 20
    assert used.share < 50.0


def test_freed_memory_still_counts_in_the_peak():
    before, _ = memory(os.getpid())
    block = np.ones(64 * 2**20, dtype=np.uint8)
    held, _ = memory(os.getpid())
    del block
    now, peak = memory(os.getpid())
    assert held > before + 32.0
    assert peak > held - 1.0  # the kernel counts pages in bundles
    assert now < held - 32.0


def test_a_process_that_has_ended_cannot_be_measured():
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    with pytest.raises(NotMeasuredError):
        usage(ended.pid)
    with pytest.raises(NotMeasuredError):
        memory(ended.pid)


# Audio and events


def test_the_player_writes_every_sample_in_real_time_and_knows_when_each_was_played():
    samples = white_noise(0.2, -30.0)
    reader, writer = os.pipe()
    began = time.monotonic()
    with os.fdopen(reader, "rb") as written, os.fdopen(writer, "wb") as pipe:
        with TimedPlayer(pipe, samples) as player:
            player.wait()
        pipe.close()
        assert written.read() == pcm16(samples)
    assert player.played_at(len(samples)) - began >= 0.2
    assert player.played_at(1) - began >= 0.0
    whole, half = player.played_at(2 * FRAME), player.played_at(2 * FRAME - FRAME // 2)
    assert whole - half == pytest.approx(FRAME / 2 / RATE)
    # The next sample belongs to the next frame, which is written when its last sample is due.
    assert player.played_at(2 * FRAME + 1) > half


def test_a_player_that_nobody_reads_fails():
    reader, writer = os.pipe()
    os.close(reader)
    with (
        os.fdopen(writer, "wb", buffering=0) as pipe,
        TimedPlayer(pipe, white_noise(0.1, None)) as player,
        pytest.raises(NotRunningError),
    ):
        player.wait()


def test_continuous_speech_has_no_pause_that_ends_an_utterance():
    speech = continuous_speech(75.0)
    assert len(speech) == 75 * RATE
    loud = np.flatnonzero(np.abs(speech) > 0.01)
    assert np.diff(loud).max() < SpeechConfig().hangover * RATE


def test_only_windows_that_end_with_a_hop_count():
    def event(kind, start, duration=None, forward=50.0):
        return {"kind": kind, "start": start, "duration": duration, "forward_ms": forward}

    events = [
        event("speech", 1.0),
        event("window", 1.0, 1.5),  # the first
        event("window", 1.0, 3.0),
        event("window", 2.5, 3.0),
        event("window", 4.0, 3.0, forward=None),  # failed
        event("window", 4.26, 3.0),  # tail
        event("silence", 7.26),
        event("speech", 9.02),
        event("window", 9.02, 1.5),
        event("window", 9.02, 3.0),  # a tail, although a hop would have ended here too
        event("silence", 12.02),
    ]
    found = hop_events([(float(at), event) for at, event in enumerate(events)], SpeechConfig())
    assert [(when, end / RATE) for when, _, end in found] == [(1.0, 2.5), (2.0, 4.0), (3.0, 5.5), (8.0, 10.52)]


def test_wavlm_with_random_weights_is_as_large_as_the_real_one():
    import torch
    from transformers import WavLMForXVector

    with torch.device("meta"):
        network = WavLMForXVector(random_wavlm_config(WAVLM_BASE))
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert 94e6 < counts["wavlm"] < 95e6  # WavLM base
    assert counts["feature_extractor"] == 3000 * 512 + 512  # mean and deviation of 1500 channels to an x-vector
    assert network.config.tdnn_dim == (512, 512, 512, 512, 1500)


# Real daemons


def test_the_delay_of_a_real_daemon_is_measured_window_by_window(tmp_path, models):
    effort = Effort(forwards=1, windows=2, silence_seconds=1.0, file_runs=1, starts=1, calls=1)
    context = BenchContext(tmp_path, effort, models, lambda _text: None)
    measured = {each.name: each for each in through_pipe(context)}
    overhead, forward = measured["beyond the forward, median"], measured["the forward in the daemon, median"]
    assert overhead.runs >= 2
    # Clocks with different origins, or a tail, would be far outside.
    assert 0.0 < overhead.value < 400.0
    assert 0.0 < forward.value < measured["end of window to event, median"].value
    assert measured["windows dropped from a live source"].value == 0
    assert measured["windows cut from a live source"].value >= 2


def test_bench_prints_one_object_with_the_machine_and_the_results(models):
    result = voiceauth("bench", "--only", "client", "--runs", "1", "--json", "--model", models.chosen().name)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert {"processor", "memory", "python", "packages"} <= set(report["machine"])
    measured = {each["name"]: each for each in report["parts"]["client"]["figures"]}
    assert set(report["parts"]) == {"client"}
    assert measured["voiceauth status, whole process"]["value"] > measured["import voiceauthd.client"]["value"] > 0.0
    assert measured["voiceauth status, whole process"]["runs"] == 2
    assert len(report["parts"]["client"]["load"]) == 2


def test_a_part_that_fails_is_reported_as_not_measured_and_fails_the_command(tmp_path):
    result = voiceauth("bench", "--only", "client", "--runs", "1", "--model", str(tmp_path / "nothing"))
    assert result.returncode == ExitCode.MODEL
    assert "not measured" in result.stdout
    assert "does not exist" in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "message"), [(("--only", "speed"), "invalid choice"), (("--runs", "0"), "whole number")]
)
def test_invalid_arguments_are_a_usage_error(words, message):
    result = voiceauth("bench", *words)
    assert result.returncode == ExitCode.USAGE
    assert message in result.stderr
