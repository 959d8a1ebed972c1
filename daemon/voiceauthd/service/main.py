"""`voiceauthd`: the daemon's command line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import voiceauthd
from voiceauthd.config.load import find_config, load_config
from voiceauthd.errors import ExitCode, VoiceauthError
from voiceauthd.service.daemon import run
from voiceauthd.service.log_lines import configure_logging

log = logging.getLogger("voiceauthd")

EPILOGUE = """\
The configuration is the first of: --config, $VOICEAUTHD_CONFIG, $XDG_CONFIG_HOME/voiceauthd/config.yaml,
/etc/voiceauthd/config.yaml, the built-in defaults. `voiceauth config default` prints a file with every setting.

SIGTERM and SIGINT stop the daemon, SIGHUP reloads the configuration.

exit codes: 0 stopped, 2 usage, 9 configuration refused, 10 model not available, 11 the recording cannot be read,
12 the profile store or the audit log cannot be used, 13 another daemon answers on the socket, 70 a defect of voiceauthd
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon until it is stopped; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="voiceauthd",
        description="Recognises enrolled people by voice, and offers verification and monitoring on a local socket.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="read this configuration")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one setting; may be repeated"
    )
    parser.add_argument("--version", action="version", version=f"voiceauthd {voiceauthd.__version__}")
    given = parser.parse_args(arguments)
    try:
        config = load_config(find_config(given.config, os.environ), given.set)
    except VoiceauthError as failure:
        configure_logging("info")
        for line in str(failure).splitlines():
            log.error("%s", line)
        return failure.exit_code
    return run(config, overrides=given.set)


def script() -> None:
    """The console script. Exits at once: a model that is still loading in its thread must not delay the exit."""
    code: int = ExitCode.INTERNAL
    try:
        code = main()
    except SystemExit as leaving:  # argparse: 2 for usage, 0 for --help
        code = leaving.code if isinstance(leaving.code, int) else ExitCode.USAGE
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    script()
