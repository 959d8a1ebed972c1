"""Learn the voice of NAME. Without FILES, speak into the daemon's microphone until
the bar is full; each take is accepted, or refused with the reason and what to
do. With FILES (WAV, FLAC, OGG, MP3), each file is one take, of one or many
utterances. The audio itself is not kept; an enrolment that is not finished
changes nothing, and a voice that is enrolled under another name is refused. In
the end it says how good the profile is, and how to improve it. The owner of the
voice must give their password; root need not.

examples:
  voiceauth enroll alice                   read aloud until the bar is full
  voiceauth enroll alice one.wav two.flac three.mp3
  voiceauth enroll alice --add --condition headset
  voiceauth enroll alice --replace --timeout 180
"""

from __future__ import annotations

import argparse

from voiceauthd.cli.arguments import LISTENING_CODES, add_timeout
from voiceauthd.errors import ExitCode
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.enrol import enrol
from voiceauthd.terminal.output import Output

_CODES = (*LISTENING_CODES, ExitCode.AUDIO, ExitCode.STORAGE, ExitCode.NOT_ENROLLED)


def configure(parser: Parser) -> None:
    json = "print the daemon's replies, one a line; the last has state done and the profile"
    parser.explain_command(__doc__, _CODES, client=True, json=json)
    parser.add_argument("name", metavar="NAME", help="who it is")
    parser.add_argument("files", metavar="FILES", nargs="*", help="recordings of this person and nobody else")
    parser.add_argument("--condition", metavar="C", help='how it sounds: "headset", "far-field", "whisper"')
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--add", action="store_true", help="add to the profile of this name")
    mode.add_argument("--replace", action="store_true", help="start over; the old profile stays until then")
    add_timeout(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Enrol. Raises the daemon's error if it could not."""
    parameters = {
        "name": arguments.name,
        "mode": "add" if arguments.add else "replace" if arguments.replace else "new",
    }
    optional = {"condition": arguments.condition, "timeout": arguments.timeout}
    parameters |= {key: value for key, value in optional.items() if value is not None}
    return enrol(arguments.socket, parameters, arguments.files, output)
