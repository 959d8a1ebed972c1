"""`voiceauth-pam` with a broken, truncated or missing file grants no access, although the daemon accepts everybody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pam_parts import PAM_ENVIRONMENT, PROGRAM, Daemon, Environment, accept, run

pytestmark = pytest.mark.usefixtures("local")


def willing(request):
    return [accept(request)]


@pytest.fixture
def daemon(fixed):
    """A daemon that accepts everybody."""
    with Daemon(fixed / "socket", willing) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def environment(fixed):
    return Environment(fixed / "environment")


def test_the_executable_is_installed_beside_the_others():
    assert PROGRAM.is_file(), "install the package again: pip install --editable ."
    assert os.access(PROGRAM, os.X_OK)
    assert PROGRAM.read_bytes() == Path(__file__).parents[2].joinpath("scripts", "voiceauth-pam").read_bytes()


def test_it_works_through_a_link_from_anywhere(fixed, daemon):
    link, links = fixed / "link", fixed / "links"
    link.symlink_to(PROGRAM)
    links.symlink_to(link)
    for program in (PROGRAM, link, links):
        assert run(daemon.path, program=program, cwd="/").code == 0
    here = Path(os.path.relpath(links, "/"))
    assert run(daemon.path, program=f"./{here}", cwd="/").code == 0


def test_the_undamaged_copy_works(environment, daemon):
    assert run(daemon.path, program=environment.program).code == 0
    assert {"pam.py", "verify_result.py", "client.py", "wire.py"} <= {file.name for file in environment.modules()}


# Files


def test_a_truncated_executable_grants_no_access(fixed, daemon):
    """Truncated within the first line, the kernel does not run it; after it, the shell does not. Exactly that line,
    with or without its newline, is a successful empty script: `make install` checks that the file is complete."""
    whole, truncated = PROGRAM.read_bytes(), PROGRAM.with_name(f"voiceauth-pam-{os.getpid()}")
    first_line = whole.index(b"\n") + 1
    lengths = {*range(80), *range(80, len(whole) - 1, 37), len(whole) - 2}
    succeeded = []
    try:
        for length in sorted(lengths):
            truncated.write_bytes(whole[:length])
            truncated.chmod(0o755)
            try:
                code = run(daemon.path, program=truncated).code
            except OSError:
                continue
            succeeded += [length] if code == 0 else []
    finally:
        truncated.unlink()
    assert succeeded == [first_line - 1, first_line]


@pytest.mark.parametrize("content", [None, b"", b"\0" * 4096, b"\x7fELF"], ids=repr)
def test_a_missing_or_broken_interpreter_grants_no_access(environment, daemon, content):
    python = environment.program.with_name("python")
    target = os.readlink(python)
    python.unlink()
    try:
        if content is not None:
            python.write_bytes(content)
            python.chmod(0o755)
        assert run(daemon.path, program=environment.program).code == 1
    finally:
        python.unlink(missing_ok=True)
        python.symlink_to(target)
    assert daemon.calls == []


def with_first_line(line: bytes, content: bytes) -> bytes:
    """Insert a line of code as early in a module as possible."""
    first = b"from __future__ import annotations\n"
    return content.replace(first, first + line, 1) if first in content else line + content


BREAKAGE = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "an exception": lambda content: with_first_line(b"1 / 0\n", content),
    "an exit with success": lambda content: with_first_line(b"import sys; sys.exit(0)\n", content),
    "zeros": lambda content: b"\0" * len(content),
}


@pytest.mark.parametrize("how", BREAKAGE)
def test_a_broken_module_grants_no_access(environment, daemon, how):
    granted = []
    for file in environment.modules():
        content = file.read_bytes()
        if not content.strip():  # the empty __init__.py of the protocol is not needed
            continue
        with environment.broken(file, BREAKAGE[how](content)):
            if run(daemon.path, program=environment.program).code != 1:
                granted.append(str(file.relative_to(environment.package)))
    assert granted == []


def truncations(environment: Environment) -> list[tuple[Path, int]]:
    """Return every module with the position of every line end."""
    points = []
    for file in environment.modules():
        content = file.read_bytes()
        position = -1
        while (position := content.find(b"\n", position + 1)) >= 0:
            points.append((file, position + 1))
    return points


WRONG_ANSWERS = {
    "another nonce": lambda request: accept(request, nonce="0" * 32),
    "another name": lambda request: accept(request, name="daemon"),
    "another policy": lambda request: accept(request, policy="monitor"),
    "no decision": lambda request: accept(request, state="progress"),
    "rejected": lambda request: accept(request, outcome="reject"),
    "expired": lambda request: accept(request, expires=0),
    "twice": lambda request: accept(request) * 2,
}

FORBIDDEN = (
    {"PAM_RHOST": "elsewhere"},
    {"PAM_TTY": "elsewhere:10.0"},
    {"PAM_SERVICE": "sudo"},
    {"PAM_USER": "root"},
    {"PAM_TYPE": "account"},
)


def wrongly_granted(environment: Environment, daemon: Daemon, points: list[tuple[Path, int]]) -> list[tuple]:
    """Return the truncations after which a wrong answer or a forbidden request is granted."""
    granted = []
    answers, forbidden = list(WRONG_ANSWERS.items()), list(FORBIDDEN)
    for number, (file, length) in enumerate(points):
        with environment.broken(file, file.read_bytes()[:length]):
            name, wrong = answers[number % len(answers)]
            daemon._answer = lambda request, wrong=wrong: [wrong(request)]
            if run(daemon.path, "--timeout", "1", program=environment.program).code != 1:
                granted.append((file.name, length, name))
            daemon._answer = willing
            changed = forbidden[number % len(forbidden)]
            if (
                run(
                    daemon.path, "--timeout", "1", program=environment.program, environment=PAM_ENVIRONMENT | changed
                ).code
                != 1
            ):
                granted.append((file.name, length, changed))
    return granted


def test_a_truncated_module_loses_no_check(environment, daemon):
    points = truncations(environment)
    assert len(points) > 500
    assert wrongly_granted(environment, daemon, points[5::61]) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_module_truncated_at_any_line_loses_no_check(environment, daemon):
    assert wrongly_granted(environment, daemon, truncations(environment)) == []
