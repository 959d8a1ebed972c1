"""Raw PCM from a pipe: the samples, and writers that are slow, stop within a sample, or end."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.audio.block import RATE
from voiceauthd.audio.stdin import PcmSource
from voiceauthd.errors import SourceError

BLOCK = 320  # samples in 20 ms
PCM = np.random.default_rng(0).integers(-32768, 32767, 10 * BLOCK).astype("<i2")


class Pipe(SimpleNamespace):
    """A pipe that a source reads."""

    def __init__(self):
        reader, writer = os.pipe()
        super().__init__(reader=reader, writer=writer, source=PcmSource(reader, 20))
        self.source.open()

    def write(self, data):
        os.write(self.writer, data)

    def end(self):
        os.close(self.writer)
        self.writer = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.source.close()
        os.close(self.reader)
        if self.writer is not None:
            os.close(self.writer)


@pytest.fixture
def pipe():
    with Pipe() as made:
        yield made


def all_of(source):
    blocks = []
    while True:
        try:
            block = source.read(5.0)
        except EOFError:
            return blocks
        assert block is not None
        blocks.append(block)


def test_pcm_becomes_blocks_of_float_samples(pipe):
    pipe.write(PCM.tobytes())
    pipe.end()
    blocks = all_of(pipe.source)
    assert [len(block.samples) for block in blocks] == [BLOCK] * 10
    assert [block.start for block in blocks] == list(range(0, 10 * BLOCK, BLOCK))
    samples = np.concatenate([block.samples for block in blocks])
    assert samples.dtype == np.float32
    assert np.array_equal(samples, PCM.astype(np.float32) / 32768)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 3000), max_size=12), st.integers(0, 2001))
def test_writes_of_any_length_give_the_same_samples(sizes, length):
    data = PCM.tobytes()[:length]
    with Pipe() as pipe:
        position = 0
        for size in [*sizes, len(data)]:
            if position < len(data):
                pipe.write(data[position : position + size])
            position += size
        pipe.end()
        blocks = all_of(pipe.source)
    samples = np.concatenate([block.samples for block in blocks]) if blocks else np.zeros(0, np.float32)
    assert np.array_equal(samples, PCM[: length // 2].astype(np.float32) / 32768)


def test_the_last_block_may_be_short_and_an_odd_byte_is_dropped(pipe):
    pipe.write(PCM.tobytes()[: 2 * BLOCK + 7])
    pipe.end()
    assert [len(block.samples) for block in all_of(pipe.source)] == [BLOCK, 3]


def test_a_single_byte_and_then_nothing_is_the_end(pipe):
    pipe.write(b"\x01")
    pipe.end()
    for _ in range(2):
        with pytest.raises(EOFError):
            pipe.source.read(1.0)


def test_a_pause_of_the_writer_within_a_sample_loses_nothing(pipe):
    pipe.write(PCM.tobytes()[:101])
    began = time.monotonic()
    assert pipe.source.read(0.1) is None
    assert 0.09 < time.monotonic() - began < 0.5
    pipe.write(PCM.tobytes()[101 : 2 * BLOCK])
    assert np.array_equal(pipe.source.read(1.0).samples, PCM[:BLOCK].astype(np.float32) / 32768)


def test_captured_is_the_time_of_reading(pipe):
    before = time.monotonic()
    pipe.write(PCM.tobytes())
    assert before <= pipe.source.read(1.0).captured <= time.monotonic()


def test_close_from_another_thread_ends_a_read(pipe):
    closer = threading.Timer(0.1, pipe.source.close)
    closer.start()
    began = time.monotonic()
    assert pipe.source.read(10.0) is None
    assert time.monotonic() - began < 2.0
    closer.join()
    assert pipe.source.read(10.0) is None


def test_opening_again_continues_to_count_after_a_gap(pipe):
    pipe.write(PCM.tobytes())
    first = pipe.source.read(1.0)
    pipe.source.close()
    pipe.source.open()
    second = pipe.source.read(1.0)
    third = pipe.source.read(1.0)
    assert (first.gap, second.gap, third.gap) == (False, True, False)
    assert second.start == BLOCK


def test_a_pipe_is_live_and_must_be_read_from_start_to_end(pipe):
    assert (pipe.source.live, pipe.source.held_open, pipe.source.finite, pipe.source.overflows) == (True, True, True, 0)


def test_a_redirected_file_is_not_live(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(PCM.tobytes())
    descriptor = os.open(path, os.O_RDONLY)
    source = PcmSource(descriptor, 20)
    source.open()
    assert not source.live
    assert sum(len(block.samples) for block in all_of(source)) == len(PCM)
    os.close(descriptor)


def test_a_terminal_a_folder_and_a_closed_descriptor_are_refused_with_an_example(tmp_path):
    master, terminal = pty.openpty()
    folder = os.open(tmp_path, os.O_RDONLY)
    for descriptor, says in ((terminal, "a terminal"), (folder, "a folder"), (987, "closed")):
        with pytest.raises(SourceError, match=says) as refusal:
            PcmSource(descriptor, 20).open()
        assert "arecord" in str(refusal.value)
    for descriptor in (master, terminal, folder):
        os.close(descriptor)


def test_a_real_writer_through_a_real_standard_input():
    script = (
        "from voiceauthd.audio.stdin import PcmSource\n"
        "source = PcmSource(0, 20); source.open(); total = 0\n"
        "try:\n    while True: total += len(source.read(10.0).samples)\n"
        "except EOFError: print(total)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=bytes(2 * RATE + 1), capture_output=True, check=True)
    assert int(done.stdout) == RATE
