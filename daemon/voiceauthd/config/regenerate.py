"""Regenerate `config.yaml` and the table in `docs/configuration.md` from the schema.

    python -m voiceauthd.config.regenerate

Run it in the top folder of a checkout after changing the schema; a test fails if the files are out of date.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from voiceauthd.config.document import render, table
from voiceauthd.config.schema import Config

BEGIN = "<!-- The table is made by `python -m voiceauthd.config.regenerate`. -->\n\n"
END = "\n<!-- End of the table. -->\n"


def checkout_config() -> str:
    """Return the `config.yaml` of a checkout: the defaults, with the profiles in its folder `profiles/`."""
    return render(replace(Config(), profiles=Path("profiles")))


def with_table(page: str) -> str:
    """Return `page` with the current table between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def main() -> None:
    Path("config.yaml").write_text(checkout_config(), encoding="utf-8")
    page = Path("docs", "configuration.md")
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
