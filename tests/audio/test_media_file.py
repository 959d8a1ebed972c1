"""Recordings of telephones and browsers, and video files: what they give, and the errors for what is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from media_files import AMR_WB, FORMATS, RATE, add_pictures, encode, speech

from voiceauthd.audio import media_file
from voiceauthd.audio.file import MAX_RECORDING_SECONDS, FileSource, Recording, read_recording, recording_seconds
from voiceauthd.errors import AudioError, ExitCode


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same speech in every format."""
    made = tmp_path_factory.mktemp("formats")
    for name in FORMATS:
        encode(made / name, speech())
    return made


def loudness(sound):
    """The level of each 20 ms: what also a telephone's codec keeps."""
    return np.sqrt(np.mean(sound[: len(sound) // 320 * 320].reshape(-1, 320) ** 2, axis=1))


def likeness(sound, original):
    """How well the course of the loudness agrees, at the best shift of at most 80 ms either way."""
    ours, theirs = loudness(sound), loudness(original)
    found = []
    for shift in range(-4, 5):
        moved = ours[max(0, shift) :]
        fixed = theirs[max(0, -shift) :]
        length = min(len(moved), len(fixed))
        found.append(np.corrcoef(moved[:length], fixed[:length])[0, 1])
    return max(found)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_speech_that_was_recorded(folder, name):
    sound = read_recording(folder / name)
    assert sound.dtype == np.float32
    assert len(sound) / RATE == pytest.approx(3.0, abs=0.06)
    assert likeness(sound, speech()) > 0.95
    assert np.std(sound) / np.std(speech()) == pytest.approx(1.0, abs=0.15)
    assert recording_seconds(folder / name) == pytest.approx(3.0, abs=0.15)


def test_wide_band_amr_is_read(tmp_path):
    (tmp_path / "a.awb").write_bytes(AMR_WB)
    sound = read_recording(tmp_path / "a.awb")
    assert len(sound) / RATE == pytest.approx(0.24, abs=0.03)
    assert np.argmax(np.abs(np.fft.rfft(sound))) * RATE / len(sound) == pytest.approx(1000.0, abs=20.0)


def test_the_content_decides_and_not_the_name(folder, tmp_path):
    shutil.copy(folder / "talk.m4a", tmp_path / "talk.wav")
    assert np.array_equal(read_recording(tmp_path / "talk.wav"), read_recording(folder / "talk.m4a"))


@pytest.mark.parametrize("name", ["talk.m4a", "talk.webm", "talk.amr"])
def test_the_samples_do_not_depend_on_the_block_length(folder, name):
    whole = read_recording(folder / name)
    for block_ms in (10, 33, 200):
        source = FileSource(folder / name, block_ms, "fast")
        source.open()
        blocks = []
        while True:
            try:
                blocks.append(source.read(1.0).samples)
            except EOFError:
                break
        assert np.array_equal(np.concatenate(blocks), whole)
        assert max(len(block) for block in blocks) <= block_ms * 16 + 400


def test_two_channels_are_mixed(tmp_path):
    left = speech(1.0)
    path = encode(tmp_path / "a.m4a", np.column_stack((left, left)), 2, "ipod", "aac", 44100)
    assert likeness(read_recording(path), left) > 0.97


def test_a_file_without_a_length_in_its_header_is_measured(tmp_path):
    path = tmp_path / "browser.webm"
    encode(path, speech(), container="webm", codec="libopus", rate=48000)
    with path.open("rb") as whole, av.open(whole) as source, path.with_name("live.webm").open("wb") as written:
        pipe = type("Pipe", (), {"write": lambda _, data: written.write(data)})()  # it cannot seek back to the header
        with av.open(pipe, "w", format="webm") as out:
            stream = out.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(source.streams.audio[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    assert recording_seconds(path.with_name("live.webm")) == pytest.approx(3.0, abs=0.05)


def test_a_film_without_sound_is_refused(tmp_path):
    with av.open(str(tmp_path / "silent.mp4"), "w") as out:
        add_pictures(out)
    with pytest.raises(AudioError, match="no sound in it"):
        read_recording(tmp_path / "silent.mp4")


def test_garbage_is_refused_whatever_its_name(tmp_path):
    for name in ("a.m4a", "a.amr", "a.webm"):
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(20000))
        with pytest.raises(AudioError, match=f"{name}: not audio .*use WAV, FLAC, OGG, MP3, M4A") as refusal:
            read_recording(tmp_path / name)
        assert refusal.value.exit_code == ExitCode.AUDIO
        assert "\n" not in str(refusal.value)


def test_a_truncated_recording_gives_its_beginning_or_says_that_it_is_damaged(folder, tmp_path):
    for name in FORMATS:
        whole = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
        try:
            assert 0.3 < len(read_recording(tmp_path / name)) / RATE < 2.9
        except AudioError as error:
            says = str(error)
            if "damaged" not in says and "not audio" not in says:
                pytest.fail(says)


def test_a_playlist_does_not_open_other_files(folder, tmp_path):
    secret = shutil.copy(folder / "film.ts", tmp_path / "secret.ts")
    texts = {
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:3,\nsecret.ts\n#EXT-X-ENDLIST\n",
        "list.m4a": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:3,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile secret.ts\n",
        "list.mp4": f"ffconcat version 1.0\nfile 'data:video/mp2t;base64,AAAA'\nfile 'file:{secret}'\n",
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "list.mpd": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{secret}</BaseURL></MPD>',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(AudioError, match="not audio"):
            read_recording(tmp_path / name)


def test_more_channels_than_pyav_can_count_are_refused(tmp_path):
    """With eight PyAV reads memory that is not the frame's: it crashes, or invents a channel."""
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 8 * 4410), np.int16), format="s16", layout="7.1")
    frame.sample_rate = 44100
    with av.open(str(tmp_path / "a.m4a"), "w", format="ipod") as out:
        stream = out.add_stream("aac", rate=44100, layout="7.1")
        pieces = av.AudioResampler(format="fltp", frame_size=1024)
        for piece in [*pieces.resample(frame), *pieces.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    with pytest.raises(AudioError, match="8 channels"):
        read_recording(tmp_path / "a.m4a")


def test_a_recording_that_is_too_long_is_refused(tmp_path):
    path = encode(tmp_path / "talk.amr", np.zeros(int((MAX_RECORDING_SECONDS + 1) * RATE), np.float32))
    with pytest.raises(AudioError, match="longer than 10 minutes") as refusal:
        read_recording(path)
    assert refusal.value.reason == "too_long"


def test_parts_of_different_rates_are_all_read(tmp_path):
    second = speech(1.0)
    for rate in (44100, 22050):
        encode(tmp_path / f"{rate}.aac", second, container="adts", codec="aac", rate=rate)
    joined = tmp_path / "joined.aac"
    joined.write_bytes((tmp_path / "44100.aac").read_bytes() + (tmp_path / "22050.aac").read_bytes())
    sound = read_recording(joined)
    assert len(sound) / RATE == pytest.approx(2.0, abs=0.2)
    assert likeness(sound[-RATE:], second) > 0.8


def test_joined_files_are_read_to_their_end(tmp_path, monkeypatch):
    first, second = speech(2.0), speech(3.0)[RATE:]
    for name, rates in (("a.ogg", (RATE, RATE)), ("a.mp3", (44100, 22050))):
        data = b""
        for sound, rate in zip((first, second), rates, strict=True):
            soundfile.write(
                tmp_path / name, np.interp(np.arange(2 * rate) / rate, np.arange(2 * RATE) / RATE, sound), rate
            )
            data += (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data)
        sound = read_recording(tmp_path / name)
        assert len(sound) / RATE == pytest.approx(4.0, abs=0.2)
        assert likeness(sound[-2 * RATE :], second) > 0.8
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"damaged after 2\.00 s \(another part follows.*pip install"):
        read_recording(tmp_path / "a.ogg")


def test_a_recorder_that_crashed_before_it_wrote_the_length_loses_nothing(tmp_path):
    soundfile.write(tmp_path / "a.wav", speech(), RATE)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = bytes(4)
    (tmp_path / "a.wav").write_bytes(data)
    assert read_recording(tmp_path / "a.wav") == pytest.approx(speech(), abs=1e-4)


def test_nothing_is_left_open_and_nothing_reaches_standard_error(folder, tmp_path):
    broken = tmp_path / "broken.m4a"
    data = bytearray((folder / "talk.m4a").read_bytes())
    data[3000:9000:7] = bytes(len(data[3000:9000:7]))
    broken.write_bytes(data)
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom voiceauthd.audio.file import read_recording\n"
        "def read(name):\n    try: read_recording(Path(name))\n    except Exception as error: print(error)\n"
        "for name in sys.argv[1:]: read(name)\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        "for name in sys.argv[1:]: read(name)\n"
        "assert len(os.listdir('/proc/self/fd')) == before\n"
    )
    names = [folder / "talk.m4a", broken, folder / "film.ts", Path(__file__)]
    done = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not audio" in done.stdout


@pytest.mark.parametrize("name", FORMATS)
def test_damage_of_any_kind_gives_samples_or_an_audio_error(folder, tmp_path, name):
    random = np.random.default_rng(len(name))
    whole = encode(tmp_path / name, speech(0.3)).read_bytes()
    path = tmp_path / f"damaged-{name}"
    for _ in range(200):
        data = bytearray(whole)
        reach = len(data) if random.random() < 0.5 else min(200, len(data))  # headers are where it hurts
        for place in random.integers(0, reach, random.integers(1, 12)):
            data[place] = random.integers(0, 256)
        if random.random() < 0.2:
            del data[int(random.integers(0, len(data))) :]
        path.write_bytes(bytes(data) or b"x")
        began = time.monotonic()
        try:
            assert np.isfinite(read_recording(path)).all()
        except AudioError as error:
            if str(path) not in str(error):
                pytest.fail(str(error))
        assert time.monotonic() - began < 10.0


@pytest.mark.parametrize("name", ["talk.m4a", "talk.webm", "talk.amr", "film.mkv", "film.avi", "talk.wma", "talk.aac"])
def test_without_pyav_the_error_names_the_command_that_adds_it(folder, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"needs PyAV: .*-m pip install ") as refusal:
        Recording(folder / name, 20)
    assert sys.executable in str(refusal.value)
    (tmp_path / "text.m4a").write_text("no recording at all")
    with pytest.raises(AudioError, match=r"not audio .*: use WAV, FLAC, OGG or MP3$"):
        Recording(tmp_path / "text.m4a", 20)
    soundfile.write(tmp_path / "a.flac", speech(1.0), RATE)
    assert len(read_recording(tmp_path / "a.flac")) == RATE


def test_the_command_suits_the_python_that_runs(monkeypatch):
    monkeypatch.setattr(media_file, "_has_extra", lambda: True)
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert media_file.install_command() == f"{sys.executable} -m pip install 'voiceauthd[media]'"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert media_file.install_command().startswith(f"sudo {sys.executable} -m pip")
    monkeypatch.setattr(media_file, "_has_pip", lambda: False)
    assert media_file.install_command() == f"sudo uv pip install --python {sys.executable} 'voiceauthd[media]'"
    monkeypatch.setattr(media_file, "_has_extra", lambda: False)
    assert media_file.install_command().endswith(" av")
