"""`voiceauthd`: the daemon's command line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from voiceauthd.config.load import find_config, load_config
from voiceauthd.errors import ExitCode, VoiceauthError
from voiceauthd.service.command_line import daemon_parser
from voiceauthd.service.daemon import run
from voiceauthd.service.log_lines import configure_logging

log = logging.getLogger("voiceauthd")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon until it is stopped; return the exit code."""
    given = daemon_parser().parse_args(arguments)
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
