"""Recording through the real PulseAudio, ALSA and PortAudio, and losing the device; and the ring buffer alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from virtual_mic import VirtualMic, what_is_missing

from voiceauthd.audio.portaudio import Device, choose_device
from voiceauthd.audio.ring import Ring
from voiceauthd.errors import ExitCode, SourceError

STALL = 0.5


class Child:
    """A `Microphone` in a separate process, in the virtual microphone's environment."""

    def __init__(self, mic, device=None):
        settings = json.dumps({"device": device, "block_ms": 20, "stall": STALL})
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("microphone_child.py")), settings],
            env=mic.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def send(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def do(self, command):
        self.send(command)
        return self.answer()

    def end(self):
        """Return the exit status and the standard error."""
        _, errors = self.process.communicate(timeout=10)
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def quiet_child():
    """One child on the default microphone, shared by the tests that do not unplug it."""
    missing = what_is_missing()
    if missing is not None:
        pytest.skip(missing)
    mic = VirtualMic()
    try:
        child = Child(mic)
        yield mic, child
        assert child.end() == (0, "")
    finally:
        mic.close()


@pytest.fixture
def quiet(quiet_child):
    """The virtual microphone, and a child that has it open."""
    mic, child = quiet_child
    assert "description" in child.do("open")
    child.do("listen 0.2")
    yield mic, child
    child.do("close")


@pytest.fixture
def listen(virtual_mic):
    """Starts children on the virtual microphone, and ends them after the test."""
    children = []

    def start(device=None):
        children.append(Child(virtual_mic, device))
        return children[-1]

    yield start
    for child in children:
        if child.process.poll() is None:
            child.process.kill()
            child.process.wait()


def tone(path, frequency, rate, channels=1, seconds=0.5):
    time_axis = np.arange(int(rate * seconds)) / rate
    wave = 0.5 * np.sin(2 * np.pi * frequency * time_axis)
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate)
    return path


def test_a_tone_is_recorded_with_its_frequency_level_and_length(quiet, tmp_path):
    mic, child = quiet
    child.send("listen 1.0")
    mic.play(tone(tmp_path / "tone.wav", 1000.0, 48000))
    recorded = child.answer()
    assert recorded["dtype"] == "float32"
    assert recorded["frequency"] == pytest.approx(1000.0, abs=4.0)
    assert recorded["rms"] == pytest.approx(0.5 / 2**0.5, rel=0.03)
    assert recorded["loud"] == pytest.approx(0.5, abs=0.03)
    assert recorded["starts_follow"]
    assert recorded["gaps"] == []


def test_a_stereo_device_at_44100_hz_is_recorded_at_the_right_rate(virtual_mic, listen, tmp_path):
    virtual_mic.add_sink("headset", rate=44100, channels=2)
    child = listen("headset")
    assert child.do("open")["description"] == "microphone 'headset' at 44100 Hz, 2 channels"
    child.do("listen 0.2")
    child.send("listen 1.0")
    virtual_mic.play(tone(tmp_path / "tone.flac", 3000.0, 44100, channels=2), sink="headset")
    recorded = child.answer()
    assert recorded["frequency"] == pytest.approx(3000.0, abs=4.0)
    assert recorded["rms"] == pytest.approx(0.5 / 2**0.5, rel=0.03)
    assert recorded["loud"] == pytest.approx(0.5, abs=0.03)


def test_capture_times_advance_at_the_rate_of_the_clock(quiet):
    _, child = quiet
    recorded = child.do("listen 1.0")
    assert recorded["flow"] == pytest.approx(1.0, abs=0.03)
    assert recorded["captured_rises"]
    assert recorded["age_min"] >= 0.0
    assert recorded["age_median"] < 0.2


def test_at_least_gives_longer_blocks(quiet):
    _, child = quiet
    short = child.do("listen 0.5")
    longer = child.do("listen 0.5 0.1")
    assert longer["samples"] == pytest.approx(short["samples"], abs=3200)
    # Each is a tenth of a second long, except the last. The number of short ones depends on the machine.
    assert longer["blocks"] <= longer["samples"] / 1600 + 1
    assert longer["blocks"] < short["blocks"]
    assert longer["starts_follow"]
    assert longer["gaps"] == []


