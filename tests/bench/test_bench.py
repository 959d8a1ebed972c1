"""The measurements measure what they say: on real processes, pipes and daemons, and with honest words for the rest."""

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

from voiceauthd.audio.block import RATE
from voiceauthd.bench.delay import hop_events, through_pipe
from voiceauthd.bench.models import WAVLM_BASE, Models, random_wavlm_config
from voiceauthd.bench.process_usage import memory, usage
from voiceauthd.bench.report import Figure, NotMeasuredError, median, percentile, table
from voiceauthd.bench.setting import Effort, Setting
from voiceauthd.bench.sound import FRAME, Feeder, continuous_speech, noise
from voiceauthd.config.schema import SpeechConfig
from voiceauthd.errors import ExitCode, NotRunningError
from voiceauthd.terminal.recordings import pcm16


@pytest.fixture
def models(tmp_path):
    made = Models(None, tmp_path, lambda _text: None)
    if made.campplus() is None:
        pytest.skip("no CAM++ here: `voiceauth model fetch campplus`")
    return made


# What the report says


@pytest.mark.parametrize(
    ("value", "verdict"), [(19.9, "met"), (20, "met"), (20.1, "missed"), (math.nan, "missed"), (None, "")]
)
def test_a_target_is_met_up_to_it_and_never_by_what_is_no_number(value, verdict):
    assert Figure("delay", value, "ms", 3, target=20).verdict == verdict


def test_a_figure_without_a_target_is_not_judged():
    assert Figure("memory", 400.0, "MiB", 1).verdict == ""


def test_what_could_not_be_measured_is_called_so_with_its_reason():
    (line,) = table([median("delay", [], "ms", 20, "no virtual microphone")])
    assert "not measured" in line
    assert line.endswith("no virtual microphone")
    assert "met" not in line.replace("not measured", "")


def test_a_line_shows_the_value_its_runs_the_target_and_the_verdict():
    figures = [median("a", [1.0, 2.0, 30.0], "ms", 20), percentile("longer", [1.0, 2.0, 30.0], 100, "ms", 20)]
    first, second = table(figures)
    assert first.split() == ["a", "2.00", "ms", "n", "3", "at", "most", "20", "ms:", "met"]
    assert second.split() == ["longer", "30.0", "ms", "n", "3", "at", "most", "20", "ms:", "missed"]
    assert first.index("n 3") == second.index("n 3")


# What the kernel knows


def test_work_shows_as_time_on_a_processor_of_the_thread_that_did_it():
    before = usage(os.getpid())
    began = time.process_time()
    while time.process_time() - began < 0.3:
        pass
    used = usage(os.getpid()).since(before)
    assert used.cpu >= 0.25
    assert used.threads[threading.get_native_id()] >= 0.25
    assert used.share == pytest.approx(100.0 * used.cpu / used.at)


def test_sleep_shows_as_wake_ups_and_as_no_work():
    before = usage(os.getpid())
    for _ in range(20):
        time.sleep(0.005)
    used = usage(os.getpid()).since(before)
    assert used.wakeups >= 20
    assert used.share < 50.0


def test_memory_that_is_given_back_still_shows_in_the_peak():
    before, _ = memory(os.getpid())
    block = np.ones(64 * 2**20, dtype=np.uint8)
    held, _ = memory(os.getpid())
    del block
    now, peak = memory(os.getpid())
    assert held > before + 32.0
    assert peak > held - 1.0  # the kernel counts pages in bundles
    assert now < held - 32.0


def test_a_process_that_has_ended_is_not_measured():
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    with pytest.raises(NotMeasuredError):
        usage(ended.pid)
    with pytest.raises(NotMeasuredError):
        memory(ended.pid)


# What the daemon hears


