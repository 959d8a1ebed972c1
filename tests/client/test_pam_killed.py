"""`voiceauth-pam` that is killed, short of resources or misled grants no access, although the daemon would."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pam_parts import DEADLINE, PAM_ENVIRONMENT, PROGRAM, Daemon, Environment, accept, owner_arguments, progress, run

from voiceauthd.client import pam

pytestmark = pytest.mark.usefixtures("local")


@pytest.fixture
def daemon(fixed):
    """A daemon that accepts everybody."""
    with Daemon(fixed / "socket", lambda request: [accept(request)]) as daemon:
        yield daemon


# Signals


def listening(fixed) -> tuple[Daemon, threading.Event]:
    """Return a daemon that reports that it listens, and nothing more; and an event that is set then."""
    reported = threading.Event()

    def answer(request):
        yield progress(request)
        reported.set()
        yield DEADLINE
        yield accept(request)

    return Daemon(fixed / "socket", answer), reported


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGSEGV, signal.SIGALRM],
    ids=lambda number: signal.Signals(number).name,
)
def test_killed_by_a_signal_it_grants_no_access(fixed, number):
    daemon, reported = listening(fixed)
    with daemon:
        process = subprocess.Popen(
            # Tests run in the background may inherit ignored signals.
            ["/usr/bin/env", "--default-signal", PROGRAM, "--socket", str(daemon.path), *owner_arguments()],
            env=PAM_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            assert reported.wait(DEADLINE)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[0]), number)
            assert process.wait(DEADLINE) == 1
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_killed_shell_around_it_grants_no_access(fixed, number):
    daemon, reported = listening(fixed)
    with daemon:
        process = subprocess.Popen(
            [PROGRAM, "--socket", str(daemon.path), "--timeout", "1", *owner_arguments()],
            env=PAM_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert reported.wait(DEADLINE)
        os.kill(process.pid, number)
        if number == signal.SIGINT:  # a terminal sends it to all processes; a shell waits for how its child reacts
            os.killpg(process.pid, number)
        assert process.wait(DEADLINE) != 0


TIMED = """
import signal, sys, time
from voiceauthd.client import pam
pam._set_timer(time.monotonic() + 0.2)
sorted(range(10**9)) if sys.argv[1] == "busy" else time.sleep(30)
sys.exit(42)
"""


@pytest.mark.parametrize("how", ["asleep", "busy"])
def test_the_kernel_kills_it_at_the_deadline_whatever_it_does(how):
    """Even if the caller ignored and blocked the signal."""

    def ignore_alarm() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])

    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", TIMED, how], preexec_fn=ignore_alarm, check=False, timeout=DEADLINE)
    assert ended.returncode == -signal.SIGALRM
    assert time.monotonic() - began < 5.0


# Missing resources


def test_without_a_standard_output_it_grants_no_access(daemon):
    assert run(daemon.path, preexec_fn=lambda: os.close(1), capture_output=False).code == 1
    with open("/dev/full", "wb") as full:
        assert run(daemon.path, stdout=full, capture_output=False).code == 1
    reading, writing = os.pipe()
    os.close(reading)
    assert run(daemon.path, stdout=writing, capture_output=False).code == 1
    os.close(writing)


def test_it_needs_no_standard_input_and_no_standard_error(daemon):
    for closed in ([0], [2], [0, 2]):
        ended = run(daemon.path, preexec_fn=lambda closed=closed: [os.close(number) for number in closed])
        assert (ended.code, ended.lines) == (0, ["Recognised"])
    assert (
        run(daemon.path, preexec_fn=lambda: [os.close(number) for number in (0, 1, 2)], capture_output=False).code == 1
    )


def test_a_stuck_pam_conversation_is_not_waited_for(daemon):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, b"x" * 4096):
            pass
    os.set_blocking(writing, True)
    assert run(daemon.path, stdout=writing, capture_output=False).seconds < 2.0
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("what", "limits"),
    [
        (resource.RLIMIT_NOFILE, [0, 1, 2, 3, 4, 5]),
        (resource.RLIMIT_AS, [1 << 20, 4 << 20, 8 << 20, 16 << 20]),
        (resource.RLIMIT_CPU, [0]),
        (resource.RLIMIT_DATA, [0, 1 << 20, 2 << 20]),
        (resource.RLIMIT_STACK, [0, 4096]),
    ],
    ids=["descriptors", "address space", "processor", "data", "stack"],
)
def test_with_low_limits_it_works_or_grants_no_access(daemon, what, limits):
    """It works completely, or not at all. With the lowest limit it never does."""
    codes = []
    for limit in limits:
        try:
            codes.append(run(daemon.path, preexec_fn=lambda limit=limit: resource.setrlimit(what, (limit, limit))).code)
        except OSError:
            codes.append(126)
    assert codes[0] != 0
    assert codes.count(0) <= len(daemon.calls)


def test_it_works_without_a_home_and_in_a_removed_folder(fixed, daemon):
    gone = fixed / "gone"
    gone.mkdir()
    assert "HOME" not in PAM_ENVIRONMENT
    assert run(daemon.path, cwd=gone, preexec_fn=gone.rmdir).code == 0


# A hostile environment


def test_the_environment_has_no_influence(fixed, tmp_path, daemon):
    """Neither on the modules, nor the interpreter, nor the socket."""
    evil = Environment(tmp_path / "evil")
    (evil.package / "client" / "pam.py").write_text("import os; os._exit(42)\n")
    for module in ("voiceauthd", "socket", "json", "sitecustomize", "usercustomize", "pwd", "time"):
        (tmp_path / f"{module}.py").write_text("import os; os._exit(42)\n")
    (tmp_path / "startup.py").write_text("import os; os._exit(42)\n")
    hostile = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "startup.py"),
        "PYTHONUSERBASE": str(tmp_path),
        "PYTHONINSPECT": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONDEVMODE": "1",
        "PYTHONEXECUTABLE": str(evil.program.with_name("python")),
        "PYTHONBREAKPOINT": "os._exit",
        "PYTHONPLATLIBDIR": str(tmp_path),
        "PATH": str(tmp_path),
        "HOME": str(tmp_path),
        "ENV": str(tmp_path / "startup.py"),
        "BASH_ENV": str(tmp_path / "startup.py"),
        "IFS": "/",
        "CDPATH": str(tmp_path),
        "LC_ALL": "xx_YY.broken",
        "VOICEAUTHD_SOCKET": str(daemon.path),
        "XDG_RUNTIME_DIR": str(fixed),
        "BASH_FUNC_readlink%%": "() { exit 0; }",
        "BASH_FUNC_logger%%": "() { exit 0; }",
    }
    for program in ("python", "readlink", "logger"):
        (tmp_path / program).write_text("#!/bin/sh\nexit 42\n")
        (tmp_path / program).chmod(0o755)
    ended = run(daemon.path, environment=PAM_ENVIRONMENT | hostile, cwd=tmp_path)
    assert (ended.code, len(daemon.calls)) == (0, 1)
    for variable, value in (hostile | {"": ""}).items():
        one = {variable: value} if variable else hostile
        assert run(fixed / "nobody", environment=PAM_ENVIRONMENT | one, cwd=tmp_path).code == 1
    assert len(daemon.calls) == 1


def test_the_socket_is_the_systems_unless_an_argument_names_another(tmp_path, daemon):
    variables = {"VOICEAUTHD_SOCKET": str(daemon.path), "XDG_RUNTIME_DIR": str(daemon.path.parent)}
    code = subprocess.run(
        [PROGRAM, "--timeout", "1"], env=PAM_ENVIRONMENT | variables, cwd=tmp_path, check=False
    ).returncode
    assert code == 1
    assert daemon.calls == []


# The exit code


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--bogus"]])
def test_only_an_acceptance_is_success(arguments):
    assert subprocess.run([PROGRAM, *arguments], env=PAM_ENVIRONMENT, capture_output=True, check=False).returncode == 1


ENDS = {
    "raise SystemExit(42)": 43,
    "raise KeyboardInterrupt": 43,
    "raise MemoryError": 43,
    "return None": 43,
    "return True": 43,
    "return '42'": 43,
    "return 42": 42,
    "import atexit, os; atexit.register(os._exit, 42); return 43": 43,
    "import sys; sys.stdout.close(); return 42": 42,
}


@pytest.mark.parametrize("body", ENDS)
def test_the_exit_code_is_42_only_if_main_returns_it(body):
    code = f"from voiceauthd.client import pam\ndef main(*_):\n    {body}\npam.main = main\npam.script()\n"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == ENDS[body]
    assert {pam.ACCEPTED, pam.REFUSED} == {42, 43}


def test_a_missing_socket_causes_no_delay(fixed):
    ended = run(fixed / "nobody")
    assert (ended.code, ended.lines) == (1, [])
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(fixed / "dead"))
    ended = run(fixed / "dead")
    assert (ended.code, ended.lines) == (1, [])
    assert ended.seconds < 1.0
