"""A release has one version, and the changelog a place for what comes next."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import voiceauthd

ROOT = Path(__file__).parents[1]


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == voiceauthd.__version__


def test_the_changelog_begins_with_the_unreleased_changes() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])
