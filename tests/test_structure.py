"""The shape of the source: who may import whom, how long a file may be, what no file may contain.

mypy and ruff are run by `make lint`, not here.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "daemon" / "voiceauthd"

MAX_LINES = 400

SOUND = ("audio", "speech", "embed", "profiles", "scoring", "tracking", "pipeline", "evaluation")
"""Each may import those before it."""

FOR_ALL = {"errors", "config"}

BELOW_COMMANDS = {*SOUND, *FOR_ALL, "audit", "protocol", "client", "login", "server", "service", "terminal"}
"""What measures, checks and shows the whole, and the command itself, stand on all of it."""

MAY_IMPORT = {
    "": set[str](),  # the package itself
    "errors": set[str](),
    "config": {"errors"},
    **{room: {*SOUND[:place], *FOR_ALL} for place, room in enumerate(SOUND)},
    "audit": {"errors"},
    "protocol": {"errors"},
    "client": {"protocol", "errors"},
    "login": {"client", "protocol", "errors"},
    "server": {*FOR_ALL, "protocol"},
    "service": {*SOUND, *FOR_ALL, "audit", "protocol", "server"},
    "terminal": {"audio", *FOR_ALL, "protocol", "client"},
    **{room: {*BELOW_COMMANDS} for room in ("bench", "doctor")},
    "demo": {*BELOW_COMMANDS, "bench"},
    "cli": {*BELOW_COMMANDS, "bench", "doctor", "demo"},
}
"""Besides itself, and the package for its version."""

STANDARD_LIBRARY_ONLY = {"", "errors", "audit", "protocol", "client"}

UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}

SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def room_of(module: str) -> str:
    """The room of "voiceauthd.audio.block": "audio"."""
    return module.split(".")[1] if "." in module else ""


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), name_of(file))


def dotted(node: ast.AST) -> str:
    """The name "torch.load" of an expression; "" for one that is no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every module that `tree` imports, with its line: also inside functions, and by a name in a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides which room it means"
            base = node.module or ""
            # `from voiceauthd import client` imports a room, and `from voiceauthd import __version__` none.
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "voiceauthd" else [base]
            yield from ((name, node.lineno) for name in names if not name.endswith("__"))
        elif isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            yield (str(first.value) if isinstance(first, ast.Constant) else "computed"), node.lineno


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def has_keyword(call: ast.Call, name: str, value: object) -> bool:
    return any(
        word.arg == name and isinstance(word.value, ast.Constant) and word.value.value is value
        for word in call.keywords
    )


