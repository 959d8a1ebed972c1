"""The table of commands.

A command is a module of this package with two functions:

    configure(parser: Parser) -> None                           adds its arguments, examples and exit codes
    run(arguments: argparse.Namespace, output: Output) -> int   runs it, and returns the exit code

Its docstring is the help text, with examples at the end. A command with sub-commands has one `run` for each of these
(`Parser.action`). The module is imported only when its command is called, so that a client command starts in
milliseconds.
"""

from __future__ import annotations

from voiceauthd.terminal.manual_text import Command

START = "Start here"
LISTENING = "Who is speaking"
PEOPLE = "People"
DAEMON = "The daemon"
MACHINE = "This machine"

COMMANDS = (
    Command("setup", START, "from nothing to a verified voice, step by step"),
    Command("verify", LISTENING, "check that NAME is speaking: accept or reject"),
    Command("identify", LISTENING, "name the speaker, or say that no enrolled voice matches"),
    Command("monitor", LISTENING, "print who is speaking, live"),
    Command("enroll", PEOPLE, "learn a voice, from the microphone or from recordings"),
    Command("profiles", PEOPLE, "list, show, rename, delete, export and import voices"),
    Command("run", DAEMON, "run the daemon in the foreground and print its events"),
    Command("service", DAEMON, "start and stop the daemon, as the service that fits here"),
    Command("status", DAEMON, "show the daemon's state: model, source, queue, delays"),
    Command("reload", DAEMON, "make the daemon read its configuration again"),
    Command("audit", DAEMON, "show who did what, and check that the log of it is whole"),
    Command("pam", MACHINE, "let a service such as swaylock accept a voice as password"),
    Command("backup", MACHINE, "put profiles, keys, calibration and settings into one file"),
    Command("restore", MACHINE, "put back what `voiceauth backup` has put into a file"),
    Command("doctor", MACHINE, "check everything, and say what to do about it"),
    Command("microphone", MACHINE, "list the microphones, and test one"),
    Command("model", MACHINE, "fetch, list and remove speaker models"),
    Command("config", MACHINE, "check, show, change and locate the configuration"),
    Command("completion", MACHINE, "print what makes a shell complete these commands"),
    Command("demo", MACHINE, "play a conversation of three voices to the real daemon"),
    Command("evaluate", MACHINE, "measure how well voices are told apart, on recordings"),
    Command("calibrate", MACHINE, "make scores stand for error rates, from recordings"),
    Command("cohort", MACHINE, "build and show the strangers that voices are compared with"),
    Command("bench", MACHINE, "measure speed, delay and memory on this machine"),
)
