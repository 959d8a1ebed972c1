"""Rules for the source: which package may import which, the length of files, and calls that are forbidden.

`make lint` runs mypy and ruff; this file does not.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "daemon" / "voiceauthd"

MAX_LINES = 400

AUDIO_PACKAGES = ("audio", "speech", "embed", "profiles", "scoring", "tracking", "pipeline", "evaluation")
"""The packages on the path of the audio. Each may import those before it."""

FOR_ALL = {"errors", "config", "atomic_file", "users"}

BELOW_COMMANDS = {*AUDIO_PACKAGES, *FOR_ALL, "audit", "protocol", "client", "login", "server", "service", "terminal"}
"""What `bench`, `doctor`, `demo`, `setup` and the command may import."""

MAY_IMPORT = {
    "": set[str](),  # the package itself
    "errors": set[str](),
    "atomic_file": set[str](),
    "users": set[str](),
    "config": {"errors", "atomic_file"},
    **{package: {*AUDIO_PACKAGES[:place], *FOR_ALL} for place, package in enumerate(AUDIO_PACKAGES)},
    "audit": {"errors", "atomic_file"},
    "protocol": {"errors"},
    "client": {"protocol", "errors"},
    "login": {"client", "protocol", "errors", "atomic_file"},
    "server": {*FOR_ALL, "protocol"},
    "service": {*AUDIO_PACKAGES, *FOR_ALL, "audit", "protocol", "server"},
    "terminal": {"audio", "embed", "profiles", *FOR_ALL, "audit", "protocol", "client"},
    **{package: {*BELOW_COMMANDS} for package in ("bench", "doctor")},
    "backup": {"embed", "profiles", "scoring", *FOR_ALL, "audit", "service", "terminal"},
    "demo": {*BELOW_COMMANDS, "bench"},
    "manuals": {"errors", "terminal"},
    "setup": {*BELOW_COMMANDS, "doctor"},
    "cli": {*BELOW_COMMANDS, "backup", "bench", "doctor", "demo", "manuals", "setup"},
}
"""What each package may import, besides itself and the version of `voiceauthd`."""

STANDARD_LIBRARY_ONLY = {"", "errors", "atomic_file", "users", "audit", "protocol", "client"}

UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}

SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def package_of(module: str) -> str:
    """Return "audio" for "voiceauthd.audio.block"."""
    return module.split(".")[1] if "." in module else ""


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), name_of(file))


def dotted(node: ast.AST) -> str:
    """Return an expression as a name such as "torch.load"; "" if it is not a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield every module that `tree` imports, with its line: also inside functions, and by a name in a string.

    The names of relative imports begin with a dot.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            # `from voiceauthd import client` imports a package, `from voiceauthd import __version__` does not.
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
    """Return what `tree`, as the content of `file`, imports and must not."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    package = "" if parts == ("__init__",) else parts[0]
    known = package in MAY_IMPORT
    problems = [] if known else [f"{name_of(file)}: no rule says what the package {package!r} may import"]
    for module, line in imports(tree):
        top = module.split(".")[0]
        # The command imports its subcommands from a table, which `test_every_command_is_in_the_package_cli` checks.
        if module == "computed":
            wrong = file != PACKAGE / "cli" / "main.py"
        elif module.startswith("."):  # it hides which package it means
            wrong = True
        elif top == "voiceauthd":
            wrong = package_of(module) not in {package, "", *MAY_IMPORT.get(package, set())}
        else:
            wrong = package in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names
        if wrong:
            problems.append(f"{name_of(file)}:{line}: {package or 'voiceauthd'} must not import {module}")
    return problems


def unsafe_calls(file: Path, tree: ast.Module) -> list[str]:
    """Return the imports and calls that turn data into code."""
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


@cache
def functions_of(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return all functions in a file, methods and nested functions included."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def asserting_names(trees: list[ast.Module]) -> set[str]:
    """Return the functions that assert something, directly or by calling another of these functions."""
    bodies = {function.name: function for tree in trees for function in functions_of(tree)}
    found: set[str] = set()
    while True:
        more = {name for name, body in bodies.items() if name not in found and asserts(body, found)}
        if not more:
            return found
        found |= more


@cache
def asserting_helpers() -> frozenset[str]:
    """Return the functions in the tests' helper files that assert something."""
    return frozenset(asserting_names([parsed(file) for file in TESTS if not file.name.startswith("test_")]))