def import_problems(file: Path, tree: ast.Module) -> list[str]:
    """What `tree`, as the content of `file`, imports and must not."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    room = "" if parts == ("__init__",) else parts[0]
    problems = [] if room in MAY_IMPORT else [f"{room}: no rule says what this room may import"]
    for module, line in imports(tree):
        top = module.split(".")[0]
        # The command finds its sub-commands in a table, which `test_every_command_is_in_its_room` looks at.
        if module == "computed":
            wrong = file != PACKAGE / "cli" / "main.py"
        elif top == "voiceauthd":
            wrong = room_of(module) not in {room, "", *MAY_IMPORT.get(room, set())}
        else:
            wrong = room in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names
        if wrong:
            problems.append(f"{name_of(file)}:{line}: {room} must not import {module}")
    return problems


def forbidden(file: Path, tree: ast.Module) -> list[str]:
    """What turns data into code."""
    found = [(module, line) for module, line in imports(tree) if module.split(".")[0] in UNPICKLERS]
    if only_catches_its_error(tree):
        found = [(module, line) for module, line in found if module != "pickle"]
    for name, call in calls(tree):
        bare = name in ("eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load")
        loads = name == "torch.load" and not has_keyword(call, "weights_only", True)
        unpickles = has_keyword(call, "allow_pickle", True) or has_keyword(call, "weights_only", False)
        if bare or loads or unpickles or has_keyword(call, "shell", True):
            found.append((name, call.lineno))
    return [f"{name_of(file)}:{line}: {name}" for name, line in found]


def only_catches_its_error(tree: ast.Module) -> bool:
    """Whether `pickle` is imported under its name, for the error that `torch.load` raises and for nothing else."""
    nodes = list(ast.walk(tree))
    others = any(isinstance(node, ast.ImportFrom) and node.module == "pickle" for node in nodes)
    renamed = any(isinstance(node, ast.alias) and node.name == "pickle" and node.asname for node in nodes)
    uses = sum(isinstance(node, ast.Name) and node.id == "pickle" for node in nodes)
    errors = sum(isinstance(node, ast.Attribute) and dotted(node) == "pickle.UnpicklingError" for node in nodes)
    return not others and not renamed and 0 < uses == errors


def asserting_names(trees: list[ast.Module]) -> set[str]:
    """Functions that assert something, themselves or through another of these functions."""
    bodies = {
        node.name: node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    found: set[str] = set()
    while True:
        more = {name for name, body in bodies.items() if name not in found and asserts(body, found)}
        if not more:
            return found
        found |= more


def asserts(function: ast.AST, helpers: set[str]) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in ("pytest.raises", "pytest.warns", "pytest.fail") or name.split(".")[-1] in helpers:
                return True
    return False


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_a_room_imports_only_what_it_stands_on(file: Path) -> None:
    assert import_problems(file, parsed(file)) == []


@pytest.mark.parametrize(
    ("place", "line", "allowed"),
    [
        ("audio/x.py", "from voiceauthd.audio.block import Block", True),
        ("audio/x.py", "from voiceauthd.speech.window import Window", False),
        ("speech/x.py", "import voiceauthd.audio.block", True),
        ("scoring/x.py", "def f():\n    from voiceauthd.pipeline import live", False),
        ("scoring/x.py", "from voiceauthd import pipeline", False),
        ("scoring/x.py", "from voiceauthd import __version__", True),
        ("pipeline/x.py", "import importlib\nimportlib.import_module('voiceauthd.service.main')", False),
        ("pipeline/x.py", "from voiceauthd.protocol.wire import Message", False),
        ("server/x.py", "from voiceauthd.protocol.wire import Message", True),
        ("server/x.py", "from voiceauthd.service.methods import Methods", False),
        ("server/x.py", "from voiceauthd.pipeline.live import Live", False),
        ("service/x.py", "from voiceauthd.client import Client", False),
        ("service/x.py", "from voiceauthd.cli.main import main", False),
        ("service/x.py", "from voiceauthd.protocol.wire import Message", True),
        ("client/x.py", "import numpy", False),
        ("client/x.py", "import json, voiceauthd.errors", True),
        ("client/x.py", "from voiceauthd.config.schema import Config", False),
        ("protocol/x.py", "def f():\n    import msgspec", False),
        ("errors.py", "from voiceauthd.config.schema import Config", False),
        ("cli/x.py", "import importlib\nimportlib.import_module(name)", False),
        ("attic/x.py", "", False),
    ],
)
def test_the_import_rule_sees_what_breaks_it(place: str, line: str, allowed: bool) -> None:
    assert (import_problems(PACKAGE / place, ast.parse(line)) == []) is allowed


@pytest.mark.parametrize("file", [*SOURCES, *TESTS, *sorted((ROOT / "benchmarks").rglob("*.py"))], ids=name_of)
def test_no_file_is_too_long_to_be_read(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_nothing_turns_data_into_code(file: Path) -> None:
    assert forbidden(file, parsed(file)) == []


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("import pickle", False),
        ("from pickle import loads", False),
        ("import pickle as p\np.loads(data)", False),
        ("import pickle\ntry: pickle.loads(data)\nexcept pickle.UnpicklingError: pass", False),
        ("import pickle\ntorch.load(file, weights_only=True, pickle_module=pickle)", False),
        ("import pickle\ntry: f()\nexcept pickle.UnpicklingError: pass", True),
        ("eval('1')", False),
        ("model.eval()", True),
        ("exec(code)", False),
        ("torch.load(file)", False),
        ("torch.load(file, weights_only=False)", False),
        ("torch.load(file, weights_only=True)", True),
        ("np.load(file, allow_pickle=True)", False),
        ("subprocess.run(line, shell=True)", False),
        ("yaml.load(text)", False),
    ],
)
def test_the_rule_sees_what_turns_data_into_code(line: str, allowed: bool) -> None:
    assert (forbidden(PACKAGE / "x.py", ast.parse(line)) == []) is allowed


@pytest.mark.parametrize("file", [file for file in TESTS if file.name.startswith("test_")], ids=name_of)
def test_every_test_asserts_something(file: Path) -> None:
    helpers = asserting_names([parsed(other) for other in TESTS if not other.name.startswith("test_")])
    helpers |= asserting_names([parsed(file)])
    idle = [
        f"{name_of(file)}:{node.lineno}: {node.name}"
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not asserts(node, helpers - {node.name})
    ]
    assert idle == []


def test_test_files_have_names_of_their_own() -> None:
    # pytest loads each conftest.py by its path.
    names = [file.name for file in TESTS if file.name != "conftest.py"]
    assert sorted(names) == sorted(set(names)), "tests without packages are told apart by their file names"


def test_every_command_is_in_its_room() -> None:
    from voiceauthd.cli.manual import COMMANDS

    assert {entry.module.rpartition(".")[0] for entry in COMMANDS} == {"voiceauthd.cli"}


def loaded_by(code: str) -> set[str]:
    """The top modules that a fresh interpreter has loaded after `code`."""
    program = f"{code}\nimport sys; sys.stderr.write(' '.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return {module.split(".")[0] for module in ended.stderr.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import voiceauthd.client",
        "import voiceauthd.cli.main",
        "from voiceauthd.cli.main import main; assert main(['--help']) == 0",
        *(
            f"import voiceauthd.{room}.{file.stem}"
            for room in ("client", "protocol")
            for file in sorted((PACKAGE / room).glob("*.py"))
            if not file.stem.startswith("__")
        ),
    ],
)
def test_a_client_loads_neither_torch_nor_numpy_nor_yaml(code: str) -> None:
    loaded = loaded_by(code)
    assert "voiceauthd" in loaded
    assert not loaded & {"torch", "numpy", "yaml", "transformers", "sounddevice", "soundfile"}
