"""The nonces used by verifications: an answer is valid for one request, so no two requests may share a nonce."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from voiceauthd.protocol.interface import MismatchError

MAX_NONCES = 16_384
"""Nonces kept, of all users together: half a day of one user who verifies as often as the rate limit allows, while an
answer is valid for seconds. About 3 MB."""


class Nonces:
    """The used nonces, the latest last. For the event loop's thread. A restart forgets them, and ends every call."""

    def __init__(self) -> None:
        self._used: OrderedDict[bytes, None] = OrderedDict()

    def use(self, nonce: str | None) -> None:
        """Mark a nonce as used. Raises `MismatchError` if it was used before, by any user."""
        if nonce is None:
            return
        digest = hashlib.sha256(nonce.encode(errors="surrogatepass")).digest()  # a nonce may be long
        if digest in self._used:
            raise MismatchError("nonce", "was used before; take a new one for each call")
        self._used[digest] = None
        if len(self._used) > MAX_NONCES:
            self._used.popitem(last=False)
