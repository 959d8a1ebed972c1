"""`voiceauth doctor`: checks everything, and tells what to do about it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from voiceauthd.cli.arguments import Parser, add_json, add_socket
from voiceauthd.config.load import find_config, load_config
from voiceauthd.config.schema import Config
from voiceauthd.doctor import check_daemon, check_login, check_machine, check_scoring, check_sound, check_state
from voiceauthd.doctor.check import FAIL, OK, WARN, Check, Machine, failed
from voiceauthd.errors import ConfigError, ExitCode
from voiceauthd.protocol.paths import find_socket
from voiceauthd.terminal.output import Output, plain

_EXAMPLES = """
voiceauth doctor
voiceauth doctor --deep
voiceauth doctor --json | jq '.checks[] | select(.state == "fail")'
"""

CHECKS: tuple[Callable[[Machine], Check], ...] = (
    check_machine.check_threads,
    check_machine.check_vad,
    check_machine.check_model,
    check_scoring.check_scoring,
    check_sound.check_portaudio,
    check_sound.check_listed,
    check_sound.check_flows,
    check_sound.check_audio_group,
    check_machine.check_profiles_folder,
    check_machine.check_profiles_refused,
    check_state.check_key,
    check_state.check_audit,
    check_daemon.check_socket,
    check_daemon.check_running,
    check_daemon.check_ready,
    check_daemon.check_owner,
    check_daemon.check_unit,
    check_login.check_pam,
)
"""What is checked after Python, the packages and the configuration, in this order."""


def configure(parser: Parser) -> None:
    """Adds the arguments of `voiceauth doctor`."""
    parser.explain(
        "Check everything between the microphone and the socket. Each check has a stable name and ends as ok, warn or\n"
        "fail, with what was found and what to do. The microphone is opened for half a second, unless the daemon has\n"
        "it. Ends with 0 if nothing failed, else with the code of the first failure. Changes nothing.",
        _EXAMPLES,
        (
            ExitCode.NO_MICROPHONE,
            ExitCode.CONFIG,
            ExitCode.MODEL,
            ExitCode.STORAGE,
        ),
        client=True,
    )
    parser.add_argument("--deep", action="store_true", help="also load the model, which takes seconds")
    add_json(parser)
    add_socket(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Runs the checks and prints each as it is done."""
    machine, problem = _machine(arguments.socket)
    first: tuple[Callable[[Machine], Check], ...] = (
        check_machine.check_python,
        check_machine.check_packages,
        lambda seen: check_machine.check_config(seen, problem),
    )
    deep = (check_machine.check_model_loads,) if arguments.deep else ()
    done = []
    for check in (*first, *CHECKS, *deep):
        output.progress("checking")
        done.append(_guarded(check, machine))
        _print(done[-1], output)
    output.clear()
    failures = [check for check in done if check.state == FAIL]
    output.object({"ok": not failures, "checks": [_object(check) for check in done]})
    warnings = sum(check.state == WARN for check in done)
    output.line(f"{len(done)} checks, {len(failures)} failed, {warnings} to look at")
    return failures[0].code if failures else ExitCode.OK


def _machine(socket: str | None) -> tuple[Machine, ConfigError | None]:
    """What is to be checked; with the built-in configuration, and the reason, if the configured one is refused."""
    file = find_config(None, os.environ)
    config, problem = Config(), None
    try:
        config = load_config(file)
    except ConfigError as refused:
        problem = refused
    return check_daemon.ask_daemon(Machine(config, file, socket or find_socket())), problem


def _guarded(check: Callable[[Machine], Check], machine: Machine) -> Check:
    """One check that breaks must not keep the others from being told."""
    try:
        return check(machine)
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is what this check found
        name = getattr(check, "__name__", "check").removeprefix("check_")
        return failed(
            name, f"the check itself broke: {problem!r}", "a defect of voiceauth: report it", ExitCode.INTERNAL
        )


def _print(check: Check, output: Output) -> None:
    colour = {OK: "green", WARN: "yellow"}.get(check.state, "red")
    output.line(f"{output.style(f'{check.state:<4}', 'bold', colour)}  {check.id:<17}  {plain(check.found)}")
    if check.state != OK and check.fix:
        output.line(f"{'':<25}{output.style('to do:', 'bold')} {plain(check.fix)}")


def _object(check: Check) -> dict[str, object]:
    return {"id": check.id, "state": check.state, "found": check.found, "fix": check.fix or None}
