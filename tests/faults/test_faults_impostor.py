"""Another user's socket in place of the daemon's: the helper checks who answers before it reads the answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_impostor import Impostor, saying
from faulty_daemon import OTHER_UID, OWNER, FaultyDaemon, new_folder, slow_except

PYTHON = Path("/usr/bin/python3")

ACCEPT = (
    json.dumps(
        {
            "parameters": {
                "state": "decided",
                "outcome": "accept",
                "reason": "match",
                "name": "<NAME>",
                "nonce": "<NONCE>",
                "policy": "unlock",
                "net_speech": 3.0,
                "net_speech_needed": 2.0,
                "calibrated": True,
                "expires": 10.0,
            }
        }
    )
    + "\0"
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of root's, in which a daemon's socket could be."""
    folder = new_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def other_users(place: Path) -> Iterator[Callable[[Path], None]]:
    """Makes another user, who accepts everybody, listen at a path."""
    if not PYTHON.exists():
        pytest.skip("needs the system's python3, because other users cannot run this one")
    program = place / "impostor.py"
    shutil.copyfile(Path(__file__).with_name("fault_impostor.py"), program)
    program.chmod(0o644)
    started: list[subprocess.Popen[str]] = []

    def listen(path: Path) -> None:
        become = ["setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups"]
        process = subprocess.Popen(
            [*become, str(PYTHON), "-I", str(program), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        started.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([ACCEPT]) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "listens\n"

    yield listen
    for process in started:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(10.0)
        process.stdout.close()


def test_the_same_answer_from_root_is_accepted(shared_faulty: FaultyDaemon, place: Path) -> None:
    """The control: the impostors' answer is valid."""
    impostor = Impostor(str(place / "socket"), saying([ACCEPT]))
    assert shared_faulty.by_pam(path=place / "socket").accepted
    assert impostor.calls == 1
    impostor.close()


def in_its_own_folder(place: Path, listen: Callable[[Path], None]) -> Path:
    os.chown(place, OTHER_UID, OTHER_UID)
    listen(place / "socket")
    return place / "socket"


def in_roots_folder(place: Path, listen: Callable[[Path], None]) -> Path:
    """The impostor listened before the folder was given to root."""
    path = in_its_own_folder(place, listen)
    os.chown(place, 0, 0)
    return path


def given_to_root(place: Path, listen: Callable[[Path], None]) -> Path:
    """The file is root's, but the listening process is not."""
    path = in_roots_folder(place, listen)
    os.chown(path, 0, 0)
    return path


def by_a_link(place: Path, listen: Callable[[Path], None]) -> Path:
    path = in_its_own_folder(place, listen)
    link = place / "link"
    link.symlink_to(path)
    os.chown(place, 0, 0)
    return link


def in_a_folder_for_all(place: Path, listen: Callable[[Path], None]) -> Path:
    place.chmod(0o1777)
    listen(place / "socket")
    return place / "socket"


def instead_of_the_daemons(place: Path, listen: Callable[[Path], None]) -> Path:
    """The daemon has died and left its socket, in a folder that everybody may write to."""
    path = place / "socket"
    Impostor(str(path), saying([ACCEPT])).close()
    place.chmod(0o777)
    listen(path)
    place.chmod(0o755)
    return path


WAYS = (
    in_its_own_folder,
    in_roots_folder,
    given_to_root,
    by_a_link,
    in_a_folder_for_all,
    instead_of_the_daemons,
)


@pytest.mark.parametrize("way", slow_except(WAYS, {in_its_own_folder, given_to_root, in_a_folder_for_all}))
def test_an_accept_from_an_impostor_accepts_nobody(
    shared_faulty: FaultyDaemon, place: Path, other_users: Callable[[Path], None], way: Callable[..., Path]
) -> None:
    path = way(place, other_users)
    found = shared_faulty.accepts_nobody(
        f"an impostor's socket {way.__name__.replace('_', ' ')}", found=[shared_faulty.by_pam(path=path)]
    )
    assert found[0].seconds < 1.5, "it is detected at once"


@pytest.mark.parametrize("what", slow_except(["a file", "a folder", "nothing", "nobody listens"], {"nobody listens"}))
def test_a_path_without_a_listening_socket_accepts_nobody(shared_faulty: FaultyDaemon, place: Path, what: str) -> None:
    path = place / "socket"
    if what == "a file":
        path.write_text(ACCEPT.replace("<NAME>", OWNER))
    elif what == "a folder":
        path.mkdir()
    elif what == "nobody listens":
        Impostor(str(path), saying([ACCEPT])).close()
    shared_faulty.accepts_nobody(f"in place of the socket: {what}", found=[shared_faulty.by_pam(path=path)])
