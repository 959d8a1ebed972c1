"""Our block in a file of PAM's: what it says, how it goes in, and how it comes out again without a trace."""

from __future__ import annotations

import re
from typing import NamedTuple

from voiceauthd.client.pam_arguments import LONGEST, POLICIES, SHORTEST
from voiceauthd.errors import UsageError
from voiceauthd.login.pamfile import Entry, lines_of, parse, refusal

BEGIN = "# voiceauth begin:"
END = "# voiceauth end"

HELPER = "voiceauth-pam"

_EXEC = ("quiet", "stdout", "seteuid")
"""quiet: pam_exec itself does not say that a command failed. stdout: what the command says is shown. seteuid: it runs
as the program that asks, not as whoever started that."""

_ALONE = {"success": "done", "new_authtok_reqd": "done", "default": "ignore"}
_TOGETHER = {"success": "ignore", "default": "1"}

_PATH = re.compile(r"/[A-Za-z0-9_.+@/-]+\Z")
_MODULE = re.compile(r"(/[A-Za-z0-9_.+/-]*/)?pam_[A-Za-z0-9_-]+\.so\Z")
_WORD = re.compile(r"[A-Za-z0-9_.,:=@%/+~-]+\Z")
_SECONDS = re.compile(r"[0-9]{1,2}(\.[0-9]{1,3})?\Z")

MAX_WORDS = 400
"""Bytes of a module and its arguments: the line stays far below what PAM reads."""


class Block(NamedTuple):
    """What a service is to do with a voice.

    helper      the command that PAM runs, an absolute path
    module      a PAM module with its arguments that must agree with the voice; "" if the voice is enough
    allow_root  the helper also takes root's own voice, and services that give root
    timeout     seconds, or "" for the helper's own default
    policy      the daemon's, or "" for the helper's own default
    """

    helper: str
    module: str = ""
    allow_root: bool = False
    timeout: str = ""
    policy: str = ""

    def lines(self) -> list[str]:
        """The lines for PAM. Raises `UsageError` for what cannot be written into its file."""
        self._check()
        words = [*_EXEC, self.helper]
        words += ["--allow-root"] if self.allow_root else []
        words += ["--timeout", self.timeout] if self.timeout else []
        words += ["--policy", self.policy] if self.policy else []
        control = "[success=ignore default=1]" if self.module else "sufficient"
        lines = [f"auth {control} pam_exec.so {' '.join(words)}"]
        return [*lines, f"auth sufficient {self.module}"] if self.module else lines

    def text(self, service: str) -> str:
        """The whole block, with the comments that say what it is and how it goes away."""
        lines = self.lines()
        told = [f"{BEGIN} made by `voiceauth pam install`; `voiceauth pam remove {service}` takes it away"]
        if self.module:
            told += [f"# The voice and {self.module.split()[0]} together stand for the password; neither does alone."]
        elif self.allow_root:
            told += ["# The voice alone is enough here, for root, too. A good recording of it is taken for it."]
        else:
            told += ["# The voice stands for the password, but not for root's."]
        return "".join(f"{line}\n" for line in [*told, *lines, END])

    def how(self) -> str:
        """What lets people in, in one phrase."""
        if self.module:
            return f"the voice and {self.module.split()[0]} together"
        return "the voice alone, for root, too" if self.allow_root else "the voice, but not for root"

    def _check(self) -> None:
        if not _PATH.match(self.helper) or "/../" in self.helper:
            raise UsageError(f"the helper must be an absolute path of plain characters, not {self.helper!r}")
        if self.module:
            name, *arguments = self.module.split(" ")
            if not _MODULE.match(name) or not all(_WORD.match(word) for word in arguments):
                raise UsageError(f"{self.module!r} is no module of PAM's, such as pam_u2f.so or 'pam_u2f.so cue'")
            if len(self.module) > MAX_WORDS:
                raise UsageError(f"the module and its arguments are longer than {MAX_WORDS} bytes")
        if self.timeout and not (_SECONDS.match(self.timeout) and SHORTEST <= float(self.timeout) <= LONGEST):
            raise UsageError(f"the timeout is from {SHORTEST:g} to {LONGEST:g} seconds, not {self.timeout!r}")
        if self.policy and self.policy not in POLICIES:
            raise UsageError(f"the policy is one of {', '.join(POLICIES)}, not {self.policy!r}")


class Found(NamedTuple):
    """A block in a text: its first and its last line, as indices, and what it says."""

    first: int
    last: int
    block: Block


def find(text: str, name: str) -> Found | None:
    """Our block in the text of file `name`. Raises `StorageError` if there are two, or one that is not as we made it:
    who has changed it by hand shall also take it away by hand."""
    lines = lines_of(text)
    begins = [at for at, line in enumerate(lines) if line.startswith(BEGIN)]
    ends = [at for at, line in enumerate(lines) if line == f"{END}\n"]
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        raise refusal(name, (begins or ends)[0] + 1, "begins or ends a block of voiceauth that is not whole")
    first, last = begins[0], ends[0]
    entries = [entry for entry in parse(text, name) if first < entry.first < last]
    block = _read(entries)
    if block is None or any(entry.last >= last for entry in entries):
        raise refusal(name, first + 1, "begins a block of voiceauth that was changed by hand: take it away by hand")
    return Found(first, last, block)


def is_ours(entry: Entry) -> bool:
    """The line runs our helper."""
    return entry.bare == "pam_exec" and any(word.rpartition("/")[2] == HELPER for word in entry.arguments)


def without(text: str, found: Found) -> str:
    """The text of before the block."""
    lines = lines_of(text)
    return "".join(lines[: found.first] + lines[found.last + 1 :])


def with_block(text: str, at: int, block: Block, service: str) -> str:
    """The text with the block before line `at`, an index."""
    lines = lines_of(text)
    return "".join([*lines[:at], block.text(service), *lines[at:]])


def _read(entries: list[Entry]) -> Block | None:
    """The block that these lines were made from; None if there is none."""
    if not entries or len(entries) > 2:
        return None
    first, module = entries[0], ""
    if len(entries) == 2:
        module = " ".join([entries[1].module, *entries[1].arguments])
        if entries[1].type != "auth" or entries[1].actions != _ALONE:
            return None
    expected = _TOGETHER if module else _ALONE
    words = list(first.arguments)
    if first.type != "auth" or first.module != "pam_exec.so" or first.actions != expected:
        return None
    if words[: len(_EXEC)] != list(_EXEC) or len(words) <= len(_EXEC):
        return None
    block = Block(words[len(_EXEC)], module)
    options = words[len(_EXEC) + 1 :]
    while options:
        option = options.pop(0)
        if option == "--allow-root":
            block = block._replace(allow_root=True)
        elif option in {"--timeout", "--policy"} and options:
            value = options.pop(0)
            block = block._replace(timeout=value) if option == "--timeout" else block._replace(policy=value)
        else:
            return None
    try:
        block.lines()
    except UsageError:
        return None
    return block
