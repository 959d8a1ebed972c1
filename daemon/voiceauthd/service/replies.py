"""Converting the pipeline's data to replies of the protocol. The interface file explains each field."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from voiceauthd.audio.block import RATE
from voiceauthd.embed.embedding import Embedder
from voiceauthd.errors import StorageError
from voiceauthd.pipeline.events import MarkReached, PipelineEvent, SourceChanged, WindowsDropped
from voiceauthd.pipeline.recogniser import FailedWindow, RefusedWindow, ScoredWindow
from voiceauthd.profiles.profile import Profile
from voiceauthd.profiles.rating import agreements, rate
from voiceauthd.scoring.cohort import Cohort
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.decision import Decision, Identified, Score
from voiceauthd.scoring.policy import Policy
from voiceauthd.speech.window import Quality, SpeechBegan, SpeechEnded
from voiceauthd.tracking.tracker import Label

Reply = dict[str, Any]

DIGITS = 4
"""Decimal places of scores and times in a reply: more than their precision."""

MAX_SOURCES, MAX_SOURCE_LENGTH = 32, 200
"""Sources of a cohort in a reply, and characters of each: a cohort file may have any number, a reply is limited."""


def model_reply(embedder: Embedder, rule: Rule) -> Reply:
    """Return type Model. Without a calibration the threshold is the rule's, which is the configured cosine, if any."""
    model = embedder.model
    return {
        "name": model.name,
        "revision": model.revision,
        "digest": model.digest,
        "dimension": model.dimension,
        "calibrated": rule.calibrated,
        "threshold": embedder.threshold if rule.calibrated else rule.accept,
    }


def policy_reply(policy: Policy) -> Reply:
    """Return one of the policies in the reply of Status."""
    reply: Reply = {
        "name": policy.name,
        "false_accepts": policy.false_accepts,
        "trials": policy.trials,
        "demonstrated": policy.demonstrated,
    }
    if policy.supported is not None:
        reply["supported"] = policy.supported
    return reply


def cohort_reply(cohort: Cohort, *, details: bool) -> Reply:
    """Return the cohort in the reply of Status. `details`: whether the caller may see the sources of its speech."""
    sources = [source[:MAX_SOURCE_LENGTH] for source in cohort.sources[:MAX_SOURCES]] if details else []
    return {"speakers": len(cohort.speakers), "sources": sources}


def profile_reply(profile: Profile) -> Reply:
    """Return type Profile, for a usable profile."""
    return {
        "name": profile.name,
        "usable": True,
        "created": profile.created,
        "updated": profile.updated,
        "owner_uid": profile.owner_uid,
        "model": str(profile.model),
        "exemplars": len(profile.exemplars),
        "net_speech": round(profile.net_speech, 2),
        "conditions": sorted({exemplar.condition for exemplar in profile.exemplars}),
    }


def rated_reply(profile: Profile, threshold: float, scores: bool) -> Reply:
    """Return type Profile with its rating and exemplars. `threshold`: see `rate`; `scores`: whether the caller may see
    scores."""
    rating = rate(profile, threshold)
    reply: Reply = {"grade": rating.grade.value, "advice": list(rating.advice)}
    if rating.snr_db is not None:
        reply["snr_db"] = round(rating.snr_db, 1)
    if scores and rating.agreement is not None:
        reply["agreement"] = round(rating.agreement, DIGITS)
    more = {"rating": reply, "generation": profile.generation, "exemplar_list": _exemplar_replies(profile, scores)}
    return profile_reply(profile) | more


def _exemplar_replies(profile: Profile, scores: bool) -> list[Reply]:
    replies = []
    for exemplar, agreement in zip(profile.exemplars, agreements(profile), strict=True):
        reply: Reply = {
            "net_speech": round(exemplar.net_speech, 2),
            "condition": exemplar.condition,
            "recorded": exemplar.recorded,
        }
        if exemplar.snr_db is not None:
            reply["snr_db"] = round(exemplar.snr_db, 1)
        if scores and agreement is not None and math.isfinite(agreement):
            reply["agreement"] = round(agreement, DIGITS)
        replies.append(reply)
    return replies


def refused_reply(name: str, problem: StorageError) -> Reply:
    """Return type Profile, for a profile that cannot be used."""
    return {
        "name": name,
        "usable": False,
        "problem": str(problem),
        "exemplars": 0,
        "net_speech": 0.0,
        "conditions": [],
    }


