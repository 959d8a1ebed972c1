"""Nonces that verifications have used: an answer is good for one request, so no two requests may share a nonce."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from voiceauthd.protocol.interface import MismatchError

REMEMBERED = 16_384
"""Nonces, of all users together: half a day of one user who verifies as often as the limit of tries allows, where an
answer is good for seconds. About 3 MB."""


class Nonces:
    """What was used, the latest last. Belongs to the event loop's thread; a restart forgets it, and ends every call."""

    def __init__(self) -> None:
        self._used: OrderedDict[bytes, None] = OrderedDict()

    def use(self, nonce: str | None) -> None:
        """Raises `MismatchError` for a nonce that was used before, whoever used it."""
        if nonce is None:
            return
        mark = hashlib.sha256(nonce.encode(errors="surrogatepass")).digest()  # a nonce may be long, this is not
        if mark in self._used:
            raise MismatchError("nonce", "was used before; take a new one for each call")
        self._used[mark] = None
        if len(self._used) > REMEMBERED:
            self._used.popitem(last=False)
