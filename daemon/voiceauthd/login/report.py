"""What `voiceauth pam` reports about a service: the change, the block, and what to know about it."""

from __future__ import annotations

from typing import Any

from voiceauthd.login.block import Block
from voiceauthd.login.services import Change, VoiceService
from voiceauthd.login.trust import has_module

KEYRINGS = ("pam_gnome_keyring", "pam_kwallet", "pam_mount")
"""Modules that unlock something with the password."""


def change_object(service: str, change: Change, *, dry_run: bool) -> dict[str, Any]:
    """Return the change for a program."""
    return {
        "service": service,
        "file": str(change.path),
        "changed": change.changed and not dry_run,
        "diff": change.diff(),
        "backup": str(change.backup) if change.backup else None,
        "block": _block_object(change.block) if change.block else None,
        "skipped": list(change.skipped),
        "also": list(change.also),
    }


def service_object(service: VoiceService) -> dict[str, Any]:
    """Return a service that asks for a voice, for a program."""
    entry: dict[str, Any] = {"service": service.service, "problem": service.problem or None}
    return entry | (_block_object(service.block) if service.block is not None else {})


def change_line(change: Change) -> str:
    """Return what was changed, and where the previous version is."""
    if not change.changed:
        return f"{change.path} needs no change"
    return f"changed {change.path}; the previous version: {change.backup}"


def install_lines(service: str, change: Change) -> list[str]:
    """Return the block that was installed, and what to know about this service."""
    if change.block is None:
        return []
    lines = [f"  {line}" for line in change.block.text(service).splitlines()] if change.changed else []
    lines.append(f"{service}: {change.block.summary()}; else the password")
    if change.also:
        lines.append(f"so does {', '.join(change.also)}, which includes {service}")
    keyrings = [name for name in change.skipped if name.startswith(KEYRINGS)]
    if keyrings:
        lines.append(f"{', '.join(keyrings)} will get no password after an accepted voice, and so stays locked")
    module = change.block.module.split(" ", maxsplit=1)[0]
    if module and not has_module(module):
        lines.append(f"{module} was not found on this machine: without it the password is always asked for")
    return [*lines, "try it in another terminal before you close this one"] if change.changed else lines


def _block_object(block: Block) -> dict[str, Any]:
    return {
        "how": block.summary(),
        "helper": block.helper,
        "with": block.module or None,
        "allow_root": block.allow_root,
        "timeout": float(block.timeout) if block.timeout else None,
        "policy": block.policy or None,
    }
