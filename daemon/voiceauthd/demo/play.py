"""How `voiceauth demo` goes: start, enrol, converse, verify, sum up.

What a turn must get right is defined in `demo_script`.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile

from voiceauthd.audio.block import RATE, Samples
from voiceauthd.cli.enroll import follow
from voiceauthd.cli.verify import decision_line
from voiceauthd.client import Client
from voiceauthd.demo.script import Script, Trial, Turn, Verdict, judge, load_script
from voiceauthd.demo.stage import Clip, Daemon, models_folder
from voiceauthd.embed.cache import find
from voiceauthd.embed.manifest import CAMPPLUS
from voiceauthd.errors import ExitCode, ModelError, NotRunningError, StorageError, VoiceauthError
from voiceauthd.terminal.event_lines import event_line, number
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.recordings import enroll_recordings, pcm16

SETTLE_LIMIT = 15.0
"""Seconds for the daemon to work off the windows of the last turn, on a machine that is busy with other things."""


def perform(folder: Path, output: Output, script: Script | None = None) -> int:
    """Runs the demo in `folder`. Returns the exit code; the daemon has ended, however it went."""
    script = script or load_script()
    models = models_folder()
    if find(CAMPPLUS, None, models) is None:
        raise ModelError(f"{models} has no {CAMPPLUS}, which the demo needs: `voiceauth model fetch {CAMPPLUS}`")
    began = time.monotonic()
    with Daemon(folder, models) as daemon:
        try:
            return _play(script, daemon, output, began)
        except VoiceauthError:
            _show_log(daemon, output)
            raise


def _play(script: Script, daemon: Daemon, output: Output, began: float) -> int:
    daemon.wait_ready(lambda state: output.progress(f"the daemon is {state}"))
    output.clear()
    output.line(output.style(f"daemon ready after {time.monotonic() - began:.1f} s", "dim"))
    for name, files in script.people.items():
        output.line(output.style(f"\nenrolling {name} from {len(files)} recordings", "bold"))
        takes = [pcm16(_load(file)) for file in files]
        parameters = {"name": name, "mode": "new", "source": "recordings"}
        follow(enroll_recordings(daemon.socket, parameters, takes), output, labels=[file.name for file in files])
    listener = Listener(daemon.socket, output)
    output.line(output.style("\na conversation, in real time", "bold"))
    verdicts = converse(script.conversation, daemon, listener, output)
    trials = [_verify(trial, daemon, output) for trial in script.verifications]
    code = daemon.stop()
    passed = all([*(verdict.right for verdict in verdicts), *trials]) and len(verdicts) > 0 and code == 0
    _sum_up(passed, verdicts, trials, listener.events, code, time.monotonic() - began, output)
    if not passed:
        _show_log(daemon, output)
    return ExitCode.OK if passed else ExitCode.REJECT


def _sum_up(
    passed: bool,
    verdicts: list[Verdict],
    trials: list[bool],
    events: list[Mapping[str, Any]],
    code: int | None,
    took: float,
    output: Output,
) -> None:
    """The last line. `code`: how the daemon ended; `took`: seconds."""
    turns = sum(verdict.right for verdict in verdicts)
    right, wanted = turns + sum(trials), len(verdicts) + len(trials)
    delays = [event["latency_ms"] for event in events if event.get("latency_ms") is not None]
    middle = statistics.median(delays) if delays else None
    output.object(
        {
            "summary": {
                "passed": passed,
                "decisions": wanted,
                "right": right,
                "windows": len(delays),
                "latency_ms_median": middle,
                "seconds": round(took, 1),
                "daemon_exit_code": code,
            }
        }
    )
    ending = output.style("passed", "bold", "green") if passed else output.style("FAILED", "bold", "red")
    output.line(
        f"\ndemo {ending}: {right} of {wanted} decisions right ({turns} of {len(verdicts)} turns, {sum(trials)} of "
        f"{len(trials)} verifications); {len(delays)} windows, {number(middle, '.0f')} ms late at the median; "
        f"{took:.0f} s" + ("" if code == 0 else f"; the daemon ended with exit code {code}")
    )


class Listener:
    """A monitor of its own: prints each event when it comes from the socket, and keeps it."""

    def __init__(self, socket: str, output: Output) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.problem: BaseException | None = None
        self._started = threading.Event()
        threading.Thread(target=self._run, args=(socket, output), name="monitor", daemon=True).start()
        self._started.wait(5.0)
        self.check()

    def check(self) -> None:
        """Raises what ended the stream, if anything did."""
        if self.problem is not None:
            raise self.problem
        if not self._started.is_set():
            raise NotRunningError("the daemon does not begin the monitor stream")

    def _run(self, socket: str, output: Output) -> None:
        try:
            with Client(socket) as client:
                for reply in client.stream("Monitor"):
                    event = reply["event"]
                    self.events.append(event)
                    self._started.set()
                    output.object({"event": event})
                    output.line(f"  {event_line(event, output)}")
        except BaseException as problem:  # noqa: BLE001 - handed to the thread that plays, whatever it is
            self.problem = problem
            self._started.set()


def converse(turns: tuple[Turn, ...], daemon: Daemon, listener: Listener, output: Output) -> list[Verdict]:
    """Plays the turns, waits until the daemon has dealt with them, and judges each."""
    quiet = daemon.room.rest(0.5)
    spans: list[tuple[float, float]] = []
    for turn in turns:
        daemon.room.rest(turn.pause)
        output.line(output.style(f"{turn.speaker or 'a stranger'}: {turn.text}", "bold"))
        spans.append(daemon.room.wait(daemon.room.play(_load(turn.file))))
        listener.check()
    closing = daemon.room.rest(1.0)
    _settle(daemon)
    daemon.room.rest(0.2)
    before = [quiet, *(end for _, end in spans)]
    after = [*(start for start, _ in spans[1:]), closing]
    output.line(output.style("\nthe conversation, judged", "bold"))
    verdicts = []
    for index, turn in enumerate(turns):
        verdict = judge(turn.speaker, before[index], spans[index][0], after[index], list(listener.events))
        verdicts.append(verdict)
        mark = output.style("right", "green") if verdict.right else output.style("WRONG", "bold", "red")
        heard = ", ".join(plain(name) for name in verdict.heard) or "nothing decided"
        rest = f" ({verdict.unjudged} not decided)" if verdict.unjudged else ""
        output.line(f"  {mark}  {verdict.expected:<10} heard as {heard}{rest}")
        output.object({"turn": {"expected": verdict.expected, "heard": list(verdict.heard), "right": verdict.right}})
    return verdicts


def _settle(daemon: Daemon) -> None:
    limit = time.monotonic() + SETTLE_LIMIT
    with Client(daemon.socket) as client:
        while time.monotonic() < limit:
            status = client.call("Status")
            windows = status["windows"]
            waiting = windows["cut"] - windows["embedded"] - windows["failed"] - status["queue"]["dropped"]
            if status["queue"]["depth"] == 0 and waiting <= 0:
                return
            daemon.room.rest(0.1)


def _verify(trial: Trial, daemon: Daemon, output: Output) -> bool:
    who = trial.speaker or "a stranger"
    output.line(output.style(f"\nverification: {who} says to be {trial.claim}", "bold"))
    samples = _load(trial.file)
    clips: list[Clip] = []

    def heard(reply: Mapping[str, Any]) -> None:
        if not clips and reply.get("state") == "listening":
            clips.append(daemon.room.play(samples, 0.5))

    with Client(daemon.socket) as client:
        answer = client.verify(trial.claim, on_progress=heard)
    right = str(answer.outcome) == trial.outcome
    mark = output.style("right", "green") if right else output.style("WRONG", "bold", "red")
    output.line(f"  {mark}  {decision_line(answer, output)}")
    output.object(
        {"verification": {"claim": trial.claim, "outcome": answer.outcome, "wanted": trial.outcome, "right": right}}
    )
    for clip in clips:
        daemon.room.wait(clip)
    daemon.room.rest(1.0)
    return right


def _load(path: Path) -> Samples:
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except (OSError, RuntimeError) as problem:
        raise StorageError(f"the demo's recording {path} cannot be read: {problem}") from problem
    if rate != RATE or samples.ndim != 1:
        raise StorageError(f"the demo's recording {path} is not {RATE} Hz mono")
    loaded: Samples = samples
    return loaded


def _show_log(daemon: Daemon, output: Output) -> None:
    tail = daemon.log_tail()
    if tail:
        output.note("the end of the daemon's log:\n" + "\n".join(f"  {plain(line)}" for line in tail.splitlines()))
