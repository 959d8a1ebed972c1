"""Enrolment over the socket, from the microphone or from recordings, with the owner's password where it is needed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from voiceauthd.client import Client
from voiceauthd.errors import DeniedError, VoiceauthError
from voiceauthd.terminal.decision_lines import decision_line, listening_line
from voiceauthd.terminal.enrolment_progress import follow
from voiceauthd.terminal.output import Output, plain
from voiceauthd.terminal.owner_proof import begun, with_proof

TRIAL_SECONDS = 15.0
"""How long the trial verification listens at most."""

Replies = Iterator[Mapping[str, Any]]


def enrol_from_recordings(socket: str | None, parameters: dict[str, Any], files: Sequence[str], output: Output) -> int:
    """Enrol from recordings and show the progress. Returns OK, or raises the daemon's error.

    parameters  of Enroll, without `source`
    files       one take each; a long one is sent in parts, each a take
    """
    from voiceauthd.terminal.long_recording import read_takes
    from voiceauthd.terminal.recordings import enroll_recordings

    takes = read_takes(files)
    labels: list[str] = []

    def label(index: int, part: int | None) -> None:
        labels.append(files[index] if part is None else f"{files[index]} part {part}")

    def send(**proof: str) -> Replies:
        return begun(enroll_recordings(socket, parameters | {"source": "recordings"} | proof, takes, on_take=label))

    return follow(with_proof(send, socket, output, _command(parameters, files)), output, labels=labels)


def enrol_at_microphone(
    socket: str | None, parameters: dict[str, Any], output: Output, sentences: tuple[str, ...], *, trial: bool
) -> int:
    """Enrol what is said into the daemon's microphone, and show the progress. Returns OK, or raises the daemon's error.

    parameters  of Enroll, without `source`
    sentences   to read aloud
    trial       whether to verify the voice once at the end, if a person watches
    """
    with Client(socket) as client:

        def speak(**proof: str) -> Replies:
            return begun(client.stream("Enroll", **(parameters | {"source": "microphone"} | proof)))

        code = follow(with_proof(speak, socket, output, _command(parameters)), output, sentences=sentences)
        if trial and output.live and not output.as_json:
            _try(client, parameters["name"], sentences[-1], output)
        return code


def _command(parameters: Mapping[str, Any], files: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the words of the command, which an administrator may run instead."""
    mode = () if parameters["mode"] == "new" else (f"--{parameters['mode']}",)
    return "enroll", parameters["name"], *mode, *files


def _try(client: Client, name: str, sentence: str, output: Output) -> None:
    """Verify the new voice once, and show the result, which changes nothing; not for a caller who may not verify it."""

    def listening(reply: Mapping[str, Any]) -> None:
        if reply.get("state") == "listening":
            output.line("As a trial, say one more sentence:")
            output.line(f"  {output.style(sentence, 'bold')}")
        output.progress(listening_line(reply))

    try:
        verified = client.verify(name, TRIAL_SECONDS, on_progress=listening)
    except DeniedError:
        output.clear()
        return
    except VoiceauthError as problem:
        output.note(f"voiceauth: the voice is enrolled, but could not be tried: {plain(problem)}")
        return
    except KeyboardInterrupt:
        output.clear()
        return
    output.clear()
    output.wrapped(decision_line(verified, output), indent=2)
    if not verified.accepted:
        if verified.advice:
            output.wrapped(f"  {plain(verified.advice)}", indent=2)
        words = shlex.quote(plain(name))
        output.wrapped("  The voice is enrolled all the same. Try again, and if that fails, add more speech:", indent=2)
        output.line(f"    voiceauth verify {words}")
        output.line(f"    voiceauth enroll {words} --add")
