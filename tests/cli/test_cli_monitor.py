"""The lines of `voiceauth monitor` that name the current speaker."""

from __future__ import annotations

import io

import pytest

from voiceauthd.terminal.event_lines import event_line
from voiceauthd.terminal.output import Output

SPEAKER = {"kind": "speaker", "sequence": 4, "time": 1.7e9, "start": 1.0, "decision": "known", "identity": "alice"}
NOBODY = SPEAKER | {"decision": "undecided", "identity": None}


def line(event: dict) -> str:
    return event_line(event, Output(as_json=False, stdout=io.StringIO(), stderr=io.StringIO())).split("  ", 1)[1]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (SPEAKER | {"score": 7.93, "calibrated": True}, ">> alice speaks  LLR 7.9"),
        (SPEAKER | {"score": 0.71, "calibrated": False}, ">> alice speaks  similarity 0.71, uncalibrated"),
        (SPEAKER | {"decision": "unknown", "identity": None}, ">> somebody unknown speaks"),
        (NOBODY, ">> nobody speaks"),
        (SPEAKER | {"identity": "al\x1b[2Jice"}, ">> al\ufffd[2Jice speaks"),
    ],
)
def test_the_current_speaker_is_marked(event: dict, expected: str) -> None:
    assert line(event) == expected


def test_a_window_has_another_form() -> None:
    window = SPEAKER | {"kind": "window", "reason": "match", "score": 7.93, "calibrated": True, "quality": None}
    assert line(window).startswith("alice       LLR 7.9")


def test_a_usual_window_fits_a_narrow_terminal() -> None:
    quality = {"net_speech": 2.4, "snr_db": 51.2}
    window = SPEAKER | {"kind": "window", "score": -1.9, "margin": 0.02, "quality": quality, "latency_ms": 44.0}
    for seen in (
        window | {"calibrated": True, "reason": "match", "score": 21.3},
        window | {"calibrated": True, "decision": "unknown", "identity": None, "reason": "no_match"},
        window | {"calibrated": False, "score": 0.71, "reason": "match"},
    ):
        output = Output(as_json=False, stdout=io.StringIO(), stderr=io.StringIO())
        assert len(event_line(seen, output)) <= 78  # the demo indents them by two
