"""Runs `voiceauth demo`: start the daemon, enrol, play the conversation, verify, summarise."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.audio.pcm import pcm16
from voiceauthd.bench.child_daemon import ChildDaemon
from voiceauthd.bench.models import models_folder
from voiceauthd.bench.monitor_client import Event, MonitorClient
from voiceauthd.client import Client
from voiceauthd.demo.room import Clip, Room
from voiceauthd.demo.script import Script, Trial, Turn, Verdict, judge, load_script
from voiceauthd.embed.cache import find
from voiceauthd.embed.manifest import CAMPPLUS
from voiceauthd.errors import ExitCode, ModelError, StorageError, VoiceauthError
from voiceauthd.terminal.decision_lines import decision_line
from voiceauthd.terminal.enrolment_progress import follow
from voiceauthd.terminal.event_lines import EVENT_INDENT, event_line, number
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.recordings import enroll_recordings

SETTLE_LIMIT = 15.0
"""Seconds for the daemon to process the windows of the last turn on a busy machine."""


def run_demo(folder: Path, output: Output, script: Script | None = None) -> int:
    """Run the demo in `folder`. Return the exit code. The daemon has ended in every case."""
    script = script or load_script()
    with demo_daemon(folder) as daemon, Room(daemon.stdin) as room:
        try:
            return _perform(script, daemon, room, output)
        except VoiceauthError:
            _show_log(daemon, output)
            raise


def demo_daemon(folder: Path) -> ChildDaemon:
    """A daemon with CAM++ that reads its standard input, not yet started. Raises `ModelError` if CAM++ is missing."""
    models = models_folder()
    if find(CAMPPLUS, None, models) is None:
        raise ModelError(f"the demo needs {CAMPPLUS}, which {models} lacks: `voiceauth model fetch {CAMPPLUS}`")
    model = {"name": CAMPPLUS, "device": "cpu", "cache": str(models)}
    return ChildDaemon(folder, {"model": model, "audio": {"source": "-"}})


def _perform(script: Script, daemon: ChildDaemon, room: Room, output: Output) -> int:
    daemon.wait_ready(lambda state: output.progress(f"the daemon is {state}"))
    output.clear()
    output.line(output.style(f"daemon ready after {time.monotonic() - daemon.started:.1f} s", "dim"))
    for name, files in script.people.items():
        output.line(output.style(f"\nenrolling {name} from {len(files)} recordings", "bold"))
        takes = [pcm16(_load(file)) for file in files]
        parameters = {"name": name, "mode": "new", "source": "recordings"}
        follow(enroll_recordings(daemon.socket, parameters, takes), output, labels=[file.name for file in files])
    with MonitorClient(daemon.socket, lambda event: _show_event(event, output)) as monitor:
        output.line(output.style("\na conversation, in real time", "bold"))
        verdicts = _converse(script.conversation, daemon, room, monitor, output)
        trials = [_verify(trial, daemon, room, output) for trial in script.verifications]
        code = daemon.stop()
    passed = all([*(verdict.right for verdict in verdicts), *trials]) and len(verdicts) > 0 and code == 0
    _summarise(passed, verdicts, trials, monitor.events, code, time.monotonic() - daemon.started, output)
    if not passed:
        _show_log(daemon, output)
    return ExitCode.OK if passed else ExitCode.REJECT


def _converse(
    turns: tuple[Turn, ...], daemon: ChildDaemon, room: Room, monitor: MonitorClient, output: Output
) -> list[Verdict]:
    """Play the turns, wait until the daemon has processed them, and judge each."""
    quiet = room.rest(0.5)
    spans: list[tuple[float, float]] = []
    for turn in turns:
        room.rest(turn.pause)
        output.line(output.style(f"{turn.speaker or 'a stranger'}: {turn.text}", "bold"))
        spans.append(room.wait(room.play(_load(turn.file))))
        monitor.check()
    end = room.rest(1.0)
    _wait_for_windows(daemon, room)
    room.rest(0.2)
    before = [quiet, *(end for _, end in spans)]
    after = [*(start for start, _ in spans[1:]), end]
    output.line(output.style("\nthe conversation, judged", "bold"))
    verdicts = []
    for index, turn in enumerate(turns):
        verdict = judge(turn.speaker, before[index], spans[index][0], after[index], monitor.events)
        verdicts.append(verdict)
        identities = ", ".join(plain(name) for name in verdict.identities) or "nothing: no decision"
        rest = f" ({verdict.undecided} not decided)" if verdict.undecided else ""
        output.line(f"  {_mark(verdict.right, output)}  {verdict.expected:<10} identified as {identities}{rest}")
        turn_object = {"expected": verdict.expected, "heard": list(verdict.identities), "right": verdict.right}
        output.object({"turn": turn_object})
    return verdicts


def _verify(trial: Trial, daemon: ChildDaemon, room: Room, output: Output) -> bool:
    """Verify once, with the trial's recording played as soon as the daemon listens. Return whether it was right."""
    speaker = trial.speaker or "a stranger"
    output.line(output.style(f"\nverification: {speaker} claims to be {trial.claim}", "bold"))
    samples = _load(trial.file)
    clips: list[Clip] = []

    def play_once(reply: Mapping[str, Any]) -> None:
        if not clips and reply.get("state") == "listening":
            clips.append(room.play(samples, 0.5))

    with Client(daemon.socket) as client:
        answer = client.verify(trial.claim, on_progress=play_once)
    right = str(answer.outcome) == trial.outcome
    output.line(f"  {_mark(right, output)}  {decision_line(answer, output)}")
    output.object(
        {"verification": {"claim": trial.claim, "outcome": answer.outcome, "wanted": trial.outcome, "right": right}}
    )
    for clip in clips:
        room.wait(clip)
    room.rest(1.0)
    return right


