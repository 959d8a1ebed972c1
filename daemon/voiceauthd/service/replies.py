"""The pipeline's data in the protocol's words. The interface file says what each field means."""

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
from voiceauthd.profiles.rating import rate
from voiceauthd.scoring.cohort import Cohort
from voiceauthd.scoring.decide import Rule
from voiceauthd.scoring.decision import Decision, Identified, Score
from voiceauthd.scoring.policy import Policy
from voiceauthd.speech.window import Quality, SpeechBegan, SpeechEnded
from voiceauthd.tracking.tracker import Label

Reply = dict[str, Any]

ROUND = 4
"""Digits of a score or a time in a reply: finer than any of them means."""

SOURCES, SOURCE_LENGTH = 32, 200
"""Of a cohort that a reply names, and characters of each: a file may have any number, a reply has its size."""


def model_reply(embedder: Embedder, rule: Rule) -> Reply:
    """Type Model. The threshold of a rule without a calibration is the configured cosine, if there is one."""
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
    """One of Status's policies."""
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
    """Status's cohort. `details`: whether the caller may know where the speech came from."""
    sources = [source[:SOURCE_LENGTH] for source in cohort.sources[:SOURCES]] if details else []
    return {"speakers": len(cohort.speakers), "sources": sources}


def profile_reply(profile: Profile) -> Reply:
    """Type Profile, of one that can be used."""
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
    """Type Profile, with its rating. `threshold`: see `rate`; `scores`: whether the caller may see them."""
    rating = rate(profile, threshold)
    told: Reply = {"grade": rating.grade.value, "advice": list(rating.advice)}
    if rating.snr_db is not None:
        told["snr_db"] = round(rating.snr_db, 1)
    if scores and rating.agreement is not None:
        told["agreement"] = round(rating.agreement, ROUND)
    return profile_reply(profile) | {"rating": told}


def refused_reply(name: str, problem: StorageError) -> Reply:
    """Type Profile, of one that cannot be used."""
    return {
        "name": name,
        "usable": False,
        "problem": str(problem),
        "exemplars": 0,
        "net_speech": 0.0,
        "conditions": [],
    }


def quality_reply(quality: Quality) -> Reply:
    """Type Quality."""
    reply: Reply = {
        "net_speech": round(quality.net_speech, 2),
        "clipping": round(quality.clipping, ROUND),
        "level_dbfs": round(quality.level_dbfs, 1),
    }
    if quality.snr_db is not None:
        reply["snr_db"] = round(quality.snr_db, 1)
    if quality.bandwidth is not None:
        reply["bandwidth"] = round(quality.bandwidth)
    return reply


def identified_reply(identified: Identified, rule: Rule, scores: bool) -> Reply:
    """What Identify answers and a window's event says. `scores`: whether the caller may see them.

    An unknown voice has a score, that of the closest identity, and no identity: a name is always an answer.
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
            reply["margin"] = round(identified.margin, ROUND)
    return reply


def decision_reply(decision: Decision, rule: Rule, scores: bool) -> Reply:
    """What Verify answers. `scores`: whether the caller may see them."""
    reply: Reply = {
        "outcome": decision.outcome.value,
        "reason": decision.reason,
        "calibrated": rule.calibrated,
    }
    if not scores:
        return reply
    reply["threshold"] = round(rule.accept, ROUND)
    if decision.score is not None:
        reply |= _score_reply(decision.score, rule)
        if decision.margin is not None:
            reply["margin"] = round(decision.margin, ROUND)
    return reply


def _score_reply(score: Score, rule: Rule) -> Reply:
    """What is held against the rule's bounds; nothing if a reload has changed what that is since they were compared."""
    measured = rule.measure(score)
    return {"score": round(measured, ROUND)} if math.isfinite(measured) else {}


def event_reply(pipeline_event: PipelineEvent, rule: Rule, sequence: int) -> Reply | None:
    """Type Event, for a monitor; None for what concerns only the request that asked for it."""
    event: Reply = {"sequence": sequence, "time": round(time.time(), ROUND)}
    match pipeline_event:
        case SourceChanged():
            event |= {"kind": "source", "detail": f"{pipeline_event.state.value}: {pipeline_event.detail}"}
        case WindowsDropped():
            event |= {"kind": "dropped", "count": pipeline_event.count, "detail": "windows"}
        case SpeechBegan():
            event |= {"kind": "speech", "start": round(pipeline_event.start / RATE, ROUND)}
        case SpeechEnded():
            event |= {
                "kind": "silence",
                "start": round(pipeline_event.start / RATE, ROUND),
                "detail": f"{pipeline_event.net_speech:.1f} s of speech",
            }
        case ScoredWindow():
            window = pipeline_event.window
            event |= {
                "kind": "window",
                "start": round(window.start / RATE, ROUND),
                "duration": round(window.duration, ROUND),
                "quality": quality_reply(window.quality),
                "latency_ms": _milliseconds(time.monotonic() - window.captured),
                "forward_ms": _milliseconds(pipeline_event.forward),
            }
            event |= identified_reply(pipeline_event.identified, rule, scores=True)
        case RefusedWindow() | FailedWindow():
            window = pipeline_event.window
            event |= {
                "kind": "window",
                "start": round(window.start / RATE, ROUND),
                "duration": round(window.duration, ROUND),
                "quality": quality_reply(window.quality),
                "decision": "undecided",
                "reason": pipeline_event.reason if isinstance(pipeline_event, RefusedWindow) else "embedding_failed",
            }
        case MarkReached():
            return None
    return event


def speaker_reply(label: Label, rule: Rule, sequence: int) -> Reply:
    """Type Event, of the kind `speaker`."""
    event: Reply = {
        "kind": "speaker",
        "sequence": sequence,
        "time": round(time.time(), ROUND),
        "start": round(label.since, ROUND),
        "decision": label.recognition.value,
    }
    if label.identity is not None:
        event["identity"] = label.identity
    if label.score is not None:
        event |= {"score": round(label.score, ROUND), "calibrated": rule.calibrated}
    return event


def timing_reply(seconds: Iterable[float]) -> Reply | None:
    """Count, median and 99th percentile in ms; None for nothing."""
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