def quality_reply(quality: Quality) -> Reply:
    """Return type Quality."""
    reply: Reply = {
        "net_speech": round(quality.net_speech, 2),
        "clipping": round(quality.clipping, DIGITS),
        "level_dbfs": round(quality.level_dbfs, 1),
    }
    if quality.snr_db is not None:
        reply["snr_db"] = round(quality.snr_db, 1)
    if quality.bandwidth is not None:
        reply["bandwidth"] = round(quality.bandwidth)
    return reply


def identified_reply(identified: Identified, rule: Rule, scores: bool) -> Reply:
    """Return the decision in the reply of Identify and in window events. `scores`: whether the caller may see scores.

    An unknown voice has the score of the closest identity, but no `identity`, which is present only if it is decided.
    """
    reply: Reply = {
        "decision": identified.recognition.value,
        "reason": identified.reason,
        "calibrated": rule.calibrated,
    }
    if identified.identity is not None:
        reply["identity"] = identified.identity
    if scores and identified.best is not None:
        reply |= _score_reply(identified.best, rule)
        if identified.margin is not None:
            reply["margin"] = round(identified.margin, DIGITS)
    return reply


def decision_reply(decision: Decision, rule: Rule, scores: bool) -> Reply:
    """Return the decision in the reply of Verify. `scores`: whether the caller may see scores."""
    reply: Reply = {
        "outcome": decision.outcome.value,
        "reason": decision.reason,
        "calibrated": rule.calibrated,
    }
    if not scores:
        return reply
    reply["threshold"] = round(rule.accept, DIGITS)
    if decision.score is not None:
        reply |= _score_reply(decision.score, rule)
        if decision.margin is not None:
            reply["margin"] = round(decision.margin, DIGITS)
    return reply


def _score_reply(score: Score, rule: Rule) -> Reply:
    """Return the measure that is compared with the rule's bounds; empty if a reload has since changed the measure."""
    measured = rule.measure(score)
    return {"score": round(measured, DIGITS)} if math.isfinite(measured) else {}


def event_reply(pipeline_event: PipelineEvent, rule: Rule, sequence: int) -> Reply | None:
    """Return type Event, for a monitor; None for a mark, which concerns only the request that set it."""
    event: Reply = {"sequence": sequence, "time": round(time.time(), DIGITS)}
    match pipeline_event:
        case SourceChanged():
            event |= {"kind": "source", "detail": f"{pipeline_event.state.value}: {pipeline_event.detail}"}
        case WindowsDropped():
            event |= {"kind": "dropped", "count": pipeline_event.count, "detail": "windows"}
        case SpeechBegan():
            event |= {"kind": "speech", "start": round(pipeline_event.start / RATE, DIGITS)}
        case SpeechEnded():
            event |= {
                "kind": "silence",
                "start": round(pipeline_event.start / RATE, DIGITS),
                "detail": f"{pipeline_event.net_speech:.1f} s of speech",
            }
        case ScoredWindow():
            window = pipeline_event.window
            event |= {
                "kind": "window",
                "start": round(window.start / RATE, DIGITS),
                "duration": round(window.duration, DIGITS),
                "quality": quality_reply(window.quality),
                "latency_ms": _milliseconds(time.monotonic() - window.captured),
                "forward_ms": _milliseconds(pipeline_event.forward),
            }
            event |= identified_reply(pipeline_event.identified, rule, scores=True)
        case RefusedWindow() | FailedWindow():
            window = pipeline_event.window
            event |= {
                "kind": "window",
                "start": round(window.start / RATE, DIGITS),
                "duration": round(window.duration, DIGITS),
                "quality": quality_reply(window.quality),
                "decision": "undecided",
                "reason": pipeline_event.reason if isinstance(pipeline_event, RefusedWindow) else "embedding_failed",
            }
        case MarkReached():
            return None
    return event


def speaker_reply(label: Label, rule: Rule, sequence: int) -> Reply:
    """Return type Event of the kind `speaker`."""
    event: Reply = {
        "kind": "speaker",
        "sequence": sequence,
        "time": round(time.time(), DIGITS),
        "start": round(label.since, DIGITS),
        "decision": label.recognition.value,
    }
    if label.identity is not None:
        event["identity"] = label.identity
    if label.score is not None:
        event |= {"score": round(label.score, DIGITS), "calibrated": rule.calibrated}
    return event


def timing_reply(seconds: Iterable[float]) -> Reply | None:
    """Return count, median and 99th percentile in ms; None if there are no times."""
    times = list(seconds)
    if not times:
        return None
    return {
        "count": len(times),
        "median": _milliseconds(float(np.median(times))),
        "p99": _milliseconds(float(np.percentile(times, 99))),
    }


def _milliseconds(seconds: float) -> float:
    return round(1000.0 * seconds, 2)
