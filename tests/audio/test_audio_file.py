"""Recordings: the samples that they give, and the errors for files that are not recordings."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceauthd.audio.block import RATE
from voiceauthd.audio.file import MAX_RECORDING_SECONDS, FileSource, read_recording
from voiceauthd.audio.microphone import Microphone
from voiceauthd.audio.resample import Resampler
from voiceauthd.audio.sources import make_source
from voiceauthd.audio.stdin import PcmSource
from voiceauthd.config.schema import AudioConfig
from voiceauthd.errors import AudioError, ExitCode


def tone(path, rate=RATE, channels=1, seconds=1.0, **options):
    wave = 0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(int(rate * seconds)) / rate)
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate, **options)
    return Path(path)


def blocks_of(source):
    blocks = []
    while True:
        try:
            block = source.read(1.0)
        except EOFError:
            return blocks
        if block is not None:
            blocks.append(block)


def samples_of(source):
    return np.concatenate([block.samples for block in blocks_of(source)])


def first_block(path):
    source = FileSource(path, 20, "fast")
    source.open()
    return source.read(0.0)


def frequency(samples):
    return np.argmax(np.abs(np.fft.rfft(samples))) * RATE / len(samples)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff"])
def test_every_format_at_any_rate_becomes_16_khz_mono(tmp_path, name):
    for rate, channels in ((8000, 1), (16000, 1), (44100, 2), (48000, 1)):
        samples = read_recording(tone(tmp_path / name, rate, channels))
        assert samples.dtype == np.float32
        assert samples.ndim == 1
        assert len(samples) == pytest.approx(RATE, abs=0.1 * RATE if name == "a.mp3" else 1)
        assert frequency(samples) == pytest.approx(1000.0, abs=2.0)
        assert np.sqrt(np.mean(samples[2000:14000] ** 2)) == pytest.approx(0.5 / 2**0.5, rel=0.04)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
def test_the_samples_do_not_depend_on_the_block_length(tmp_path, name):
    path = tone(tmp_path / name, 44100, 2)
    for block_ms in (10, 20, 33, 100):
        source = FileSource(path, block_ms, "fast")
        source.open()
        assert np.array_equal(samples_of(source), read_recording(path))


def test_16_khz_mono_is_returned_unchanged(tmp_path):
    pcm = np.random.default_rng(0).integers(-32768, 32767, 5000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", pcm, RATE)
    assert np.array_equal(read_recording(tmp_path / "a.wav"), pcm.astype(np.float32) / 32768)


def test_blocks_follow_one_another_without_gaps(tmp_path):
    source = FileSource(tone(tmp_path / "a.wav", 48000), 20, "fast")
    source.open()
    blocks = blocks_of(source)
    assert [block.start for block in blocks] == list(np.cumsum([0, *(len(block.samples) for block in blocks[:-1])]))
    assert not any(block.gap for block in blocks)
    with pytest.raises(EOFError):
        source.read(0.0)
    source.close()


def test_fast_is_faster_than_real_time(tmp_path):
    source = FileSource(tone(tmp_path / "a.flac", 44100, seconds=20.0), 20, "fast")
    source.open()
    began = time.monotonic()
    samples_of(source)
    assert time.monotonic() - began < 10.0


def test_real_time_delivers_each_block_when_it_is_due(tmp_path):
    source = FileSource(tone(tmp_path / "a.wav", 44100, seconds=0.5), 20, "realtime")
    source.open()
    began = time.monotonic()
    late = []
    blocks = []
    while True:
        try:
            block = source.read(1.0)
        except EOFError:
            break
        late.append(time.monotonic() - block.captured)
        blocks.append(block)
    assert min(late) >= 0.0
    assert np.median(late) < 0.01
    assert blocks[-1].captured - began == pytest.approx(0.5, abs=0.02)
    for block in blocks:
        assert block.captured - began == pytest.approx((block.start + len(block.samples)) / RATE, abs=0.02)


def test_real_time_returns_none_while_the_next_block_is_not_due(tmp_path):
    source = FileSource(tone(tmp_path / "a.wav"), 100, "realtime")
    source.open()
    began = time.monotonic()
    assert source.read(0.01) is None
    assert time.monotonic() - began < 0.09
    assert len(source.read(1.0).samples) == 1600


def test_a_late_reader_loses_nothing_and_the_playback_waits_for_it(tmp_path):
    path = tone(tmp_path / "a.wav", seconds=0.9)
    source = FileSource(path, 20, "realtime")
    source.open()
    first = source.read(1.0)
    time.sleep(0.6)
    resumed = time.monotonic()
    rest = blocks_of(source)
    assert rest[0].captured >= resumed - 0.3
    assert all(block.captured <= time.monotonic() for block in rest)
    assert np.array_equal(np.concatenate([block.samples for block in [first, *rest]]), read_recording(path))


def test_close_from_another_thread_ends_a_read(tmp_path):
    source = FileSource(tone(tmp_path / "a.wav", seconds=10.0), 5000, "realtime")
    source.open()
    closer = threading.Timer(0.1, source.close)
    closer.start()
    began = time.monotonic()
    assert source.read(4.0) is None
    assert time.monotonic() - began < 2.0
    closer.join()
    source.close()


def test_opening_again_plays_from_the_beginning_and_continues_to_count(tmp_path):
    path = tone(tmp_path / "a.wav")
    source = FileSource(path, 20, "fast")
    source.close()
    source.open()
    first = [source.read(0.0) for _ in range(10)]
    source.close()
    assert source.read(0.0) is None
    source.open()
    again = blocks_of(source)
    assert again[0].gap
    assert not again[1].gap
    assert again[0].start == 3200
    assert np.array_equal(again[0].samples, first[0].samples)
    assert sum(len(block.samples) for block in again) == RATE


def test_a_file_is_not_live_may_be_closed_and_is_finite(tmp_path):
    for pace in ("realtime", "fast"):
        source = FileSource(tmp_path / "a.wav", 20, pace)
        assert (source.live, source.held_open, source.finite, source.overflows) == (False, False, True, 0)
        assert "a.wav" in source.description


def test_no_descriptor_is_left_behind(tmp_path):
    path = tone(tmp_path / "a.wav")
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not audio at all")
    source = FileSource(path, 20, "fast")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        source.open()
        source.read(0.0)
        read_recording(path)
        with pytest.raises(AudioError):
            read_recording(bad)
    source.close()
    assert len(os.listdir("/proc/self/fd")) == before


def bad_files(folder):
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is not a recording, whatever its name says\n" * 100)
    (folder / "text.mp3").write_text("nor is this\n" * 100)
    (folder / "samples.raw").write_bytes(bytes(3200))
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "pipe.wav")
    soundfile.write(folder / "silent.wav", np.zeros(0), RATE)
    soundfile.write(folder / "nan.wav", np.array([0.1, np.nan, 0.1], dtype=np.float32), RATE, subtype="FLOAT")
    soundfile.write(folder / "slow.wav", np.zeros(100), 100)
    whole = tone(folder / "whole.flac").read_bytes()
    (folder / "header.flac").write_bytes(whole[:20])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.wav", "no such file"),
        ("empty.wav", "an empty file"),
        ("text.wav", "not audio"),
        ("text.mp3", "not audio"),
        ("samples.raw", "not audio"),
        ("header.flac", "not audio"),
        ("folder.wav", "a folder"),
        ("pipe.wav", "not a regular file"),
        ("silent.wav", "contains no audio"),
        ("nan.wav", "not numbers"),
        ("slow.wav", "100 Hz"),
        ("a" * 300, "cannot be opened"),
        ("nul\0byte", "cannot be opened"),
    ],
)
def test_a_file_that_is_not_a_recording_is_refused_with_its_name_and_the_reason(tmp_path, name, says):
    bad_files(tmp_path)
    with pytest.raises(AudioError, match=says) as refusal:
        read_recording(tmp_path / name)
    assert refusal.value.exit_code == ExitCode.AUDIO
    assert str(tmp_path / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    with pytest.raises(AudioError, match=says):
        first_block(tmp_path / name)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = tone(tmp_path / "a.wav")
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything, so the kernel's refusal is simulated
        monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(AudioError, match="this user may not read it"):
        read_recording(path)


def test_a_truncated_recording_gives_its_beginning_or_says_where_it_is_damaged(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE)
    for name in ("a.wav", "a.flac", "a.ogg"):
        soundfile.write(tmp_path / name, noise, RATE)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[: (tmp_path / name).stat().st_size // 2])
        try:
            length = len(read_recording(tmp_path / name))
        except AudioError as error:  # also right: libsndfile's versions differ
            length = 1 if "damaged" in str(error) or "cut off" in str(error) else 0
        assert 0 < length < 1.2 * RATE


def test_a_recording_that_is_too_long_is_refused(tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(int((MAX_RECORDING_SECONDS + 1) * RATE), dtype=np.int16), RATE)
    with pytest.raises(AudioError, match="longer than 10 minutes") as refusal:
        read_recording(tmp_path / "long.flac")
    assert refusal.value.reason == "too_long"


def test_a_recording_of_a_single_sample_can_be_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), RATE)
    assert read_recording(tmp_path / "a.wav") == pytest.approx([0.5])


def test_real_speech_is_resampled_like_any_other_audio(tmp_path):
    speech = Path(__file__).parents[3] / "shared" / "speech" / "dev"
    if not speech.is_dir():
        pytest.skip("../shared/speech is missing")
    path = next(path for path in sorted(speech.rglob("*.flac")))
    direct, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    assert np.array_equal(read_recording(path), direct)
    held = np.repeat(direct, 3)  # 48 kHz
    soundfile.write(tmp_path / "a.wav", held, 48000, subtype="FLOAT")
    resampler = Resampler(48000, 1)
    whole = np.concatenate([resampler.push(held[:, None]), resampler.flush()])
    assert np.array_equal(read_recording(tmp_path / "a.wav"), whole)
    assert np.corrcoef(whole[2:], direct[: len(whole) - 2])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("source", "kind"), [("microphone", Microphone), ("-", PcmSource), ("talk.flac", FileSource), ("./-", FileSource)]
)
def test_the_configuration_selects_the_source(source, kind):
    assert type(make_source(AudioConfig(source=source))) is kind
