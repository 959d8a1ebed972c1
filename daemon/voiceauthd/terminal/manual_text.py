"""The text of `voiceauth --help`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from voiceauthd.terminal.exit_meanings import exit_codes

OPENING = """\
voiceauth: who is speaking on this machine

Usage:
  voiceauth COMMAND [ARGUMENTS]
  voiceauth COMMAND --help     the manual of one command
  voiceauth --version

A daemon, voiceauthd, listens to the microphone and recognises the enrolled
voices. This command enrols voices, asks the daemon who is speaking, and manages
the daemon. Nothing leaves this machine, and no audio is written to disk.

A voice alone is a convenience or a second factor: a good recording of it may be
accepted. Do not make it the only thing that guards root.
"""

CLOSING = """\
Files:
  /etc/voiceauthd/config.yaml   the configuration; see `voiceauth config path`
  /run/voiceauthd/socket        the daemon's socket
  /var/lib/voiceauthd/          the daemon's state:
    profiles                      the enrolled voices
    profiles.key                  the key that encrypts them: keep a copy
    scoring                       what `voiceauth calibrate` has made
    audit                         who did what; see `voiceauth audit`
  ~/.cache/voiceauthd/models    models fetched by `voiceauth model fetch`
  A user's own daemon has its socket at $XDG_RUNTIME_DIR/voiceauthd/socket and
  scoring in ~/.local/state/voiceauthd; in a checkout, profiles and profiles.key
  are in the checkout.

Environment:
  VOICEAUTHD_SOCKET            the daemon's socket; --socket overrides it
  VOICEAUTHD_CONFIG            the configuration file; --config overrides it
  VOICEAUTHD_<SECTION>__<KEY>  one setting, such as VOICEAUTHD_AUDIO__DEVICE;
                               overrides the file
  VOICEAUTHD_DEBUG             1: a defect shows its traceback
  NO_COLOR                     anything: no colours
"""

EXAMPLES = """\
Examples:
  voiceauth enroll alice                      learn alice's voice
  voiceauth verify alice && echo "it is her"  listen for a moment, then decide
  voiceauth monitor --json | jq .identity     who is speaking, one object a line
"""


class Command(NamedTuple):
    """One command: its name, its heading in the manual, and its line there."""

    name: str
    group: str
    summary: str

    @property
    def module(self) -> str:
        """The full name of the module behind it."""
        return f"voiceauthd.cli.{self.name}"


def manual(commands: Sequence[Command]) -> str:
    """Return the text of `voiceauth --help`."""
    width = max(len(command.name) for command in commands)
    parts = [OPENING]
    for group in dict.fromkeys(command.group for command in commands):
        lines = [f"  {entry.name:<{width}}  {entry.summary}" for entry in commands if entry.group == group]
        parts.append("\n".join([f"{group}:", *lines, ""]))
    return "\n".join([*parts, CLOSING, f"Exit codes:\n{exit_codes()}\n", EXAMPLES])
