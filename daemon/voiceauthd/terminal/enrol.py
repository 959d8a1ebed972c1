"""Enrolment over the socket, from the microphone or from recordings, with the owner's password where it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from voiceauthd.client import Client
from voiceauthd.terminal.enrolment_progress import SENTENCES, follow
from voiceauthd.terminal.output import Output
from voiceauthd.terminal.owner_proof import begun, with_proof


def enrol(socket: str | None, parameters: dict[str, Any], files: Sequence[str], output: Output) -> int:
    """Enrol and show the progress. Returns OK, or raises the daemon's error.

    parameters  of Enroll, without `source`
    files       recordings, one take each; none for the microphone
    """
    mode = () if parameters["mode"] == "new" else (f"--{parameters['mode']}",)
    command = ("enroll", parameters["name"], *mode, *files)
    if files:
        from voiceauthd.terminal.recordings import enroll_recordings, read_pcm

        takes = [read_pcm(file) for file in files]

        def send(**proof: str) -> Iterator[Mapping[str, Any]]:
            return begun(enroll_recordings(socket, parameters | {"source": "recordings"} | proof, takes))

        return follow(with_proof(send, socket, output, command), output, labels=list(files))
    with Client(socket) as client:

        def speak(**proof: str) -> Iterator[Mapping[str, Any]]:
            return begun(client.stream("Enroll", **(parameters | {"source": "microphone"} | proof)))

        return follow(with_proof(speak, socket, output, command), output, sentences=SENTENCES)
