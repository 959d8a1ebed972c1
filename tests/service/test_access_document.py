"""The access table in docs/protocol.md is the one in the code."""

from __future__ import annotations

from pathlib import Path

from voiceauthd.service.access import TABLE, Role
from voiceauthd.service.access_page import with_table

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


def test_the_manual_shows_the_access_table_that_is_enforced() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "run `python -m voiceauthd.service.access_page`"
    shown = [line for line in page.splitlines() if line.startswith(tuple(f"| `{method}` |" for method in TABLE))]
    assert len(shown) == len(TABLE)


def test_every_role_of_the_table_is_explained() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Who may do what")[1].split("\n## ")[0]
    assert [role.name for role in Role if f"*{role.name.lower()}*" not in section] == []