def test_the_feeder_plays_every_sample_in_real_time_and_knows_when_each_was_heard():
    samples = noise(0.2, -30.0)
    reader, writer = os.pipe()
    began = time.monotonic()
    with os.fdopen(reader, "rb") as heard, os.fdopen(writer, "wb") as pipe:
        with Feeder(pipe, samples) as feeder:
            feeder.wait()
        pipe.close()
        assert heard.read() == pcm16(samples)
    assert feeder.heard_at(len(samples)) - began >= 0.2
    assert feeder.heard_at(1) - began >= 0.0
    whole, half = feeder.heard_at(2 * FRAME), feeder.heard_at(2 * FRAME - FRAME // 2)
    assert whole - half == pytest.approx(FRAME / 2 / RATE)
    # The next sample belongs to the next frame, which is written when all of it is due.
    assert feeder.heard_at(2 * FRAME + 1) > half


def test_a_feeder_that_nobody_reads_says_so():
    reader, writer = os.pipe()
    os.close(reader)
    with (
        os.fdopen(writer, "wb", buffering=0) as pipe,
        Feeder(pipe, noise(0.1, None)) as feeder,
        pytest.raises(NotRunningError),
    ):
        feeder.wait()


def test_speech_follows_speech_without_a_pause_that_ends_an_utterance():
    speech = continuous_speech(75.0)
    assert len(speech) == 75 * RATE
    loud = np.flatnonzero(np.abs(speech) > 0.01)
    assert np.diff(loud).max() < SpeechConfig().hangover * RATE


def test_only_windows_that_end_with_a_hop_count():
    def event(kind, start, duration=None, forward=50.0):
        return {"kind": kind, "start": start, "duration": duration, "forward_ms": forward}

    arrived = [
        event("speech", 1.0),
        event("window", 1.0, 1.5),  # the first
        event("window", 1.0, 3.0),
        event("window", 2.5, 3.0),
        event("window", 4.0, 3.0, forward=None),  # one that failed
        event("window", 4.26, 3.0),  # the tail
        event("silence", 7.26),
        event("speech", 9.02),
        event("window", 9.02, 1.5),
        event("window", 9.02, 3.0),  # a tail where a hop would have ended, too
        event("silence", 12.02),
    ]
    found = hop_events([(float(at), said) for at, said in enumerate(arrived)], SpeechConfig())
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
    effort = Effort(forwards=1, windows=2, quiet=1.0, plays=1, starts=1, calls=1)
    figures = {figure.name: figure for figure in through_pipe(Setting(tmp_path, effort, models, lambda _text: None))}
    beyond, forward = figures["beyond the forward, median"], figures["the forward in the daemon, median"]
    assert beyond.runs >= 2
    # A clock of another origin, or a tail among them, would be far outside.
    assert 0.0 < beyond.value < 400.0
    assert 0.0 < forward.value < figures["end of window to event, median"].value
    assert figures["windows dropped from a live source"].value == 0
    assert figures["windows cut from a live source"].value >= 2


def test_bench_prints_one_object_with_the_machine_and_the_figures(models):
    result = voiceauth("bench", "--only", "client", "--runs", "1", "--json", "--model", models.chosen().name)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert {"processor", "memory", "python", "packages"} <= set(report["machine"])
    figures = {figure["name"]: figure for figure in report["parts"]["client"]["figures"]}
    assert set(report["parts"]) == {"client"}
    assert figures["voiceauth status, whole process"]["value"] > figures["import voiceauthd.client"]["value"] > 0.0
    assert figures["voiceauth status, whole process"]["runs"] == 2
    assert len(report["parts"]["client"]["load"]) == 2


def test_a_part_that_fails_is_not_measured_and_is_no_success(tmp_path):
    result = voiceauth("bench", "--only", "client", "--runs", "1", "--model", str(tmp_path / "nothing"))
    assert result.returncode == ExitCode.MODEL
    assert "not measured" in result.stdout
    assert "does not exist" in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "said"), [(("--only", "speed"), "invalid choice"), (("--runs", "0"), "whole number")]
)
def test_a_bench_without_sense_is_usage(words, said):
    result = voiceauth("bench", *words)
    assert result.returncode == ExitCode.USAGE
    assert said in result.stderr
