"""The arguments of `voiceauthd`, without the daemon itself: man page and completion are made from them, too."""

from __future__ import annotations

import argparse
from pathlib import Path

import voiceauthd
from voiceauthd.errors import ExitCode

NOTES = """\
The configuration is the first of: --config, $VOICEAUTHD_CONFIG, $XDG_CONFIG_HOME/voiceauthd/config.yaml,
/etc/voiceauthd/config.yaml, the built-in defaults. `voiceauth config default` prints a file with every setting.

SIGTERM and SIGINT stop the daemon, SIGHUP reloads the configuration.
"""

ENDINGS = {
    ExitCode.OK: "stopped",
    ExitCode.USAGE: "usage",
    ExitCode.CONFIG: "configuration refused",
    ExitCode.MODEL: "model not available",
    ExitCode.AUDIO: "the recording cannot be read",
    ExitCode.STORAGE: "the profile store or the audit log cannot be used",
    ExitCode.ALREADY_RUNNING: "another daemon answers on the socket",
    ExitCode.INTERNAL: "a defect of voiceauthd",
}
"""What each exit code of the daemon means."""


def daemon_parser() -> argparse.ArgumentParser:
    """Return the parser of the daemon's command line."""
    endings = "\n".join(f"  {code.value:>2}  {meaning}" for code, meaning in ENDINGS.items())
    parser = argparse.ArgumentParser(
        prog="voiceauthd",
        description="Recognises enrolled people by voice, and offers verification and monitoring on a local socket.",
        epilog=f"{NOTES}\nexit codes:\n{endings}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="read this configuration")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one setting; may be repeated"
    )
    parser.add_argument("--version", action="version", version=f"voiceauthd {voiceauthd.__version__}")
    return parser
