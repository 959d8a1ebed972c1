"""Check the password of an account with PAM, in this process, which must run as root to read /etc/shadow.

`pamela` is the interface to PAM. Its own `authenticate` also accepts a stack that never asks for the password, which
must not happen here: pam_rootok accepts root, which is the user of this process; a fingerprint or a voice may come
before the password; an account may have no password.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, NamedTuple, TypeAlias

import pamela

MAX_PASSWORD = 511
"""Bytes. PAM_MAX_RESP_SIZE of <security/_pam_types.h> without the final NUL: PAM's modules accept no longer answers."""

DISALLOW_NULL_AUTHTOK = 0x0001
"""PAM_DISALLOW_NULL_AUTHTOK: refuse accounts without a password."""

WRONG_PASSWORD_CODES = frozenset({6, 7, 8, 10, 11})
"""PAM_PERM_DENIED, PAM_AUTH_ERR, PAM_CRED_INSUFFICIENT, PAM_USER_UNKNOWN, PAM_MAXTRIES: the results of pam_authenticate
for a wrong password, or for too many tries."""

CONV_ERR = 19
"""PAM_CONV_ERR: the result of a conversation that cannot continue."""

Pointer: TypeAlias = Any
"""A ctypes pointer, whose target type mypy does not know."""


class Answer(Enum):
    RIGHT = auto()
    WRONG = auto()
    REFUSED = auto()  # the password was right, but the account may not be used: expired, locked, not at this time
    UNAVAILABLE = auto()  # PAM could not decide


class PamAnswer(NamedTuple):
    """PAM's answer, and its text for it."""

    answer: Answer
    text: str = ""


def ask_pam(service: str, user: str, password: str) -> PamAnswer:
    """Ask PAM whether `password` is that of the account `user`, by the stack of `service`. After a wrong password it
    waits as long as PAM's delay. Raises nothing; anything unexpected is UNAVAILABLE.
    """
    if not password or "\0" in password or len(password.encode(errors="replace")) > MAX_PASSWORD:
        return PamAnswer(Answer.WRONG)
    try:
        return _ask(service, user, password)
    except (pamela.PAMError, OSError, ValueError) as problem:
        return PamAnswer(Answer.UNAVAILABLE, type(problem).__name__)


def _ask(service: str, user: str, password: str) -> PamAnswer:
    prompts = 0
    give = pamela.new_simple_password_conv((password,), "utf-8")

    def converse(count: int, messages: Pointer, responses: Pointer, data: Pointer) -> int:
        nonlocal prompts
        try:
            styles = [messages[index].contents.msg_style for index in range(count)]
            prompts += styles.count(pamela.PAM_PROMPT_ECHO_OFF)
            return int(give(count, messages, responses, data))
        except Exception:  # noqa: BLE001 - ctypes would print it, and return success to PAM
            return CONV_ERR

    conversation = pamela.CONV_FUNC(converse)
    handle = pamela.pam_start(service, user, conv_func=conversation)
    code = -1
    try:
        code = pamela.PAM_AUTHENTICATE(handle, DISALLOW_NULL_AUTHTOK)
        if code != pamela.PAM_SUCCESS:
            return PamAnswer(
                Answer.WRONG if code in WRONG_PASSWORD_CODES else Answer.UNAVAILABLE,
                pamela.pam_strerror(handle, code),
            )
        if prompts != 1:
            return PamAnswer(Answer.UNAVAILABLE, f"/etc/pam.d/{service} grants access without the password")
        if handle.get_item(pamela.PAM_USER) != user:
            return PamAnswer(Answer.UNAVAILABLE, f"/etc/pam.d/{service} authenticates another user")
        code = pamela.PAM_ACCT_MGMT(handle, DISALLOW_NULL_AUTHTOK)
        if code != pamela.PAM_SUCCESS:
            return PamAnswer(Answer.REFUSED, pamela.pam_strerror(handle, code))
        return PamAnswer(Answer.RIGHT)
    finally:
        pamela.PAM_END(handle, code)
