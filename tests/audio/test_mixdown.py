"""Channels that lose the voice when they are mixed: opposite in phase, dead, or only noise. And those that do not."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from media_files import RATE, encode, speech

from voiceauthd.audio.file import read_recording
from voiceauthd.audio.mixdown import MixDown, mean_of
from voiceauthd.audio.resample import Resampler

VOICE = speech(6.0)
NOISE = np.random.default_rng(0).normal(0.0, 1.0, (len(VOICE), 2)).astype(np.float32)
ROOM = 0.0005 * NOISE  # -66 dBFS, different in each channel


def stereo(left, right):
    return np.column_stack((left, right)).astype(np.float32)


def live(frames, block=320):
    """Mix as a microphone does: without looking ahead."""
    mix = MixDown(RATE, frames.shape[1])
    pieces = [mix.push(frames[start : start + block]) for start in range(0, len(frames), block)]
    return np.concatenate(pieces), mix


def from_file(folder, frames):
    soundfile.write(folder / "a.wav", frames, RATE, subtype="FLOAT")
    return read_recording(folder / "a.wav")


OPPOSITE = stereo(VOICE, -0.9 * VOICE) + ROOM


def test_channels_of_opposite_phase_give_the_louder_one_from_the_first_sample_of_a_file(tmp_path):
    assert np.array_equal(from_file(tmp_path, OPPOSITE), OPPOSITE[:, 0])
    assert np.array_equal(from_file(tmp_path, OPPOSITE[:, ::-1]), OPPOSITE[:, 0])


def test_a_file_of_a_telephone_is_mixed_alike(tmp_path):
    path = encode(tmp_path / "a.m4a", OPPOSITE, 2, "ipod", "aac", 44100)
    assert np.std(read_recording(path)) == pytest.approx(np.std(VOICE), rel=0.1)


def test_a_microphone_loses_no_more_than_the_first_hops_of_the_voice():
    quiet = 0.0005 * np.random.default_rng(1).normal(0.0, 1.0, (RATE, 2)).astype(np.float32)
    sound, mix = live(np.concatenate((quiet, OPPOSITE)))
    wrong = np.abs(sound[RATE:] - OPPOSITE[:, 0]) > 1e-3
    begins = np.argmax(np.abs(VOICE) > 0.005)
    assert np.flatnonzero(wrong).max(initial=0) < begins + 0.05 * RATE
    assert mix.finding == "its two channels are opposite in phase; the left one is used"


def test_pauses_do_not_make_it_change_its_mind():
    pause = 0.0005 * np.random.default_rng(2).normal(0.0, 1.0, (5 * RATE, 2)).astype(np.float32)
    frames = np.concatenate([OPPOSITE, pause, OPPOSITE, pause, OPPOSITE])
    sound, _ = live(frames)
    assert np.array_equal(sound[len(VOICE) :], frames[len(VOICE) :, 0])


def test_a_cable_that_is_turned_round_meanwhile_is_noticed_both_ways():
    normal = stereo(VOICE, VOICE)
    sound, mix = live(np.concatenate([normal, OPPOSITE, normal]))
    assert mix.finding is None
    count = len(VOICE)
    assert np.std(sound[count:]) == pytest.approx(np.std(VOICE), rel=0.05)
    assert np.array_equal(sound[-RATE:], normal[-RATE:, 0])
    assert np.abs(np.diff(sound)).max() <= np.abs(np.diff(VOICE)).max() * 1.5  # no clicks


def test_a_dead_channel_is_left_out(tmp_path):
    for frames in (stereo(VOICE, np.zeros(len(VOICE))), stereo(VOICE, np.full(len(VOICE), 0.01))):
        assert np.array_equal(from_file(tmp_path, frames), VOICE)
        sound, mix = live(frames)
        assert np.array_equal(sound[RATE:], VOICE[RATE:])
        assert mix.finding == "one of its two channels carries no sound; the left one is used"


def test_a_channel_of_steady_noise_is_left_out(tmp_path):
    noise = 3.0 * np.std(VOICE) * NOISE[:, 1]
    frames = stereo(noise, VOICE)
    assert np.array_equal(from_file(tmp_path, frames), VOICE)
    sound, mix = live(frames)
    assert np.array_equal(sound[2 * RATE :], VOICE[2 * RATE :])
    assert mix.finding == "one of its two channels carries nothing but steady noise; the right one is used"


@pytest.mark.parametrize(
    "frames",
    [
        stereo(VOICE, VOICE) + ROOM,
        stereo(VOICE, 0.1 * VOICE) + ROOM,
        stereo(VOICE, np.roll(VOICE, 6)) + ROOM,  # a second microphone, 13 cm away
        stereo(VOICE + 0.2, VOICE - 0.2),
        stereo(VOICE, VOICE) + 0.05 * NOISE,
        0.1 * NOISE,
        np.zeros((RATE, 2), np.float32),
        stereo(VOICE, VOICE[::-1]) + ROOM,
        np.repeat(VOICE[:, None], 6, axis=1),
    ],
    ids=["same", "quieter", "later", "offset", "noisy", "noise", "silence", "two_people", "six"],
)
def test_other_channels_give_their_mean_to_the_bit(tmp_path, frames):
    sound, mix = live(frames)
    assert np.array_equal(sound, mean_of(frames))
    assert mix.finding is None
    assert np.array_equal(from_file(tmp_path, frames), mean_of(frames))


def test_of_more_channels_the_useful_ones_are_used():
    four = np.column_stack((VOICE, VOICE, np.zeros(len(VOICE)), VOICE)).astype(np.float32)
    sound, mix = live(four)
    assert sound[RATE:] == pytest.approx(VOICE[RATE:], abs=1e-6)
    assert mix.finding == "one of its 4 channels carries no sound; number 1 and number 2 and number 4 are used"
    sound, _ = live(np.column_stack((VOICE, -VOICE, VOICE, -VOICE)).astype(np.float32))
    assert np.array_equal(sound[RATE:], VOICE[RATE:])


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_the_result_does_not_depend_on_the_blocks(rate):
    frames = np.concatenate([stereo(VOICE, VOICE), OPPOSITE, stereo(np.zeros(len(VOICE)), VOICE)])
    whole = Resampler(rate, 2).push(frames)
    for size in (rate // 100, 777, rate // 5):
        resampler = Resampler(rate, 2)
        pieces = [resampler.push(frames[start : start + size]) for start in range(0, len(frames), size)]
        assert np.array_equal(np.concatenate(pieces), whole)


def test_doctor_and_the_microphone_test_say_that_the_channels_are_opposite(virtual_mic, tmp_path):
    virtual_mic.add_sink("laptop", rate=48000, channels=2)
    virtual_mic.set_default("laptop")
    long = np.tile(VOICE, 15)
    soundfile.write(tmp_path / "voice.wav", stereo(long, -0.8 * long), RATE)
    virtual_mic.play_async(tmp_path / "voice.wav", sink="laptop")
    environment = virtual_mic.env | {"VOICEAUTHD_AUDIO__DEVICE": "laptop", "VOICEAUTHD_PROFILES": str(tmp_path / "p")}

    def voiceauth(*words):
        command = [sys.executable, "-m", "voiceauthd.cli.main", *words]
        return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False).stdout

    tested = " ".join(voiceauth("microphone", "test").split())
    assert "good, although its two channels are opposite in phase; the left one is used" in tested, tested
    checks = json.loads(voiceauth("doctor", "--json", "--socket", str(tmp_path / "none")))["checks"]
    flows = next(check for check in checks if check["id"] == "microphone.flows")
    assert flows["state"] == "warn", flows
    assert "opposite in phase; the left one is used" in json.dumps(flows)
