"""The daemon's status: the reply of Status, and the line that systemd shows."""

from __future__ import annotations

import os
import time
from pathlib import Path

from voiceauthd.config.load import settings_beyond_file
from voiceauthd.config.resolve import profiles_folder, scoring_folder, state_folder
from voiceauthd.config.schema import Config
from voiceauthd.embed.cache import default_folder
from voiceauthd.pipeline.events import SourceState
from voiceauthd.service.replies import Reply, cohort_reply, model_reply, policy_reply, timing_reply
from voiceauthd.service.state import MUTED, STUCK, State
from voiceauthd.users import user_name


def status_reply(state: State, *, details: bool) -> Reply:
    """The reply of Status. `details`: whether the caller may see who holds the claim, how many people are enrolled,
    what is wrong with stored files, and where the cohort's speech is from."""
    problem = problem_of(state, details=details)
    engine = state.engine_now
    reply: Reply = {
        "ready": engine is not None and not state.stopping,
        "state": _word(state, problem),
        "uptime": round(time.monotonic() - state.started, 1),
        "connections": state.connections(),
        "monitors": state.monitors,
        "memory_mib": round(resident_memory() / 2**20, 1),
        "source": {"description": "", "state": "closed", "overflows": 0, "reopened": 0},
        "queue": {"depth": 0, "capacity": state.config.queue.windows, "dropped": 0},
        "windows": {"cut": 0, "embedded": 0, "refused": 0, "failed": 0},
        "policies": [],
    }
    if problem is not None:
        reply["problem"] = problem
    if details:
        if state.config.file is not None:
            reply["config"] = str(state.config.file)
        reply["runs_as"] = _runs_as(state.config)
    if engine is None:
        return reply
    counters, source = engine.live.counters(), engine.live.source
    where = engine.live.state
    reply["model"] = model_reply(engine.embedder, engine.recogniser.rule)
    reply["model_reason"] = engine.choice.reason
    reply["source"] = {
        "description": source.description,
        "state": where.state.value,
        "overflows": source.overflows,
        "reopened": counters.reopened,
    }
    if where.state is SourceState.LOST:
        reply["source"]["problem"] = where.detail
    reply["queue"] |= {"depth": counters.depth, "dropped": counters.dropped}
    reply["windows"] = {
        "cut": counters.cut,
        "embedded": counters.embedded,
        "refused": counters.refused,
        "failed": counters.failed,
    }
    reply["policies"] = [policy_reply(policy) for policy in engine.policies.values()]
    if engine.backend.cohort is not None:
        reply["cohort"] = cohort_reply(engine.backend.cohort, details=details)
    for key, times in (("latency_ms", counters.latencies), ("forward_ms", counters.forwards)):
        if (timing := timing_reply(times)) is not None:
            reply[key] = timing
    if details:
        reply["profiles"] = {"usable": len(engine.store.all()), "refused": len(engine.store.refused)}
        if state.claims.current is not None:
            reply["claim"] = state.claims.current.holder
    return reply


def _runs_as(config: Config) -> Reply:
    """What a program on this machine needs to look at the same files as this daemon."""
    return {
        "user": user_name(os.geteuid()),
        "settings": settings_beyond_file(config),
        "profiles": str(profiles_folder(config)),
        "scoring": str(scoring_folder(config)),
        "state": str(state_folder(config)),
        "models": str(config.model.cache or default_folder()),
    }


def problem_of(state: State, *, details: bool = True) -> str | None:
    """The most serious problem, with what to do; None when all is well. Without `details`, only of audio and model:
    whether profiles or lockouts are damaged is for administrators."""
    engine = state.engine_now
    if engine is None:
        return None if state.model_problem is None else str(state.model_problem)
    live = engine.live
    if not live.alive:
        return "the capture or the worker thread has died; restart the daemon, and see its log"
    if not state.progressing(STUCK):
        return f"the capture or the worker thread has not moved for {STUCK:.0f} s"
    if live.state.state is SourceState.LOST:
        return live.state.detail
    if live.failure is not None:
        return str(live.failure)
    silent = getattr(live.source, "silent_for", 0.0)
    if live.state.state is SourceState.OPEN and silent >= MUTED:
        return f"the microphone has given digital silence for {silent:.0f} s; is it muted?"
    if not details:
        return None
    if (trouble := state.lockout.problem) is not None:
        return trouble
    if engine.store.refused:
        return f"{len(engine.store.refused)} of the profiles cannot be used; see `voiceauth profiles list`"
    return None


def status_line(state: State) -> str:
    """One line for `systemctl status`."""
    engine = state.engine_now
    if engine is None:
        return "loading the model" if state.model_problem is None else f"no model: {state.model_problem}"
    problem = problem_of(state)
    return problem if problem is not None else f"{engine.embedder.model.name}, {len(engine.store.all())} enrolled"


def resident_memory() -> int:
    """Resident memory of this process in bytes, from proc(5)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _word(state: State, problem: str | None) -> str:
    if state.stopping:
        return "stopping"
    if state.engine_now is None and state.model_problem is None:
        return "starting"
    return "ready" if problem is None else "degraded"
