"""What a backup contains and what a restore has done, as lines for a person and as an object for a program."""

from __future__ import annotations

from textwrap import wrap

from voiceauthd.backup.collect import Collected
from voiceauthd.backup.restore import Restored
from voiceauthd.profiles.profile import Profile
from voiceauthd.terminal.output import plain

WIDTH = 80

_LABEL = 12
"""Columns of the first word of a line."""


def backup_object(file: str, collected: Collected) -> dict[str, object]:
    """Return what is in the backup that was written to `file`."""
    contents = collected.contents
    return {
        "file": file,
        "made": contents.made,
        "profiles": [
            {"name": profile.name, "owner": owner, "model": str(profile.model)}
            for profile, owner in contents.all_profiles()
        ],
        "unreadable": [
            {"name": name, "reason": problem.reason, "message": str(problem)}
            for name, problem in collected.unreadable.items()
        ],
        "keys": [key.id for key in contents.all_keys()],
        "scoring": [name for each in contents.scoring for name in each.files()],
        "config": contents.config is not None,
    }


def backup_lines(collected: Collected) -> list[str]:
    """Return what is in a backup."""
    contents = collected.contents
    lines = []
    for profile, owner in contents.all_profiles():
        lost = collected.nameless.get(profile.name)
        words = _owner_words(owner) if lost is None else f"of the user {lost}, who has no name here: restored without"
        lines += _line("profile", f"{_name_and_model(profile)}, {words}")
    for name, problem in collected.unreadable.items():
        lines += _line("left out", f"{name}: {problem}")
    lines += _line("keys", ", ".join(key.id for key in contents.all_keys()) or "none")
    for each in contents.scoring:
        what = "cohort" if each.calibration is None else "cohort and calibration"
        lines += _line("scoring", f"{what} of {each.folder}")
    lines += _line("config", "the configuration file" if contents.config is not None else "none: the built-in defaults")
    return lines


def restored_object(done: Restored) -> dict[str, object]:
    """Return what a restore has done."""
    return {
        "state": str(done.places.state),
        "profiles": [{"name": each.name, "owner": each.owner, "lost_owner": each.lost_owner} for each in done.profiles],
        "key": done.key,
        "key_source": done.source,
        "scoring": done.scoring,
        "config": None if done.config is None else str(done.config),
        "missing_models": [{"model": model, "fix": fix} for model, fix in done.missing.items()],
        "kept": [str(path) for path in done.kept],
    }


def restored_lines(done: Restored) -> list[str]:
    """Return what a restore has done, and what is left to do."""
    lines = []
    for each in done.profiles:
        words = _owner_words(each.owner)
        if each.lost_owner is not None:
            words = f"of nobody: there is no user {each.lost_owner} here"
        lines += _line("profile", f"{each.name}, {words}")
    if done.key is not None:
        lines += _line("key", f"{done.key} in {done.source}")
    for folder in done.scoring:
        lines += _line("scoring", f"{folder} in {done.places.scoring}")
    left = "left as it was" if done.places.config is None else f"{done.places.config} was left as it was"
    lines += _line("config", left if done.config is None else str(done.config))
    for path in done.kept:
        lines += _line("kept", f"{path} has other files in it: move them, and remove it")
    for model, fix in done.missing.items():
        lines += _line("to do", f"the model {model} is not here: {fix}")
    return lines


def _name_and_model(profile: Profile) -> str:
    return f"{profile.name} ({profile.model.name})"


def _owner_words(owner: str | None) -> str:
    return "of nobody" if owner is None else f"of the user {owner}"


def _line(label: str, text: str) -> list[str]:
    """Return one entry, wrapped at words with an indent."""
    words = wrap(plain(text), WIDTH - _LABEL, break_long_words=False, break_on_hyphens=False)
    return [f"{label if number == 0 else '':<{_LABEL}}{part}" for number, part in enumerate(words)]