def _wait_for_windows(daemon: ChildDaemon, room: Room) -> None:
    """Wait until every window has been processed, for `SETTLE_LIMIT` at most."""
    limit = time.monotonic() + SETTLE_LIMIT
    with Client(daemon.socket) as client:
        while time.monotonic() < limit:
            status = client.call("Status")
            windows = status["windows"]
            waiting = windows["cut"] - windows["embedded"] - windows["failed"] - status["queue"]["dropped"]
            if status["queue"]["depth"] == 0 and waiting <= 0:
                return
            room.rest(0.1)


def _summarise(
    passed: bool,
    verdicts: list[Verdict],
    trials: list[bool],
    events: Sequence[Event],
    code: int,
    took: float,
    output: Output,
) -> None:
    """Print the last line. `code`: the daemon's exit code; `took`: seconds."""
    turns = sum(verdict.right for verdict in verdicts)
    right, decisions = turns + sum(trials), len(verdicts) + len(trials)
    latencies = [event["latency_ms"] for event in events if event.get("latency_ms") is not None]
    median = statistics.median(latencies) if latencies else None
    output.object(
        {
            "summary": {
                "passed": passed,
                "decisions": decisions,
                "right": right,
                "windows": len(latencies),
                "latency_ms_median": median,
                "seconds": round(took, 1),
                "daemon_exit_code": code,
            }
        }
    )
    ending = output.style("passed", "bold", "green") if passed else output.style("FAILED", "bold", "red")
    output.line(
        f"\ndemo {ending}: {right} of {decisions} decisions right ({turns} of {len(verdicts)} turns, {sum(trials)} of "
        f"{len(trials)} verifications); {len(latencies)} windows, {number(median, '.0f')} ms late at the median; "
        f"{took:.0f} s" + ("" if code == 0 else f"; the daemon ended with exit code {code}")
    )


def _load(path: Path) -> Samples:
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except (OSError, RuntimeError) as problem:
        raise StorageError(f"the demo's recording {path} cannot be read: {problem}") from problem
    if rate != RATE or samples.ndim != 1:
        raise StorageError(f"the demo's recording {path} is not {RATE} Hz mono")
    loaded: Samples = samples
    return loaded


def _show_event(event: Event, output: Output) -> None:
    output.object({"event": event})
    output.record(f"  {event_line(event, output)}", indent=EVENT_INDENT + 2)


def _mark(right: bool, output: Output) -> str:
    return output.style("right", "green") if right else output.style("WRONG", "bold", "red")


def _show_log(daemon: ChildDaemon, output: Output) -> None:
    tail = daemon.log_tail()
    if tail:
        output.note("the end of the daemon's log:\n" + "\n".join(f"  {plain(line)}" for line in tail.splitlines()))
