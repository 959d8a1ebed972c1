"""The git hook that `make hooks` installs, in a repository of its own: it refuses bad files and lets good ones through.

The repository has the real configuration, hook and make target, and a package of one module.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or shutil.which("make") is None, reason="git or make is not installed"
)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    environment |= dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "Somebody")
    environment |= dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "somebody@example.org")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def commit(folder: Path) -> subprocess.CompletedProcess[str]:
    assert run(folder, "git", "add", "--all").returncode == 0
    return run(folder, "git", "commit", "--message", "A change")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the hook installed, and one commit that the hook let through."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".gitignore", "scripts/pre-commit"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    files = {
        "daemon/voiceauthd/__init__.py": "",
        "daemon/voiceauthd/good.py": "ANSWER: int = 42\n",
        "tests/test_structure.py": "def test_it() -> None:\n    assert True\n",
        "tests/test_architecture_document.py": "def test_it_too() -> None:\n    assert True\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (folder / ".venv" / ".setup-done").touch()  # so that `make` installs nothing
    assert run(folder, "git", "init", "--quiet").returncode == 0
    installed = run(folder, "make", "hooks")
    assert installed.returncode == 0, installed.stderr
    first = commit(folder)
    assert first.returncode == 0, first.stdout + first.stderr
    return folder


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("daemon/voiceauthd/bad.py", "import os\n", "F401"),
        ("daemon/voiceauthd/bad.py", "x  =  1\n", "ruff format daemon/voiceauthd/bad.py"),
        ("daemon/voiceauthd/good.py", 'ANSWER: int = "forty-two"\n', "Incompatible types"),
        ("tests/test_structure.py", "def test_it() -> None:\n    assert False, 'askew'\n", "askew"),
    ],
    ids=["lint", "format", "types", "structure"],
)
def test_a_commit_that_ci_would_refuse_is_refused(checkout: Path, name: str, text: str, complaint: str) -> None:
    (checkout / name).write_text(text)
    refused = commit(checkout)
    assert refused.returncode != 0
    assert complaint in refused.stdout + refused.stderr
    assert run(checkout, "git", "rev-list", "--count", "HEAD").stdout.strip() == "1"
    assert run(checkout, "git", "reset", "--quiet", "--hard").returncode == 0


def test_another_hook_is_not_overwritten(checkout: Path) -> None:
    hook = checkout / ".git" / "hooks" / "pre-commit"
    assert run(checkout, "make", "hooks").returncode == 0, "installing twice is fine"
    hook.write_text("#!/bin/sh\necho mine\n")
    refused = run(checkout, "make", "hooks")
    assert refused.returncode != 0
    assert "another hook" in refused.stderr
    assert "mine" in hook.read_text()
