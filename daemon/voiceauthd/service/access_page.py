"""Writes the table in `docs/protocol.md` of who may do what anew, from the one that is enforced.

    python -m voiceauthd.service.access_page

Run it in the top folder of a checkout after a change of `access.py`; a test tells when it is due.
"""

from __future__ import annotations

from pathlib import Path

from voiceauthd.service.access import TABLE, Role

BEGIN = "<!-- The table is made by `python -m voiceauthd.service.access_page`. -->\n\n"
END = "\n<!-- End of the table. -->\n"


def table() -> str:
    """A line for each method, a column for each role."""
    lines = ["| method | " + " | ".join(role.name.lower() for role in Role) + " |", "| --- |" + " --- |" * len(Role)]
    for method, allowed in TABLE.items():
        cells = ["yes" if allowed & {role, Role.ANYBODY} else "" for role in Role]
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """`page` with the table of today between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def main() -> None:
    page = Path("docs", "protocol.md")
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