def test_digital_silence_is_recorded_and_recognised(quiet):
    _, child = quiet
    recorded = child.do("listen 0.5")
    assert recorded["samples"] > 0
    assert recorded["peak"] == 0.0
    assert recorded["silent_for"] == pytest.approx(0.2 + recorded["samples"] / 16000, abs=0.05)


def test_an_unplugged_device_is_lost_and_can_be_opened_when_it_is_plugged_in_again(virtual_mic, listen, tmp_path):
    child = listen("vmic")
    child.do("open")
    before = child.do("listen 0.5")
    child.send("listen 10")
    virtual_mic.remove_sink("vmic")
    lost = child.answer()
    assert lost["lost_after"] < STALL + 1.0
    assert lost["reason"] == "device_lost"
    assert "vmic" in lost["lost"]
    child.do("close")
    assert child.do("open")["reason"] == "no_microphone"

    virtual_mic.add_sink("vmic")
    assert "description" in child.do("open")
    child.do("close")
    assert "description" in child.do("open")
    child.send("listen 1.0")
    virtual_mic.play(tone(tmp_path / "tone.wav", 1000.0, 48000))
    again = child.answer()
    assert again["frequency"] == pytest.approx(1000.0, abs=4.0)
    assert again["gaps"] == [0]
    assert again["first_start"] >= before["samples"] + before["first_start"]


def test_a_sound_server_that_ends_is_a_lost_device(virtual_mic, listen):
    child = listen()
    child.do("open")
    child.do("listen 0.5")
    child.send("listen 10")
    virtual_mic.server.terminate()
    lost = child.answer()
    assert lost["lost_after"] < STALL + 1.0
    assert lost["reason"] == "device_lost"
    child.do("close")
    assert child.do("open")["reason"] == "no_microphone"


def test_a_sound_server_that_freezes_is_a_lost_device_and_close_does_not_hang(virtual_mic, listen):
    child = listen()
    child.do("open")
    child.do("listen 0.5")
    virtual_mic.server.send_signal(signal.SIGSTOP)
    try:
        lost = child.do("listen 10")
        assert STALL * 0.5 < lost["lost_after"] < STALL + 1.0
        began = time.monotonic()
        child.do("close")
        assert time.monotonic() - began < 1.5
        assert child.end()[0] == 0
    finally:
        virtual_mic.server.send_signal(signal.SIGCONT)


def test_close_from_another_thread_ends_a_read(quiet):
    _, child = quiet
    times = child.do("close_while_reading")
    assert times["read"] < 1.5
    assert times["close"] < 1.0


def test_a_reader_that_is_too_late_loses_audio_and_sees_it(quiet):
    _, child = quiet
    before = child.do("overflows")["overflows"]
    child.do("late 2.2")
    recorded = child.do("listen 0.3")
    assert child.do("overflows")["overflows"] > before
    assert len(recorded["gaps"]) >= 1


def test_the_error_for_an_unknown_microphone_lists_the_devices(listen):
    answer = listen("no such thing").do("open")
    assert answer["reason"] == "no_microphone"
    assert "'no such thing'" in answer["error"]
    assert "'pulse'" in answer["error"]
    assert "audio.device" in answer["error"]


def test_a_device_that_is_plugged_in_later_is_listed(virtual_mic, listen):
    child = listen()
    assert "headset" not in child.do("devices")["devices"]
    virtual_mic.add_sink("headset")
    assert "headset" in child.do("devices")["devices"]


def device(index, name, default=False):
    return Device(index, name, "ALSA", 2, 48000, default)


DEVICES = [device(1, "HDA Intel: ALC257 (hw:0,0)"), device(3, "USB Headset: Audio (hw:1,0)", True), device(4, "USB")]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(None, 3), (1, 1), ("alc257", 1), ("headset", 3), ("USB", 4), ("USB Headset: Audio (hw:1,0)", 3)],
)
def test_a_microphone_is_found_by_index_name_or_part_of_a_name(wanted, index):
    assert choose_device(DEVICES, wanted).index == index


@pytest.mark.parametrize(
    ("wanted", "says"), [("hw:", "ambiguous"), ("usb", "ambiguous"), (2, "no microphone 2"), ("x", "no ")]
)
def test_a_name_that_matches_no_or_several_microphones_is_refused_with_a_list(wanted, says):
    with pytest.raises(SourceError, match=says) as refusal:
        choose_device(DEVICES, wanted)
    assert "'USB Headset: Audio (hw:1,0)'" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_without_any_microphone_the_error_says_so():
    with pytest.raises(SourceError, match="no microphone: connect one") as refusal:
        choose_device([], None)
    assert refusal.value.exit_code == ExitCode.NO_MICROPHONE


