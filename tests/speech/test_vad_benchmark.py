"""`benchmarks/measure_vad.py`, on a minute of audio in which the places of the speech are known."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from speech_parts import FRAME, SignDetector, unconfirmed, voice, white

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.config.schema import SpeechConfig

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "measure_vad.py"
DETECTORS = ["webrtcvad 0", "webrtcvad 1", "webrtcvad 2", "webrtcvad 3", "both", "utterance"]
SPOKEN = [(2.0, "ralph-1"), (10.0, "susan-1"), (20.0, "turn-01-ralph"), (30.0, "turn-02-susan"), (45.0, "ralph-2")]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_vad", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their annotations there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sign_detector(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiceauthd.speech.segmenter.FirstGate", SignDetector)
    monkeypatch.setattr(script, "FirstGate", SignDetector)


def write(folder: Path, table: str, *rows: dict[str, str | float]) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / table).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def signs(*lengths: float) -> Samples:
    """Return samples of constant sign. lengths: seconds of negative samples, of positive ones, and so on."""
    return np.concatenate(
        [np.full(round(each * RATE), 0.1 if index % 2 else -0.1, np.float32) for index, each in enumerate(lengths)]
    )


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Three clips of two kinds. The speech in the first is marked half a second too late."""
    write(tmp_path, "manifest.csv", *({"path": f"{name}.flac"} for name in ("one00", "one01", "two00")))
    write(
        tmp_path,
        "segments.csv",
        {"path": "one00.flac", "start": 1.5, "end": 2.75, "speaker": "A"},
        {"path": "one00.flac", "start": 2.5, "end": 3.5, "speaker": "B"},
        {"path": "one01.flac", "start": 1.0, "end": 2.0, "speaker": "Ä"},
    )
    sounds = {"one00": signs(1.0, 2.0, 2.0), "one01": signs(1.0, 1.0, 1.0), "two00": signs(2.0)}
    for name, sound in sounds.items():
        soundfile.write(tmp_path / f"{name}.flac", sound, RATE)
    return tmp_path


def test_frames_are_counted_correctly(script: ModuleType, sign_detector: None, known: Path) -> None:
    tallies = script.count(script.clips_with_speech(known), script.Detectors(unconfirmed()))
    assert list(tallies) == ["one", "two", "all"]
    one, two, pooled = tallies.values()
    assert (one.speech, one.other) == (100 + 50, 150 + 100)
    assert (two.speech, two.other) == (0, 100)
    assert (pooled.speech, pooled.other) == (150, 350)
    assert list(one.missed) == list(one.alarms) == DETECTORS
    for detector in DETECTORS[:-1]:
        assert (one.missed[detector], one.alarms[detector]) == (25, 25)
        assert (two.missed[detector], two.alarms[detector]) == (0, 0)
    # From 0.22 s before the first word to 0.1 s after the last.
    assert (one.missed["utterance"], one.alarms["utterance"]) == (20, (11 + 25) + (11 + 5))
    assert pooled.missed == one.missed
    assert pooled.windows == one.windows == 3, "one of the first utterance, its tail, and one of the second utterance"


def test_the_tables_print_the_rates(
    script: ModuleType,
    sign_detector: None,
    known: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    noise = known / "noise"
    write(
        noise,
        "manifest.csv",
        {"path": "fan.flac", "category": "fan", "contains_speech": "no"},
        {"path": "babble.flac", "category": "babble", "contains_speech": "yes"},
    )
    soundfile.write(noise / "fan.flac", signs(9.0, 3.0, 3.0), RATE)
    monkeypatch.setattr(sys, "argv", ["measure_vad.py", "--vad", str(known), "--noise", str(noise)])
    monkeypatch.setattr(script, "SpeechConfig", unconfirmed)
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == ["one", "150", "250", "webrtcvad", "0", "16.7", "%", "10.0", "%"]
    assert lines[7].split() == ["both", "16.7", "%", "10.0", "%"]
    assert "two              0     100  webrtcvad 0           -          0.0 %" in lines
    fan, pooled = lines[-2].split(), lines[-1].split()
    assert fan == ["fan", "0.25", *["20.0", "%"] * 5, "22.1", "%", "2", "8.00"]
    assert pooled[1:] == fan[1:], "babble is speech, and not counted"


def test_the_middle_of_a_frame_decides(script: ModuleType) -> None:
    marked = script.truth([(0.03, 0.05), (0.04, 0.07)], 5, FRAME)
    assert marked.tolist() == [False, True, True, False, False]


def a_minute() -> tuple[Samples, list[tuple[float, float]]]:
    """Return recordings of the demo in a quiet room, and the places of the speech in seconds."""
    sound = white(60.0, -70.0, seed=7)
    places = []
    for start, name in SPOKEN:
        speech = voice(name)
        sound[round(start * RATE) :][: len(speech)] += speech
        places.append((start + 0.5, start + len(speech) / RATE))  # `voice` begins with half a second of quiet
    return sound, places


def rates(
    script: ModuleType, detector: object, sound: Samples, places: Sequence[tuple[float, float]]
) -> dict[str, float]:
    tally = script.Tally()
    detections = detector.detect(sound)  # type: ignore[attr-defined]
    tally.add(script.truth(places, len(sound) // FRAME, FRAME), detections)
    missed = {f"missed by {name}": count / max(1, tally.speech) for name, count in tally.missed.items()}
    return missed | {f"alarms of {name}": count / tally.other for name, count in tally.alarms.items()}


def test_the_rates_on_a_minute_of_speech_and_quiet_are_plausible(script: ModuleType) -> None:
    detector = script.Detectors(SpeechConfig())
    rate = rates(script, detector, *a_minute())
    assert rate["missed by webrtcvad 0"] < 0.1
    assert rate["missed by webrtcvad 0"] <= rate["missed by webrtcvad 3"]
    assert rate["missed by both"] < 0.2, "the marks count the pauses within a recording as speech"
    assert rate["missed by utterance"] < 0.1
    assert rate["alarms of both"] < 0.01
    assert rate["alarms of utterance"] < 0.05
    noise = rates(script, detector, white(10.0, -20.0), [])
    assert noise["alarms of webrtcvad 2"] > 0.9
    assert noise["alarms of both"] == 0.0


def test_net_speech_is_counted_from_the_frames_of_both_stages(script: ModuleType) -> None:
    sound, _ = a_minute()
    detector = script.Detectors(SpeechConfig(frame_ms=30))
    detections = detector.detect(sound)
    assert np.sum(detections.frames["both"]) * 0.03 == pytest.approx(detector._segmenter.net_speech)
    assert not (detections.frames["both"] & ~detections.frames["utterance"]).any()
    assert detections.windows >= len(SPOKEN)
