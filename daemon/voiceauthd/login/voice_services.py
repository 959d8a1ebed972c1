"""Letting PAM services accept a voice, with everything as somebody typed it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from voiceauthd.errors import StorageError, UsageError
from voiceauthd.login.block import HELPER, Block
from voiceauthd.login.files import BACKUPS, PAM_FOLDER, PamFolder
from voiceauthd.login.services import Change, VoiceService, install, make_block, remove, status
from voiceauthd.login.trust import untrusted_package_reason, untrusted_reason

_MODULE = re.compile(r"[A-Za-z0-9_-]+\Z")


def install_voice(
    service: str,
    block: Block,
    *,
    helper: str | None,
    may_skip: list[str],
    folder: Path | None,
    backups: Path | None,
    dry_run: bool,
) -> Change:
    """Install the block in a service. None: the installed helper, and the system's folders.

    block     its helper is not used
    may_skip  modules that an accepted voice may skip

    Raises what `install` raises, and `StorageError`, reason `unsafe_helper`.
    """
    block = block._replace(module=" ".join(block.module.split()))
    make_block(service, block)  # a refused service is the first error to report
    skipped = frozenset(_bare_module(word) for word in may_skip)
    block = block._replace(helper=_trusted_helper(helper))
    with PamFolder(folder or PAM_FOLDER) as services:
        return install(services, service, block, skipped, backups or BACKUPS, dry_run=dry_run)


def remove_voice(service: str, *, folder: Path | None, backups: Path | None, dry_run: bool) -> Change:
    """Remove the block from a service. None: the system's folders. Raises what `remove` raises."""
    with PamFolder(folder or PAM_FOLDER) as services:
        return remove(services, service, backups or BACKUPS, dry_run=dry_run)


def voice_services(folder: Path | None) -> list[VoiceService]:
    """Return the services that ask for a voice. None: those of the system."""
    with PamFolder(folder or PAM_FOLDER) as services:
        return status(services)


def _trusted_helper(path: str | None) -> str:
    """Return the command for PAM's line. Raises `StorageError` if users other than root could change what it does."""
    helper = path or str(Path(sys.executable).parent / HELPER)
    if not helper.startswith("/"):
        raise UsageError("--helper needs an absolute path")
    reason = untrusted_reason(helper) or ("" if path else untrusted_package_reason())
    if reason:
        raise StorageError(f"PAM must not run {helper} as root: {reason}; install voiceauthd as root", "unsafe_helper")
    return helper


def _bare_module(word: str) -> str:
    name = word.removesuffix(".so")
    if not _MODULE.match(name):
        raise UsageError(f"{word!r} is not a PAM module")
    return name