def test_without_portaudio_the_error_says_what_to_install():
    script = (
        "import sys; sys.modules['sounddevice'] = None\n"
        "from voiceauthd.audio.microphone import Microphone\n"
        "from voiceauthd.errors import SourceError\n"
        "try:\n    Microphone(None, 20, 1.0).open()\n"
        "except SourceError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert "libportaudio2" in done.stdout


def callback(ring, value, overflow=False, age=0.0):
    data = np.full((4, ring._frames.shape[2]), value, dtype=np.float32)
    timing = SimpleNamespace(currentTime=100.0, inputBufferAdcTime=100.0 - age - 4 / 48000)
    ring.put(data.tobytes(), 4, timing, SimpleNamespace(input_overflow=overflow))


def test_the_ring_returns_frames_in_order():
    ring = Ring(3, 4, 2, 48000)
    for value in range(10):
        callback(ring, float(value))
        taken = ring.take()
        assert taken.frames.shape == (4, 2)
        assert (taken.frames == value).all()
        assert not taken.gap
        assert ring.take() is None
    assert ring.overflows == 0


def test_a_full_ring_drops_the_newest_frames_counts_them_and_marks_the_gap():
    ring = Ring(2, 4, 1, 48000)
    for value in range(5):
        callback(ring, float(value))
    assert ring.overflows == 3
    assert [ring.take().frames[0, 0] for _ in range(2)] == [0.0, 1.0]
    assert ring.take() is None
    callback(ring, 9.0)
    assert ring.take().gap
    callback(ring, 10.0)
    assert not ring.take().gap


def test_an_overflow_that_portaudio_reports_marks_exactly_the_frames_after_it():
    ring = Ring(4, 4, 1, 48000)
    callback(ring, 1.0)
    callback(ring, 2.0, overflow=True)
    callback(ring, 3.0)
    assert [ring.take().gap for _ in range(3)] == [False, True, False]
    assert ring.overflows == 1


def test_waiting_frames_are_taken_together_but_never_across_a_gap():
    ring = Ring(8, 4, 1, 48000)
    for value in range(6):
        callback(ring, float(value), overflow=value == 4)
    assert ring.take(3).frames[:, 0].tolist() == [0.0] * 4 + [1.0] * 4 + [2.0] * 4
    before = ring.take(9)
    after = ring.take(9)
    assert (before.frames[:, 0].tolist(), before.gap) == ([3.0] * 4, False)
    assert (after.frames[:, 0].tolist(), after.gap) == ([4.0] * 4 + [5.0] * 4, True)
    assert ring.take(9) is None


def test_frames_that_wrap_around_the_end_of_the_ring_are_in_order():
    ring = Ring(4, 4, 1, 48000)
    for value in range(3):
        callback(ring, float(value))
    ring.take(3)
    for value in range(4):
        callback(ring, 10.0 + value)
    assert ring.take(4).frames[::4, 0].tolist() == [10.0, 11.0, 12.0, 13.0]


def test_a_wait_ends_when_enough_frames_arrive_and_never_misses_a_release():
    ring = Ring(8, 4, 1, 48000)
    callback(ring, 0.0)
    began = time.monotonic()
    ring.wait(1, 5.0)
    assert time.monotonic() - began < 1.0
    ring.wait(3, 0.05)
    assert 0.04 < time.monotonic() - began < 1.0
    fill = threading.Timer(0.05, lambda: [callback(ring, 1.0), callback(ring, 2.0)])
    fill.start()
    ring.wait(3, 5.0)
    fill.join()
    assert len(ring.take(8).frames) == 12
    ring.release()
    ring.wait(1, 5.0)
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize(("age", "used"), [(0.1, 0.1), (-0.02, 0.0), (3.0, 0.0), (float("nan"), 0.0)])
def test_the_age_that_a_driver_reports_is_used_only_if_it_is_plausible(age, used):
    ring = Ring(4, 4, 1, 48000)
    before = time.monotonic()
    callback(ring, 1.0, age=age)
    after = time.monotonic()
    assert before - used - 1e-4 <= ring.take().captured <= after - used + 1e-4
