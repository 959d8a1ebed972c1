"""All of doctor's checks, in the order in which they run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from voiceauthd.config.load import find_config
from voiceauthd.config.schema import Config
from voiceauthd.doctor import (
    check_daemon,
    check_login,
    check_machine,
    check_scoring,
    check_service,
    check_sound,
    check_state,
)
from voiceauthd.doctor.check import Check, Machine, failed
from voiceauthd.errors import ConfigError, ExitCode
from voiceauthd.protocol.paths import find_socket
from voiceauthd.terminal.daemon_config import config_from

MachineCheck = Callable[[Machine], Check]

CHECKS: tuple[MachineCheck, ...] = (
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
    check_state.check_owner,
    check_state.check_key,
    check_state.check_audit,
    check_daemon.check_socket,
    check_daemon.check_running,
    check_daemon.check_ready,
    check_daemon.check_owner,
    check_daemon.check_unit,
    check_service.check_service,
    check_login.check_pam,
)
"""What is checked after Python, the packages and the configuration."""


def run_checks(socket: str | None, *, deep: bool) -> Iterator[Check]:
    """Yield the result of each check. socket: the daemon's, None: found. deep: also load the model."""
    machine, problem = _examine(socket)
    first: tuple[MachineCheck, ...] = (
        check_machine.check_python,
        check_machine.check_packages,
        lambda seen: check_machine.check_config(seen, problem),
    )
    for check in (*first, *CHECKS, *((check_machine.check_model_loads,) if deep else ())):
        yield _guarded(check, machine)


def _examine(socket: str | None) -> tuple[Machine, ConfigError | None]:
    """Return what to check: the running daemon's configuration, if it shows it, else this user's. If that is refused:
    the built-in one, and the reason."""
    machine = check_daemon.ask_daemon(Machine(Config(), None, socket or find_socket()))
    try:
        found = config_from(machine.status)
    except ConfigError as refused:
        file = find_config(None, os.environ)
        return machine._replace(file=file, whose="refused"), refused
    return machine._replace(config=found.config, file=found.file, whose=found.whose), None


def _guarded(check: MachineCheck, machine: Machine) -> Check:
    """Run one check. One that breaks is a failure, and the others still run."""
    try:
        return check(machine)
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is this check's result
        name = getattr(check, "__name__", "check").removeprefix("check_")
        return failed(
            name, f"the check itself broke: {problem!r}", "a defect of voiceauth: report it", ExitCode.INTERNAL
        )
