"""What the commands are, and what `voiceauth --help` says.

`COMMANDS` is the one table that commands register through. A command is a module with two functions:

    configure(parser: Parser) -> None                       adds its arguments, examples and exit codes
    run(arguments: argparse.Namespace, output: Output) -> int   does it, and returns the exit code

The module is imported when its command is called, and not before: a client command must start in milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

from voiceauthd.errors import ExitCode


class Command(NamedTuple):
    """One line of the table: the word a person types, the module behind it, the heading and the line in the manual."""

    name: str
    module: str
    group: str
    summary: str


LISTENING = "Who is speaking"
PEOPLE = "People"
DAEMON = "The daemon"
MACHINE = "This machine"

COMMANDS = (
    Command("verify", "voiceauthd.cli.verify", LISTENING, "check that it is NAME who speaks: accept or reject"),
    Command("identify", "voiceauthd.cli.identify", LISTENING, "name whoever speaks, or say that it is nobody enrolled"),
    Command("monitor", "voiceauthd.cli.monitor", LISTENING, "print who speaks, as it is heard"),
    Command("enroll", "voiceauthd.cli.enroll", PEOPLE, "learn a voice, from the microphone or from recordings"),
    Command("profiles", "voiceauthd.cli.profiles", PEOPLE, "list, show, rename, delete, export and import voices"),
    Command("run", "voiceauthd.cli.run", DAEMON, "run the daemon in the foreground and print what it hears"),
    Command("status", "voiceauthd.cli.status", DAEMON, "how the daemon is: model, source, queue, delays"),
    Command("reload", "voiceauthd.cli.reload", DAEMON, "make the daemon read its configuration again"),
    Command("pam", "voiceauthd.cli.pam", MACHINE, "let a voice stand for the password of a service, such as swaylock"),
    Command("audit", "voiceauthd.cli.audit", DAEMON, "who did what, and whether the record of it is whole"),
    Command("doctor", "voiceauthd.cli.doctor", MACHINE, "check everything, and tell what to do about it"),
    Command("model", "voiceauthd.cli.model", MACHINE, "fetch, list and remove speaker models"),
    Command("config", "voiceauthd.cli.config", MACHINE, "check, show and locate the configuration"),
    Command("demo", "voiceauthd.cli.demo", MACHINE, "a conversation of three voices through the real daemon"),
    Command("evaluate", "voiceauthd.cli.evaluate", MACHINE, "measure how well voices are told apart, on recordings"),
    Command("calibrate", "voiceauthd.cli.calibrate", MACHINE, "make scores stand for error rates, on recordings"),
    Command("cohort", "voiceauthd.cli.cohort", MACHINE, "build and show the strangers that voices are compared with"),
    Command("bench", "voiceauthd.cli.bench", MACHINE, "measure speed and delay on this machine"),
)

INTERRUPTED = 130
"""How a command ends on Ctrl-C: 128 and the number of SIGINT, as shells report it."""

EXIT_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "success; for verify: accepted; for identify: somebody enrolled",
    ExitCode.REJECT: "verify: not the claimed voice; identify: nobody enrolled; demo: a wrong decision",
    ExitCode.USAGE: "the command line makes no sense; verify: the policy is not demonstrated",
    ExitCode.INCONCLUSIVE: "no decision: too little usable speech in the time given, or not enough to be sure",
    ExitCode.BUSY: "somebody else is verifying or enrolling",
    ExitCode.NOT_ENROLLED: "nobody of that name is enrolled",
    ExitCode.NO_MICROPHONE: "no sound can be had",
    ExitCode.NOT_RUNNING: "no daemon answers on the socket, or it ended without an answer",
    ExitCode.DENIED: "you may not do that",
    ExitCode.CONFIG: "the configuration is refused",
    ExitCode.MODEL: "the model cannot be had, or is not what it should be",
    ExitCode.AUDIO: "a recording or a take that cannot be used",
    ExitCode.STORAGE: "a file cannot be read, written or trusted",
    ExitCode.ALREADY_RUNNING: "another daemon already owns the socket",
    ExitCode.LOCKED: "the voice is locked for a while after too many failures; passwords are not affected",
    ExitCode.INTERNAL: "a defect of voiceauth, or an answer that makes no sense; never a success",
}

_OPENING = """\
voiceauth: who is speaking on this machine

Usage:
  voiceauth COMMAND [ARGUMENTS]
  voiceauth COMMAND --help     the manual of one command
  voiceauth --version

A daemon, voiceauthd, listens to the microphone and knows the voices that are enrolled with it. This command
enrols voices, asks the daemon who is speaking, and looks after the daemon. Nothing leaves this machine, and no
sound is written to disk.

A voice alone is a convenience or a second factor: a good recording of it may be taken for it. Do not make it the
only thing that guards root.
"""

_CLOSING = """\
Files:
  /etc/voiceauthd/config.yaml      the configuration; `voiceauth config path` tells which one is used
  /run/voiceauthd/socket           the daemon's socket; a user's own: $XDG_RUNTIME_DIR/voiceauthd/socket
  /var/lib/voiceauthd/profiles     the enrolled voices; in a checkout: profiles/
  /var/lib/voiceauthd/profiles.key the key that they are encrypted with: keep a copy; in a checkout: profiles.key
  /var/lib/voiceauthd/scoring      what `voiceauth calibrate` has made; a user's own: ~/.local/state/voiceauthd/scoring
  /var/lib/voiceauthd/audit        who did what; `voiceauth audit` shows it
  ~/.cache/voiceauthd/models       models fetched by `voiceauth model fetch`

Environment:
  VOICEAUTHD_SOCKET            the daemon's socket; --socket goes before it
  VOICEAUTHD_CONFIG            the configuration file; --config goes before it
  VOICEAUTHD_<SECTION>__<KEY>  one setting, such as VOICEAUTHD_AUDIO__DEVICE; goes before the file
  VOICEAUTHD_DEBUG             1: a defect shows its traceback
  NO_COLOR                     anything: no colours
"""

_EXAMPLES = """\
Examples:
  voiceauth enroll alice                      learn alice's voice from the microphone
  voiceauth verify alice && echo "it is her"  ask for a few seconds of speech, then decide
  voiceauth monitor --json | jq .identity     who speaks, as objects, one a line
"""


def exit_codes(codes: tuple[ExitCode, ...] | None = None) -> str:
    """The lines that explain `codes` (default: all there are), Ctrl-C last."""
    chosen = tuple(EXIT_MEANINGS) if codes is None else codes
    lines = [f"  {code.value:>3}  {EXIT_MEANINGS[code]}" for code in chosen]
    return "\n".join([*lines, f"  {INTERRUPTED:>3}  interrupted by Ctrl-C"])


def manual() -> str:
    """What `voiceauth --help` prints."""
    width = max(len(command.name) for command in COMMANDS)
    parts = [_OPENING]
    for group in dict.fromkeys(command.group for command in COMMANDS):
        lines = [f"  {entry.name:<{width}}  {entry.summary}" for entry in COMMANDS if entry.group == group]
        parts.append("\n".join([f"{group}:", *lines, ""]))
    parts += [_CLOSING, f"Exit codes:\n{exit_codes()}\n", _EXAMPLES]
    return "\n".join(parts)