@cache
def assertions_and_calls(function: ast.AST) -> tuple[bool, frozenset[str]]:
    """Return whether a function itself asserts something, and the names that it calls, without their modules."""
    nodes = [node for node in ast.walk(function) if isinstance(node, ast.Assert | ast.Call)]
    called = {dotted(node.func) for node in nodes if isinstance(node, ast.Call)}
    checks = not called.isdisjoint({"pytest.raises", "pytest.warns", "pytest.fail"})
    asserts_itself = checks or any(isinstance(node, ast.Assert) for node in nodes)
    return asserts_itself, frozenset(name.split(".")[-1] for name in called)


def asserts(function: ast.AST, helpers: Set[str]) -> bool:
    """Whether a function asserts something, itself or by calling one of `helpers`."""
    asserts_itself, called = assertions_and_calls(function)
    return asserts_itself or not called.isdisjoint(helpers)


def test_a_package_imports_only_what_is_below_it() -> None:
    assert len(SOURCES) > 100
    assert [problem for file in SOURCES for problem in import_problems(file, parsed(file))] == []


@pytest.mark.parametrize(
    ("place", "line", "allowed"),
    [
        ("audio/x.py", "from voiceauthd.audio.block import Block", True),
        ("audio/x.py", "from voiceauthd.speech.window import Window", False),
        ("audio/x.py", "from .block import Block", False),
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
def test_the_import_rule_finds_violations(place: str, line: str, allowed: bool) -> None:
    assert (import_problems(PACKAGE / place, ast.parse(line)) == []) is allowed


def test_no_file_is_too_long_to_be_read() -> None:
    files = [*SOURCES, *TESTS, *sorted((ROOT / "benchmarks").rglob("*.py"))]
    lengths = {name_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert [f"{name}: {length} lines" for name, length in lengths.items() if length > MAX_LINES] == []


def test_nothing_turns_data_into_code() -> None:
    assert [problem for file in SOURCES for problem in unsafe_calls(file, parsed(file))] == []


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
def test_the_rule_finds_what_turns_data_into_code(line: str, allowed: bool) -> None:
    assert (unsafe_calls(PACKAGE / "x.py", ast.parse(line)) == []) is allowed


def without_assertion(file: Path, tree: ast.Module) -> list[str]:
    """Return the tests in a file that assert nothing, with file and line."""
    helpers = asserting_helpers() | asserting_names([tree])
    return [
        f"{name_of(file)}:{function.lineno}: {function.name}"
        for function in functions_of(tree)
        if function.name.startswith("test_") and not asserts(function, helpers - {function.name})
    ]


def test_every_test_asserts_something() -> None:
    files = [file for file in TESTS if file.name.startswith("test_")]
    assert len(files) > 100
    assert [problem for file in files for problem in without_assertion(file, parsed(file))] == []
    silent = ast.parse("def test_silent():\n    pass")
    assert without_assertion(Path(__file__), silent) == [f"{name_of(Path(__file__))}:1: test_silent"]


def test_every_test_file_has_a_name_of_its_own() -> None:
    # pytest loads each conftest.py by its path.
    names = [file.name for file in TESTS if file.name != "conftest.py"]
    assert sorted(names) == sorted(set(names)), "pytest tells test files outside packages apart by their names"


def test_every_command_is_in_the_package_cli() -> None:
    from voiceauthd.cli.manual import COMMANDS

    assert {entry.module.rpartition(".")[0] for entry in COMMANDS} == {"voiceauthd.cli"}


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after `code`."""
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
        "; ".join(
            f"import voiceauthd.{package}.{file.stem}"
            for package in ("client", "protocol")
            for file in sorted((PACKAGE / package).glob("*.py"))
            if not file.stem.startswith("__")
        ),
    ],
    ids=["the client", "the command", "the help", "every module of client and protocol"],
)
def test_a_client_loads_neither_torch_nor_numpy_nor_yaml(code: str) -> None:
    loaded = loaded_by(code)
    assert "voiceauthd" in loaded
    assert not loaded & {"torch", "numpy", "yaml", "transformers", "sounddevice", "soundfile"}
