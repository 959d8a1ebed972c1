"""What the documents say about the source: docs/architecture.md names every package, and files and functions exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "daemon" / "voiceauthd"
DOCUMENT = ROOT / "docs" / "architecture.md"
DOCUMENTS = sorted(
    {*ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("*.md")} - {ROOT / "CHANGELOG.md"}
)

REFERENCE = re.compile(r"`([\w/]+\.py):([\w.]+)`")
"""`service/engine.py:build_engine`, or with a class `pipeline/live.py:Live.mark`."""

PARAGRAPH = re.compile(r"^\*\*`(\w+)/`\*\*", re.MULTILINE)

FILE = re.compile(r"[\s`(/]((?:[\w*.]+/)+[\w*]+\.(?:py|sh|varlink|service|socket)|test_[\w*]+\.py)\b")
"""A file in a code span or a link: with its folder, except for a test's. It may contain a `*`."""


def missing(reference: tuple[str, str]) -> str | None:
    """What is wrong with a reference; None if the file defines the function, class or method."""
    file, name = reference
    path = PACKAGE / file
    if not path.is_file():
        return f"{file} does not exist"
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for part in name.split("."):
        found = [
            node
            for node in body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == part
        ]
        if not found:
            return f"{file} does not define {name}"
        body = found[0].body
    return None


def unknown_files(text: str) -> list[str]:
    """Files that `text` names and that do not exist. Names are relative to the repository, the package or docs/."""
    named = {found.group(1) for found in FILE.finditer(text)}
    folders = (ROOT, PACKAGE, ROOT / "docs", *(ROOT / "tests").glob("*/"))
    return sorted(name for name in named if not any(any(folder.glob(name)) for folder in folders))


def test_every_function_that_the_document_names_exists() -> None:
    references = set(REFERENCE.findall(DOCUMENT.read_text(encoding="utf-8")))
    assert len(references) > 20
    assert [problem for problem in map(missing, sorted(references)) if problem] == []


@pytest.mark.parametrize(
    ("file", "name", "exists"),
    [
        ("pipeline/live.py", "Live.mark", True),
        ("pipeline/recogniser.py", "follow", True),
        ("pipeline/live.py", "Live.dance", False),
        ("pipeline/live.py", "mark", False),
        ("attic/live.py", "Live", False),
    ],
)
def test_the_check_notices_a_function_that_is_gone(file: str, name: str, exists: bool) -> None:
    assert (missing((file, name)) is None) is exists


def test_every_package_has_one_paragraph() -> None:
    packages = sorted(folder.parent.name for folder in PACKAGE.glob("*/__init__.py"))
    assert sorted(PARAGRAPH.findall(DOCUMENT.read_text(encoding="utf-8"))) == packages


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    assert unknown_files(document.read_text(encoding="utf-8")) == []


def test_the_check_notices_a_file_that_is_gone() -> None:
    assert (
        unknown_files("`audio/block.py`, [link](../daemon/voiceauthd/config/load.py), `tests/scoring/test_*.py`") == []
    )
    assert unknown_files("see `audio/attic.py` and `tests/attic/test_*.py`") == [
        "audio/attic.py",
        "tests/attic/test_*.py",
    ]
