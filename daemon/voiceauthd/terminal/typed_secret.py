"""Asking for a password or a passphrase on the terminal."""

from __future__ import annotations

import getpass
import sys
import warnings

from voiceauthd.errors import VoiceauthError


def typed_secret(question: str, nobody: VoiceauthError) -> str:
    """Return what somebody types. Raises `nobody` if nobody can be asked.

    The terminal is asked even if standard input is a pipe. A terminal that would show the secret is not used.
    """
    if not (sys.stdin.isatty() or sys.stderr.isatty()):
        raise nobody
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(question, sys.stderr)
    except (getpass.GetPassWarning, EOFError, OSError):
        raise nobody from None
