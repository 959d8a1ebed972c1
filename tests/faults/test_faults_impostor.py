"""Somebody else's socket in the place of the daemon's: who answers is looked at before what is answered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_impostor import Impostor, saying
from fault_parts import OTHER_UID, OWNER, House, new_folder, some

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
    """A folder of root's, where a daemon's socket could be."""
    folder = new_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def other_users(place: Path) -> Iterator[Callable[[Path], None]]:
    """Lets another user listen at a path, who accepts everybody."""
    if not PYTHON.exists():
        pytest.skip("needs the system's python3, for another user cannot run this one")
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


def test_roots_own_is_believed(shared_house: House, place: Path) -> None:
    """The control: what the impostors answer is what the helper wants to hear."""
    impostor = Impostor(str(place / "socket"), saying([ACCEPT]))
    assert shared_house.by_pam(path=place / "socket").accepted
    assert impostor.calls == 1
    impostor.close()


def in_its_own_folder(place: Path, listen: Callable[[Path], None]) -> Path:
    os.chown(place, OTHER_UID, OTHER_UID)
    listen(place / "socket")
    return place / "socket"


def in_roots_folder(place: Path, listen: Callable[[Path], None]) -> Path:
    """As if it had been there when the folder was given back to root."""
    path = in_its_own_folder(place, listen)
    os.chown(place, 0, 0)
    return path


def given_to_root(place: Path, listen: Callable[[Path], None]) -> Path:
    """The file is root's, and who listens is not."""
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
    """The daemon has died and left its socket; its folder was made carelessly."""
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


@pytest.mark.parametrize("way", some(WAYS, {in_its_own_folder, given_to_root, in_a_folder_for_all}))
def test_an_impostors_accept_lets_nobody_in(
    shared_house: House, place: Path, other_users: Callable[[Path], None], way: Callable[..., Path]
) -> None:
    path = way(place, other_users)
    found = shared_house.lets_nobody_in(
        f"an impostor's socket {way.__name__.replace('_', ' ')}", found=[shared_house.by_pam(path=path)]
    )
    assert found[0].seconds < 1.5, "it is seen at once"


@pytest.mark.parametrize("what", some(["a file", "a folder", "nothing", "nobody listens"], {"nobody listens"}))
def test_what_is_no_socket_lets_nobody_in(shared_house: House, place: Path, what: str) -> None:
    path = place / "socket"
    if what == "a file":
        path.write_text(ACCEPT.replace("<NAME>", OWNER))
    elif what == "a folder":
        path.mkdir()
    elif what == "nobody listens":
        Impostor(str(path), saying([ACCEPT])).close()
    shared_house.lets_nobody_in(f"in the socket's place: {what}", found=[shared_house.by_pam(path=path)])
