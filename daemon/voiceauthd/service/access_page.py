"""Regenerate the table of access rights in `docs/protocol.md` from the one that is enforced.

    python -m voiceauthd.service.access_page

Run it in the top folder of a checkout after changing `access.py`; a test fails if the page is out of date.
"""

from __future__ import annotations

from pathlib import Path

from voiceauthd.service.access import TABLE, Role

BEGIN = "<!-- The table is made by `python -m voiceauthd.service.access_page`. -->\n\n"
END = "\n<!-- End of the table. -->\n"


def table() -> str:
    """Return the table in Markdown: one row per method, one column per role."""
    lines = ["| method | " + " | ".join(role.name.lower() for role in Role) + " |", "| --- |" + " --- |" * len(Role)]
    for method, allowed in TABLE.items():
        cells = ["yes" if allowed & {role, Role.ANYBODY} else "" for role in Role]
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """Return `page` with the current table between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def main() -> None:
    page = Path("docs", "protocol.md")
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
