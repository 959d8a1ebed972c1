"""Learn the voice of NAME. Without FILES, read sentences aloud into the daemon's
microphone until the bar is full; each take is accepted, or refused with the
reason and what to do. If there is not enough speech in the end, what was
accepted is kept for 15 minutes, in the daemon's memory alone, and the next try
goes on from there. The last step is a trial, on a terminal: one more sentence
is verified.

With FILES (WAV, FLAC, OGG, MP3; M4A, AMR, WebM, MP4 and more through PyAV),
each file is one take, of one or many utterances. A file of more than five
minutes is cut at pauses, and only as much of it is used as is still needed,
from its first hour.

The audio itself is not kept; an enrolment that is not finished changes nothing,
and a voice that is enrolled under another name is refused. In the end it says
how good the profile is, and how to improve it. The owner of the voice must give
their password; root need not.

examples:
  voiceauth enroll alice                   read aloud until the bar is full
  voiceauth enroll alice --language de     sentences in German
  voiceauth enroll alice one.wav two.flac three.mp3
  voiceauth enroll alice --add --condition headset
  voiceauth enroll alice --replace --timeout 180
"""

from __future__ import annotations

import argparse
import os
import sys

from voiceauthd.cli.arguments import LISTENING_CODES, add_timeout
from voiceauthd.errors import ExitCode, UsageError
from voiceauthd.profiles.names import check_condition
from voiceauthd.terminal.command_parser import Parser
from voiceauthd.terminal.enrol import enrol_at_microphone, enrol_from_recordings
from voiceauthd.terminal.offers import offer_profiles
from voiceauthd.terminal.output import Output
from voiceauthd.terminal.sentences import SENTENCES, language_of, sentences_to_read

_CODES = (*LISTENING_CODES, ExitCode.AUDIO, ExitCode.STORAGE, ExitCode.NOT_ENROLLED)


def configure(parser: Parser) -> None:
    json = "print the daemon's replies, one a line; the last has state done and the profile"
    parser.explain_command(__doc__, _CODES, client=True, json=json)
    offer_profiles(parser.add_argument("name", metavar="NAME", help="who it is"))
    parser.add_argument("files", metavar="FILES", nargs="*", help="recordings of this person and nobody else")
    parser.add_argument("--condition", metavar="C", help='how it sounds: "headset", "far-field", "whisper"')
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--add", action="store_true", help="add to the profile of this name")
    mode.add_argument("--replace", action="store_true", help="start over; the old profile stays until then")
    parser.add_argument("--fresh", action="store_true", help="forget what an unfinished try has accepted")
    languages = ", ".join(SENTENCES)
    parser.add_argument(
        "--language", choices=SENTENCES, metavar="L", help=f"of the sentences: {languages} (default: yours)"
    )
    parser.add_argument("--no-trial", action="store_true", help="do not verify the new voice at the end")
    add_timeout(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Enrol. Raises the daemon's error if it could not."""
    if arguments.condition is not None:
        check_condition(arguments.condition)  # the protocol's error for it has no room for the reason
    parameters = {
        "name": arguments.name,
        "mode": "add" if arguments.add else "replace" if arguments.replace else "new",
    }
    optional = {"condition": arguments.condition, "timeout": arguments.timeout, "fresh": arguments.fresh or None}
    parameters |= {key: value for key, value in optional.items() if value is not None}
    if arguments.files:
        if arguments.fresh or arguments.language or arguments.no_trial:
            raise UsageError("--fresh, --language and --no-trial are for speaking at the microphone, without FILES")
        return enrol_from_recordings(arguments.socket, parameters, arguments.files, output)
    sentences = sentences_to_read(arguments.language or language_of(os.environ), sys.stdout.encoding)
    return enrol_at_microphone(arguments.socket, parameters, output, sentences, trial=not arguments.no_trial)
