"""Make docs/screen.svg, the picture in the README, from a real run of `voiceauth demo` in a terminal of 80 columns.

    pip install rich
    python scripts/make-screen.py

Run it in the top folder of a checkout after changing what the demo prints.
"""

from __future__ import annotations

import os
import pty
import re
import struct
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

from rich.console import Console
from rich.text import Text

COLUMNS = 80
SVG = Path("docs", "screen.svg")

FIRST, LAST = "a conversation, in real time", "the conversation, judged"
"""Lines of the demo between which the picture is."""

TURNS = 3
"""Turns of the conversation that are shown."""

# Without the web fonts that the library's own frame would load from elsewhere.
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def terminal_output(command: list[str]) -> str:
    """Return what a command writes to a terminal of `COLUMNS` columns. Raises `SystemExit` if it fails."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], command)  # noqa: S606
    ioctl(terminal, TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end has closed
            part = b""
        if not part:
            break
        written += part
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit(written.decode())
    return written.decode()


def turns(output: str) -> list[str]:
    """Return the lines of the first turns of the conversation, with their colours."""
    lines = [re.sub(r".*\r?\x1b\[K", "", line.rstrip("\r")) for line in output.split("\n")]
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    begin, end = (next(i for i, line in enumerate(plain) if line.startswith(mark)) for mark in (FIRST, LAST))
    heads = [i for i in range(begin + 1, end) if plain[i] and not plain[i].startswith(" ")]
    return lines[begin + 1 : heads[TURNS]]


def main() -> None:
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    for line in turns(terminal_output([str(Path(sys.executable).with_name("voiceauth")), "demo"])):
        console.print(Text.from_ansi(line))
    SVG.write_text(console.export_svg(title="voiceauth demo", code_format=FRAME), encoding="utf-8")


if __name__ == "__main__":
    main()
