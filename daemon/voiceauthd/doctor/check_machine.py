"""Doctor's checks of what is installed, configured and cached: Python, packages, configuration, model, detectors."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

from voiceauthd.doctor.check import FAIL, OK, WARN, Check, Machine, failed
from voiceauthd.errors import ConfigError, ExitCode, ModelError, StorageError, VoiceauthError
from voiceauthd.service.own_folders import service_uid
from voiceauthd.terminal.event_lines import counted

MIN_PYTHON = (3, 11)


def check_python(_machine: Machine) -> Check:
    """The interpreter is new enough."""
    found = f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] >= MIN_PYTHON:
        return Check("python", OK, found)
    return failed("python", found, "install Python 3.11 or newer", ExitCode.INTERNAL)


def check_packages(_machine: Machine) -> Check:
    """Every package that voiceauthd needs is installed, in a supported version."""
    fix = "install voiceauthd again: pip install --force-reinstall voiceauthd"
    try:
        needed = [line for line in metadata.requires("voiceauthd") or [] if "extra ==" not in line]
    except metadata.PackageNotFoundError:
        return Check("packages", WARN, "voiceauthd runs from a folder, not as an installed package", "pip install .")
    problems = [problem for line in needed if (problem := _package_problem(line))]
    if problems:
        return failed("packages", "; ".join(problems), fix, ExitCode.INTERNAL)
    return Check("packages", OK, f"all {len(needed)} are installed")


def _package_problem(requirement: str) -> str:
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is missing"
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return ""
    return "" if Requirement(requirement).specifier.contains(version) else f"{name} {version} is not {requirement}"


def check_threads(machine: Machine) -> Check:
    """torch loads, and has no more threads than there are processors."""
    try:
        import torch
    except (ImportError, OSError) as problem:
        return failed("torch.threads", f"torch does not load: {problem}", "pip install torch", ExitCode.MODEL)
    threads = machine.config.model.threads
    processors = len(os.sched_getaffinity(0))
    found = f"torch {torch.__version__}, {counted(threads, 'thread')} for {processors} processors"
    if threads > processors:
        return Check("torch.threads", WARN, found, "set model.threads to 1: waiting threads make it slower")
    return Check("torch.threads", OK, found)


def check_config(machine: Machine, problem: ConfigError | None) -> Check:
    """The configuration is accepted."""
    where = str(machine.file) if machine.file else "no file: the built-in defaults"
    if problem is None:
        return Check("config", OK, f"{where} ({machine.whose})" if machine.whose else where)
    lines = str(problem).splitlines()
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return Check("config", FAIL, lines[0] + more, "`voiceauth config check` shows every error", ExitCode.CONFIG)


def check_model(machine: Machine) -> Check:
    """The model that the configuration means is on this machine, and its files are what they should be."""
    from voiceauthd.embed.cache import default_folder, describe_model, find, require_trusted
    from voiceauthd.profiles.model_choice import choose_for

    name = "model.cached"
    loaded = (machine.status or {}).get("model")
    if machine.of_another_user and loaded:
        return Check(name, OK, f"the daemon has loaded {loaded['name']} {loaded['revision'][:12]}")
    fix = "fetch a model: `voiceauth model fetch campplus` (works offline), here or elsewhere and copy it"
    try:
        choice = choose_for(machine.config)
        cache = choice.config.cache or default_folder()
        path = find(choice.config.name, choice.config.revision, cache)
        if path is not None:
            require_trusted(cache)
    except ModelError as problem:
        return failed(name, problem, fix, ExitCode.MODEL)
    folder = Path(choice.config.name).expanduser()
    if path is None and folder.is_dir():
        return Check(name, OK, f"the folder {folder}")
    if path is None:
        missing = f"{choice.config.name} is neither in the model cache {cache} nor a folder"
        return failed(name, missing, f"`voiceauth model fetch {choice.config.name}`", ExitCode.MODEL)
    model = describe_model(path)
    if model.problem is not None:
        return failed(name, model.problem, fix, ExitCode.MODEL)
    size = f"{model.size / 1e6:.1f} MB, verified"
    return Check(name, OK, f"{model.name} {model.revision[:12]}, {size}, in {path}; {choice.reason}")


def check_model_loads(machine: Machine) -> Check:
    """The configured model loads, and makes a finite embedding of two seconds of noise."""
    import numpy as np

    from voiceauthd.audio.block import RATE
    from voiceauthd.embed.load import load_embedder
    from voiceauthd.profiles.model_choice import choose_for

    try:
        embedder = load_embedder(choose_for(machine.config).config)
        noise = np.random.default_rng(0).normal(0.0, 0.1, 2 * RATE).astype(np.float32)
        embedder.embed([noise])
    except VoiceauthError as problem:
        return failed("model.loads", problem, "fetch it again: `voiceauth model fetch`", ExitCode.MODEL)
    return Check("model.loads", OK, f"{embedder.model}, threshold {embedder.threshold:.2f}")


def check_vad(machine: Machine) -> Check:
    """Both voice activity detectors load. Without them the daemon does not start."""
    from voiceauthd.speech.vad import Confirmation, FirstGate

    try:
        FirstGate(machine.config.speech.aggressiveness)
        if machine.config.speech.confirm:
            Confirmation(machine.config.speech.confirm_threshold)
    except VoiceauthError as problem:
        return failed("vad", problem, "pip install webrtcvad-wheels silero-vad", ExitCode.MODEL)
    second = "silero-vad loads" if machine.config.speech.confirm else "silero-vad is switched off (speech.confirm)"
    return Check("vad", OK, f"webrtcvad loads; {second}")


def check_profiles_folder(machine: Machine) -> Check:
    """The profile folder is accessible to the daemon alone."""
    from voiceauthd.config.resolve import profiles_folder

    try:
        folder = profiles_folder(machine.config)
        status = folder.stat()
    except FileNotFoundError:
        return Check("profiles.folder", OK, f"{folder} does not exist yet; the daemon makes it")
    except PermissionError:
        return Check("profiles.folder", OK, f"{folder} is not readable by this user, which is right; root can see more")
    except (ConfigError, OSError) as problem:
        return failed(
            "profiles.folder", problem, "set `profiles` to a folder that belongs to the daemon", ExitCode.STORAGE
        )
    found = f"{folder}, mode {status.st_mode & 0o777:04o}, owner uid {status.st_uid}"
    if status.st_mode & 0o077:
        return failed("profiles.folder", f"{found}: others can read it", f"chmod 700 {folder}", ExitCode.STORAGE)
    if status.st_uid not in _daemon_users(machine):
        fix = f"run the daemon as that user, or give it the folder: chown -R USER {folder}"
        return Check("profiles.folder", WARN, f"{found}: perhaps it is not the daemon's", fix)
    return Check("profiles.folder", OK, found)


def _daemon_users(machine: Machine) -> set[int | None]:
    """The users that the daemon may run as. A socket made by systemd belongs to root, whoever runs the daemon."""
    if machine.runs_as is not None:
        return {machine.runs_as}
    return {os.geteuid(), machine.daemon_uid, service_uid()}


def check_profiles_refused(machine: Machine) -> Check:
    """Every profile can be used."""
    if machine.profiles is None:
        return Check("profiles.refused", WARN, "unknown: the daemon does not say", "see daemon.running")
    refused = [profile for profile in machine.profiles if not profile["usable"]]
    if not refused:
        return Check("profiles.refused", OK, f"none of {len(machine.profiles)}")
    first = refused[0]
    fix = "enrol them again (--replace), or delete them: `voiceauth profiles delete NAME`"
    return failed(
        "profiles.refused",
        f"{len(refused)} of {len(machine.profiles)}; {first['name']}: {first.get('problem')}",
        fix,
        StorageError.exit_code,
    )
