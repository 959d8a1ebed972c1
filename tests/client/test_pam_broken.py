"""`voiceauth-pam` of which a file is broken, cut off or missing lets nobody in, though the daemon would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pam_parts import ASKED, PROGRAM, Daemon, Environment, accept, run

pytestmark = pytest.mark.usefixtures("local")


def willing(asked):
    return [accept(asked)]


@pytest.fixture
def daemon(fixed):
    """One who accepts everybody."""
    with Daemon(fixed / "socket", willing) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def environment(fixed):
    return Environment(fixed / "environment")


def test_the_executable_is_where_the_others_are():
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


def test_the_copy_that_is_broken_below_works(environment, daemon):
    assert run(daemon.path, program=environment.program).code == 0
    assert {"pam.py", "verified.py", "client.py", "wire.py"} <= {file.name for file in environment.modules()}


# Files


def test_an_executable_that_is_cut_off_lets_nobody_in(fixed, daemon):
    """In the middle of the first line no kernel runs it; after it no shell does. Exactly that line, with or without its
    end, is what a shell takes for a program that succeeds: `make install` makes sure that there is more."""
    whole, cut = PROGRAM.read_bytes(), PROGRAM.with_name(f"voiceauth-pam-{os.getpid()}")
    first_line = whole.index(b"\n") + 1
    lengths = {*range(80), *range(80, len(whole) - 1, 37), len(whole) - 2}
    succeeded = []
    try:
        for length in sorted(lengths):
            cut.write_bytes(whole[:length])
            cut.chmod(0o755)
            try:
                code = run(daemon.path, program=cut).code
            except OSError:
                continue
            succeeded += [length] if code == 0 else []
    finally:
        cut.unlink()
    assert succeeded == [first_line - 1, first_line]


@pytest.mark.parametrize("content", [None, b"", b"#!/bin/false\n", b"\0" * 4096, b"\x7fELF"], ids=repr)
def test_an_interpreter_that_is_missing_or_broken_lets_nobody_in(environment, daemon, content):
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
    assert daemon.asked == []


def begun_with(line: bytes, content: bytes) -> bytes:
    """With a line of code before all others, save those that must come first."""
    first = b"from __future__ import annotations\n"
    return content.replace(first, first + line, 1) if first in content else line + content


BREAKAGE = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "a syntax error": lambda content: content + b"\n)\n",
    "an exception": lambda content: begun_with(b"1 / 0\n", content),
    "an exit with success": lambda content: begun_with(b"import sys; sys.exit(0)\n", content),
    "zeros": lambda content: b"\0" * len(content),
    "binary": lambda content: b"\xff" + content,
}


@pytest.mark.parametrize("how", BREAKAGE)
def test_a_module_that_is_broken_lets_nobody_in(environment, daemon, how):
    let_in = []
    for file in environment.modules():
        content = file.read_bytes()
        if not content.strip():  # the protocol's __init__.py, which is as good without its bytes
            continue
        with environment.broken(file, BREAKAGE[how](content)):
            if run(daemon.path, program=environment.program).code != 1:
                let_in.append(str(file.relative_to(environment.package)))
    assert let_in == []


def cut_points(environment: Environment) -> list[tuple[Path, int]]:
    """Every end of a line in every module."""
    points = []
    for file in environment.modules():
        content = file.read_bytes()
        at = -1
        while (at := content.find(b"\n", at + 1)) >= 0:
            points.append((file, at + 1))
    return points


LIES = {
    "another nonce": lambda asked: accept(asked, nonce="0" * 32),
    "another name": lambda asked: accept(asked, name="daemon"),
    "another policy": lambda asked: accept(asked, policy="monitor"),
    "no decision": lambda asked: accept(asked, state="progress"),
    "rejected": lambda asked: accept(asked, outcome="reject"),
    "expired": lambda asked: accept(asked, expires=0),
    "twice": lambda asked: accept(asked) * 2,
}

FORBIDDEN = (
    {"PAM_RHOST": "elsewhere"},
    {"PAM_TTY": "elsewhere:10.0"},
    {"PAM_SERVICE": "sudo"},
    {"PAM_USER": "root"},
    {"PAM_TYPE": "account"},
)


def check_cut(environment: Environment, daemon: Daemon, points: list[tuple[Path, int]]) -> list[tuple]:
    """What lets somebody in after a module was cut off who would not be let in before."""
    let_in = []
    lies, forbidden = list(LIES.items()), list(FORBIDDEN)
    for number, (file, length) in enumerate(points):
        with environment.broken(file, file.read_bytes()[:length]):
            name, lie = lies[number % len(lies)]
            daemon._answer = lambda asked, lie=lie: [lie(asked)]
            if run(daemon.path, "--timeout", "1", program=environment.program).code != 1:
                let_in.append((file.name, length, name))
            daemon._answer = willing
            changed = forbidden[number % len(forbidden)]
            if run(daemon.path, "--timeout", "1", program=environment.program, environment=ASKED | changed).code != 1:
                let_in.append((file.name, length, changed))
    return let_in


def test_no_check_is_lost_when_a_module_is_cut_off(environment, daemon):
    points = cut_points(environment)
    assert len(points) > 500
    assert check_cut(environment, daemon, points[5::61]) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_check_is_lost_when_a_module_is_cut_off_at_any_line(environment, daemon):
    assert check_cut(environment, daemon, cut_points(environment)) == []
