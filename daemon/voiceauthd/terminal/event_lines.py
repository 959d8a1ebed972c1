"""The monitor's events as lines for a person.

Each event is one line: the clock, the name, the score (log-likelihood ratio, or cosine without a calibration, and the
margin over the next identity), the window's net speech, its SNR in dB, the delay from the end of the audio to the
event, and why it is nobody. A line with >> names the current speaker, whenever that changes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from voiceauthd.terminal.output import Output, plain

Event = Mapping[str, Any]

_NAME_WIDTH = 10

EVENT_INDENT = 12
"""Columns of the clock, under which the rest of a long line begins."""


def clock(seconds: object) -> str:
    """Return seconds since 1970 as the local time of day, to the tenth."""
    if not isinstance(seconds, int | float):
        return "--:--:--.-"
    whole = time.strftime("%H:%M:%S", time.localtime(seconds))
    return f"{whole}.{int(seconds * 10) % 10}"


def number(value: object, form: str, missing: str = "-") -> str:
    """Return `value` in the format `form`, or `missing` if it is no number."""
    return format(value, form) if isinstance(value, int | float) else missing


def counted(count: int, noun: str) -> str:
    """Return the count with its noun, in the plural where it belongs."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def event_line(event: Event, output: Output) -> str:
    """Return one event of the monitor stream (type Event of the interface) as a line."""
    kind = event.get("kind")
    stamp = output.style(clock(event.get("time")), "dim")
    if kind == "window":
        return f"{stamp}  {_window(event, output)}"
    if kind == "speaker":
        return f"{stamp}  {_speaker(event, output)}"
    if kind == "started":
        text = f"listening to {plain(event.get('detail'))}"
    elif kind == "speech":
        text = "somebody speaks"
    elif kind == "silence":
        text = "silence"
    elif kind == "source":
        text = f"source {plain(event.get('detail'))}"
    elif kind == "dropped":
        text = output.style(
            f"dropped {number(event.get('count'), 'd')}: {plain(event.get('detail') or 'too slow')}", "yellow"
        )
        return f"{stamp}  {text}"
    else:
        text = plain(kind)
    return f"{stamp}  {output.style(text, 'dim')}"


def who(event: Event) -> str:
    """Return the enrolled name that a window matches; else its decision, `unknown` or `undecided`."""
    decision = event.get("decision")
    return plain(event.get("identity")) if decision == "known" and event.get("identity") else plain(decision)


def how_sure(answer: Event) -> str:
    """Return the best match's score, and its margin over the next."""
    score = answer.get("score")
    if not isinstance(score, int | float):
        return "score not shown"
    text = closeness(score, calibrated=answer.get("calibrated") is True)
    return f"{text}  margin {number(answer.get('margin'), '+.2f', '    -')}"


def closeness(score: float, *, calibrated: bool) -> str:
    """Return a score for a person: a log-likelihood ratio (natural logarithm), else a cosine without an error rate."""
    return f"LLR {score:.1f}" if calibrated else f"similarity {score:.2f}, uncalibrated"


def snr(quality: Mapping[str, Any]) -> str:
    """Return the signal-to-noise ratio; unknown if speech began before any noise could be measured."""
    return f"SNR {number(quality.get('snr_db'), '.0f', 'unknown')}" + ("" if quality.get("snr_db") is None else " dB")


def _speaker(event: Event, output: Output) -> str:
    decision, score = event.get("decision"), event.get("score")
    name = who(event) if decision == "known" else "somebody unknown" if decision == "unknown" else "nobody"
    text = output.style(f">> {name} speaks", "bold", _colour(event))
    if not isinstance(score, int | float):
        return text
    return f"{text}  {closeness(score, calibrated=event.get('calibrated') is True)}"


def _colour(event: Event) -> str:
    return {"known": "green", "unknown": "yellow"}.get(str(event.get("decision")), "dim")


def _window(event: Event, output: Output) -> str:
    quality = event.get("quality") or {}
    name = output.style(f"{who(event):<{_NAME_WIDTH}}", _colour(event))
    score = event.get("score")
    measure = "LLR {:.1f}" if event.get("calibrated") is True else "uncalibrated {:.2f}"
    sure = f"{measure.format(score):<8}  " if isinstance(score, int | float) else ""
    sure += f"margin {number(event['margin'], '+.2f')}  " if event.get("margin") is not None else ""
    heard = f"{number(quality.get('net_speech'), '.1f')} s  {number(quality.get('snr_db'), '.0f', '?')} dB"
    late = f"{number(event.get('latency_ms'), '.0f')} ms"
    reason = f"  {plain(event['reason'])}" if event.get("decision") != "known" and event.get("reason") else ""
    return f"{name}  {sure}{heard}  {late}{reason}"
