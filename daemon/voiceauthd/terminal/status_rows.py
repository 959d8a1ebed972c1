"""The daemon's status as labelled lines for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voiceauthd.terminal.event_lines import counted, number
from voiceauthd.terminal.output import Output, plain

_COLOURS = {"ready": "green", "starting": "yellow", "degraded": "yellow"}


def status_rows(status: Mapping[str, Any], output: Output) -> list[tuple[str, str]]:
    """Return a label and a text for each line of the status. What is not known yet has no line, and what the daemon
    does not show to this user says so."""
    state = str(status["state"])
    problem = f": {plain(status['problem'])}" if status.get("problem") else ""
    queue, windows = status["queue"], status["windows"]
    refused = f"{windows['refused']} refused, {windows['failed']} failed"
    return [
        ("state", output.style(plain(state), "bold", _COLOURS.get(state, "red")) + problem),
        ("uptime", _duration(float(status["uptime"]))),
        ("model", _model(status.get("model"), state)),
        *([("chosen", plain(status["model_reason"]))] if status.get("model_reason") else []),
        *(("policy", _policy(policy)) for policy in status["policies"]),
        *([("cohort", _cohort(status.get("cohort")))] if status.get("model") else []),
        *([("source", _source(status["source"]))] if status["source"]["description"] else []),
        ("queue", f"{queue['depth']} of {queue['capacity']} windows waiting, {queue['dropped']} dropped"),
        ("windows", f"{windows['cut']} cut, {windows['embedded']} embedded, {refused}"),
        ("latency", _delay(status.get("latency_ms"))),
        ("forward", _delay(status.get("forward_ms"))),
        ("clients", f"{status['connections']} connected, {status['monitors']} monitoring"),
        ("memory", f"{number(status.get('memory_mib'), '.0f')} MiB"),
        *_private_rows(status),
    ]


def _private_rows(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows for callers who see scores, or one that says that this user does not."""
    runs_as = status.get("runs_as")
    if not runs_as:
        return [("more", "claim, profiles, user and config are shown to root and the daemon's user")]
    rows = [("claim", plain(status["claim"]) if status.get("claim") else "none")]
    if (profiles := status.get("profiles")) is not None:
        rows.append(("profiles", f"{profiles['usable']} usable, {profiles['refused']} refused"))
    config = plain(status["config"]) if status.get("config") else "built in"
    changed = f"; also {', '.join(plain(each) for each in runs_as['settings'])}" if runs_as["settings"] else ""
    return [*rows, ("user", plain(runs_as["user"])), ("config", config + changed), ("folder", plain(runs_as["state"]))]


def rate(value: float) -> str:
    """Return a rate between 0 and 1 with two significant digits."""
    return f"{value:.2g}"


def _model(model: Mapping[str, Any] | None, state: str) -> str:
    if not model:
        return "loading" if state == "starting" else "none"
    name = f"{plain(model['name'])}@{plain(model['revision'])[:12]} ({plain(model['digest'])[:12]})"
    if model.get("calibrated"):
        return f"{name}, {model['dimension']} dimensions, calibrated"
    return f"{name}, {model['dimension']} dimensions, uncalibrated, threshold {number(model.get('threshold'), '.2f')}"


def _policy(policy: Mapping[str, Any]) -> str:
    aim = f"{plain(policy['name'])}: aims at {rate(policy['false_accepts'])} false accepts"
    if policy.get("supported") is None:
        return f"{aim}; uncalibrated"
    shown = f"{rate(policy['supported'])} with {policy['trials']:,} independent trials"
    return f"{aim}; demonstrated: {shown}" if policy["demonstrated"] else f"{aim}; not demonstrated: {shown}"


def _cohort(cohort: Mapping[str, Any] | None) -> str:
    if not cohort:
        return "none: scores are not normalised"
    sources = "; ".join(plain(source) for source in cohort["sources"])
    return f"{cohort['speakers']} speakers" + (f": {sources}" if sources else "")


def _source(source: Mapping[str, Any]) -> str:
    problem = f": {plain(source['problem'])}" if source.get("problem") else ""
    overflows, reopened = source["overflows"], source["reopened"]
    counts = f"{counted(overflows, 'overflow')}, reopened {counted(reopened, 'time')}"
    return f"{plain(source['description'])}, {plain(source['state'])}{problem}; {counts}"


def _delay(delay: Mapping[str, Any] | None) -> str:
    if not delay or not delay.get("count"):
        return "nothing measured yet"
    median, p99 = number(delay.get("median"), ".1f"), number(delay.get("p99"), ".1f")
    return f"median {median} ms, 99th percentile {p99} ms, over {delay['count']}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min {rest % 60:02d} s" if hours else f"{rest // 60} min {rest % 60:02d} s"
