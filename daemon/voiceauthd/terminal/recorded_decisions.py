"""Decisions on recordings: through the running daemon, or in this process where none runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from voiceauthd.errors import ExitCode, NotRunningError
from voiceauthd.terminal.decision_lines import (
    IDENTIFY_CODES,
    identification_lines,
    require_identification,
    verification_lines,
)
from voiceauthd.terminal.output import Output, plain

if TYPE_CHECKING:
    from voiceauthd.audio.block import Samples

Reply = Mapping[str, Any]

Decide = Callable[["Samples"], Reply]
"""Decides in this process. The sound has 16 kHz."""

NO_LOGIN = "decided on recordings: no login, and nothing for a lockout"

_VERIFY_CODES = {"accept": ExitCode.OK, "reject": ExitCode.REJECT, "inconclusive": ExitCode.INCONCLUSIVE}


def show_recorded_decisions(
    socket: str | None,
    method: str,
    parameters: Mapping[str, Any],
    files: Sequence[str],
    load: Callable[[], Decide],
    output: Output,
) -> ExitCode:
    """Decide on each file, and print the decision. Returns REJECT if one was rejected or names nobody, else
    INCONCLUSIVE if one was not decided, else OK.

    method  VerifyRecording or IdentifyRecording, with its parameters
    load    loads the model and the profiles into this process; called only if no daemon listens

    Raises `AudioError` for the first file that cannot be used, and the daemon's errors: `DeniedError` for callers who
    may not do this.
    """
    codes = []
    for file, reply, whose in _decisions(socket, method, dict(parameters), files, load, output):
        output.clear()
        output.object({**reply, "file": file, "recording": True, "decided_by": whose})
        if method == "IdentifyRecording":
            code = IDENTIFY_CODES[require_identification(reply)]
            lines = identification_lines(reply, output)
        else:
            code = _verify_code(reply)
            lines = verification_lines(reply, output)
        output.line(f"{plain(file)}:")
        for line in lines:
            output.wrapped(f"  {line}", indent=4)
        codes.append(code)
    output.line(NO_LOGIN)
    return next((code for code in (ExitCode.REJECT, ExitCode.INCONCLUSIVE) if code in codes), ExitCode.OK)


def _verify_code(reply: Reply) -> ExitCode:
    """Raises `NotRunningError` for a reply that is no decision."""
    code = _VERIFY_CODES.get(str(reply.get("outcome")))
    if reply.get("state") != "decided" or code is None:
        raise NotRunningError("the daemon ended the call without a decision", "no_answer")
    return code


def _decisions(
    socket: str | None,
    method: str,
    parameters: dict[str, Any],
    files: Sequence[str],
    load: Callable[[], Decide],
    output: Output,
) -> Iterator[tuple[str, Reply, str]]:
    from pathlib import Path

    from voiceauthd.audio.file import read_recording
    from voiceauthd.audio.pcm import pcm16
    from voiceauthd.terminal.recordings import enroll_recordings

    local: Decide | None = None
    for file in files:
        samples = read_recording(Path(file))
        output.progress(f"comparing {plain(file)}")
        if local is None:
            try:
                reply = _last(enroll_recordings(socket, parameters, [pcm16(samples)], method))
            except NotRunningError as problem:
                if problem.reason != "not_running" or socket is not None:
                    raise
                output.progress("no daemon runs: loading the model")
                local = load()
            else:
                yield file, reply, "daemon"
                continue
        yield file, local(samples), "this process"


def _last(replies: Iterable[Reply]) -> Reply:
    return next(iter(deque(replies, maxlen=1)), {})
