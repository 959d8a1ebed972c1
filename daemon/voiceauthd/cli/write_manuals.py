"""Write the man pages and completion scripts below a folder such as /usr/share, for an installation.

    python -m voiceauthd.cli.write_manuals FOLDER

The date on the pages is that of $SOURCE_DATE_EPOCH, else today's.
"""

from __future__ import annotations

import gzip
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import voiceauthd
from voiceauthd.cli.main import parser_of
from voiceauthd.cli.manual import COMMANDS
from voiceauthd.manuals.completion_scripts import completion_script
from voiceauthd.manuals.man_pages import Edition, all_command_pages, daemon_page
from voiceauthd.service.command_line import ENDINGS, NOTES, daemon_parser

DAEMON_SUMMARY = "recognise who is speaking, and answer on a local socket"


def man_pages(edition: Edition) -> Iterator[tuple[str, str]]:
    """Yield the path below /usr/share and the text of each man page."""
    for name, text in all_command_pages(COMMANDS, parser_of, edition):
        yield f"man/man1/{name}", text
    yield "man/man8/voiceauthd.8", daemon_page(daemon_parser(), NOTES, ENDINGS, DAEMON_SUMMARY, edition)


def completions() -> Iterator[tuple[str, str]]:
    """Yield the path below /usr/share and the text of each completion. Shells load them by the command's name."""
    for program in ("voiceauth", "voiceauthd"):
        yield f"bash-completion/completions/{program}", completion_script("bash")
        yield f"fish/vendor_completions.d/{program}.fish", completion_script("fish")
    yield "zsh/site-functions/_voiceauth", completion_script("zsh")


def write_manuals(folder: Path) -> None:
    """Write all files; man pages are compressed."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    edition = Edition(time.strftime("%Y-%m-%d", time.gmtime(seconds)), voiceauthd.__version__)
    for path, text in man_pages(edition):
        _write(folder / f"{path}.gz", gzip.compress(text.encode(), 9, mtime=0))
    for path, text in completions():
        _write(folder / path, text.encode())


def _write(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(0o644)


if __name__ == "__main__":
    write_manuals(Path(sys.argv[1]))
