"""The block of voiceauth in a PAM file: its text, and how to insert, find and remove it without a trace."""

from __future__ import annotations

import re
from typing import NamedTuple

from voiceauthd.client.pam_arguments import MAX_TIMEOUT, MIN_TIMEOUT, POLICIES
from voiceauthd.errors import UsageError
from voiceauthd.login.pamfile import Entry, lines_of, parse, refusal

BEGIN = "# voiceauth begin:"
END = "# voiceauth end"

HELPER = "voiceauth-pam"

_PAM_EXEC_OPTIONS = ("quiet", "stdout", "seteuid")
"""quiet: pam_exec does not report a failed command. stdout: the command's output is shown. seteuid: the command runs
with the effective uid of the calling program, not with the uid of the user who started that program."""

_SUFFICIENT_ACTIONS = {"success": "done", "new_authtok_reqd": "done", "default": "ignore"}
_TOGETHER_ACTIONS = {"success": "ignore", "default": "1"}

_PATH = re.compile(r"/[A-Za-z0-9_.+@/-]+\Z")
_MODULE = re.compile(r"(/[A-Za-z0-9_.+/-]*/)?pam_[A-Za-z0-9_-]+\.so\Z")
_WORD = re.compile(r"[A-Za-z0-9_.,:=@%/+~-]+\Z")
_SECONDS = re.compile(r"[0-9]{1,2}(\.[0-9]{1,3})?\Z")

MAX_MODULE_LENGTH = 400
"""Maximum characters of a module and its arguments; keeps the line far below PAM's limit."""


class Block(NamedTuple):
    """How a service uses a voice.

    helper      the command that PAM runs, an absolute path
    module      a PAM module with its arguments that must succeed as well; "" if the voice is enough
    allow_root  whether the helper also accepts root's own voice, and services that grant root
    timeout     seconds, or "" for the helper's default
    policy      the daemon's policy, or "" for the helper's default
    """

    helper: str
    module: str = ""
    allow_root: bool = False
    timeout: str = ""
    policy: str = ""

    def lines(self) -> list[str]:
        """Return the lines for PAM. Raises `UsageError` if a value cannot be written into a PAM file."""
        self._check()
        words = [*_PAM_EXEC_OPTIONS, self.helper]
        words += ["--allow-root"] if self.allow_root else []
        words += ["--timeout", self.timeout] if self.timeout else []
        words += ["--policy", self.policy] if self.policy else []
        control = "[success=ignore default=1]" if self.module else "sufficient"
        lines = [f"auth {control} pam_exec.so {' '.join(words)}"]
        return [*lines, f"auth sufficient {self.module}"] if self.module else lines

    def text(self, service: str) -> str:
        """Return the whole block, with comments that say what it is and how to remove it."""
        lines = self.lines()
        comments = [f"{BEGIN} written by `voiceauth pam install`; `voiceauth pam remove {service}` removes it"]
        if self.module:
            module = self.module.split()[0]
            comments += [f"# The voice and {module} together replace the password; neither is enough alone."]
        elif self.allow_root:
            comments += ["# The voice alone is enough here, also for root. A good recording of it is accepted, too."]
        else:
            comments += ["# The voice replaces the password, but not for root."]
        return "".join(f"{line}\n" for line in [*comments, *lines, END])

    def summary(self) -> str:
        """Return what grants access, in one phrase."""
        if self.module:
            return f"the voice and {self.module.split()[0]} together"
        return "the voice alone, also for root" if self.allow_root else "the voice, but not for root"

    def _check(self) -> None:
        if not _PATH.match(self.helper) or "/../" in self.helper:
            raise UsageError(f"the helper must be an absolute path without special characters, not {self.helper!r}")
        if self.module:
            name, *arguments = self.module.split(" ")
            if not _MODULE.match(name) or not all(_WORD.match(word) for word in arguments):
                raise UsageError(f"{self.module!r} is not a PAM module such as pam_u2f.so or 'pam_u2f.so cue'")
            if len(self.module) > MAX_MODULE_LENGTH:
                raise UsageError(f"the module and its arguments are longer than {MAX_MODULE_LENGTH} characters")
        if self.timeout and not (_SECONDS.match(self.timeout) and MIN_TIMEOUT <= float(self.timeout) <= MAX_TIMEOUT):
            raise UsageError(f"the timeout must be {MIN_TIMEOUT:g} to {MAX_TIMEOUT:g} seconds, not {self.timeout!r}")
        if self.policy and self.policy not in POLICIES:
            raise UsageError(f"the policy must be one of {', '.join(POLICIES)}, not {self.policy!r}")


class FoundBlock(NamedTuple):
    """A block in a text. `first`, `last`: indices of its first and last lines."""

    first: int
    last: int
    block: Block


def find(text: str, name: str) -> FoundBlock | None:
    """Return the block in the text of file `name`; None if there is none. Raises `StorageError` if there are two, or
    one that was edited by hand, which must also be removed by hand."""
    lines = lines_of(text)
    begins = [index for index, line in enumerate(lines) if line.startswith(BEGIN)]
    ends = [index for index, line in enumerate(lines) if line == f"{END}\n"]
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        raise refusal(name, (begins or ends)[0] + 1, "begins or ends an incomplete block of voiceauth")
    first, last = begins[0], ends[0]
    entries = [entry for entry in parse(text, name) if first < entry.first < last]
    block = _read(entries)
    if block is None or any(entry.last >= last for entry in entries):
        raise refusal(name, first + 1, "begins a block of voiceauth that was edited by hand: remove it by hand")
    return FoundBlock(first, last, block)


def runs_helper(entry: Entry) -> bool:
    """Whether the line runs the helper of voiceauth."""
    return entry.bare == "pam_exec" and any(word.rpartition("/")[2] == HELPER for word in entry.arguments)


def without_block(text: str, found: FoundBlock) -> str:
    """Return the text as it was before the block was inserted."""
    lines = lines_of(text)
    return "".join(lines[: found.first] + lines[found.last + 1 :])


def with_block(text: str, at: int, block: Block, service: str) -> str:
    """Return the text with the block inserted before the line with index `at`."""
    lines = lines_of(text)
    return "".join([*lines[:at], block.text(service), *lines[at:]])


def _read(entries: list[Entry]) -> Block | None:
    """Return the block that these lines were made from; None if no block gives these lines."""
    if not entries or len(entries) > 2:
        return None
    first, module = entries[0], ""
    if len(entries) == 2:
        module = " ".join([entries[1].module, *entries[1].arguments])
        if entries[1].type != "auth" or entries[1].actions != _SUFFICIENT_ACTIONS:
            return None
    expected = _TOGETHER_ACTIONS if module else _SUFFICIENT_ACTIONS
    words = list(first.arguments)
    if first.type != "auth" or first.module != "pam_exec.so" or first.actions != expected:
        return None
    if words[: len(_PAM_EXEC_OPTIONS)] != list(_PAM_EXEC_OPTIONS) or len(words) <= len(_PAM_EXEC_OPTIONS):
        return None
    block = Block(words[len(_PAM_EXEC_OPTIONS)], module)
    options = words[len(_PAM_EXEC_OPTIONS) + 1 :]
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
