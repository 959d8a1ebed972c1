"""The table in docs/protocol.md is the one in the code."""

from __future__ import annotations

from pathlib import Path

from voiceauthd.service.access import TABLE, Role

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
BEGIN, END = "<!-- access table -->\n", "<!-- end -->"


def table() -> str:
    roles = [role for role in Role if role is not Role.ANYBODY]
    lines = ["| method | anybody | " + " | ".join(role.name.lower() for role in roles) + " |"]
    lines.append("| --- |" + " --- |" * (len(roles) + 1))
    for method, allowed in TABLE.items():
        everybody = Role.ANYBODY in allowed
        cells = ["yes" if everybody else ""] + ["yes" if everybody or role in allowed else "" for role in roles]
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def test_the_manual_shows_the_access_table_that_is_enforced() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.split(BEGIN)[1].split(END)[0] == table()
