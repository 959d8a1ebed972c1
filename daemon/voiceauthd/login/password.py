"""Is this the password of that account? PAM says, in this process, which must be root's to read the passwords' file.

`pamela` speaks to PAM. Its own `authenticate` would also be content with a stack that never asks for the password, and
this must not: pam_rootok lets root pass, and root is who asks; a finger or a voice may come before the password; an
account may have none.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, NamedTuple, TypeAlias

import pamela

MAX_PASSWORD = 511
"""Bytes. PAM_MAX_RESP_SIZE of <security/_pam_types.h> less the closing NUL: PAM's modules take no longer answers."""

DISALLOW_NULL_AUTHTOK = 0x0001
"""PAM_DISALLOW_NULL_AUTHTOK: an account without a password has none that could be right."""

WRONG = frozenset({6, 7, 8, 10, 11})
"""PAM_PERM_DENIED, PAM_AUTH_ERR, PAM_CRED_INSUFFICIENT, PAM_USER_UNKNOWN, PAM_MAXTRIES: the answers of pam_authenticate
to a password that is not right, or that came too often."""


CONV_ERR = 19
"""PAM_CONV_ERR: what a conversation returns that cannot go on."""

Pointer: TypeAlias = Any
"""Of ctypes, which does not tell its type checker what they point to."""


class Answer(Enum):
    RIGHT = auto()
    WRONG = auto()
    REFUSED = auto()  # the password was right, and the account may not be used: expired, locked, not now
    UNAVAILABLE = auto()  # PAM could not tell


class Said(NamedTuple):
    """What PAM answered, and its words for it."""

    answer: Answer
    text: str = ""


def ask_pam(service: str, user: str, password: str) -> Said:
    """Whether `password` opens the account `user`, by the stack of `service`. Waits as long as PAM makes a wrong
    password wait. Raises nothing; what is not foreseen is UNAVAILABLE.
    """
    if not password or "\0" in password or len(password.encode(errors="replace")) > MAX_PASSWORD:
        return Said(Answer.WRONG)
    try:
        return _ask(service, user, password)
    except (pamela.PAMError, OSError, ValueError) as problem:
        return Said(Answer.UNAVAILABLE, type(problem).__name__)


def _ask(service: str, user: str, password: str) -> Said:
    prompts = 0
    give = pamela.new_simple_password_conv((password,), "utf-8")

    def converse(count: int, messages: Pointer, responses: Pointer, data: Pointer) -> int:
        nonlocal prompts
        try:
            styles = [messages[index].contents.msg_style for index in range(count)]
            prompts += styles.count(pamela.PAM_PROMPT_ECHO_OFF)
            return int(give(count, messages, responses, data))
        except Exception:  # noqa: BLE001 - ctypes would print it, and answer PAM with success
            return CONV_ERR

    conversation = pamela.CONV_FUNC(converse)
    handle = pamela.pam_start(service, user, conv_func=conversation)
    code = -1
    try:
        code = pamela.PAM_AUTHENTICATE(handle, DISALLOW_NULL_AUTHTOK)
        if code != pamela.PAM_SUCCESS:
            return Said(Answer.WRONG if code in WRONG else Answer.UNAVAILABLE, pamela.pam_strerror(handle, code))
        if prompts != 1:
            return Said(Answer.UNAVAILABLE, f"/etc/pam.d/{service} lets in without the password")
        if handle.get_item(pamela.PAM_USER) != user:
            return Said(Answer.UNAVAILABLE, f"/etc/pam.d/{service} takes the user for another")
        code = pamela.PAM_ACCT_MGMT(handle, DISALLOW_NULL_AUTHTOK)
        if code != pamela.PAM_SUCCESS:
            return Said(Answer.REFUSED, pamela.pam_strerror(handle, code))
        return Said(Answer.RIGHT)
    finally:
        pamela.PAM_END(handle, code)
