"""Fresh stacks for PortAudio's threads, which read a variable that they never wrote.

PortAudio 19.6 has an ALSA thread that looks at an uninitialised variable when its device vanishes before the first
sound (`framesAvail`, PaAlsaStream_WaitForFrames). If it is not 0 the thread loops for ever, takes a processor, writes a
hundred thousand lines a second to standard error, and cannot be ended. On a fresh stack the variable is 0. glibc gives
new threads the stacks of ended ones, with what those left behind, wherever the size fits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

STACK = 48 * 1024 * 1024
"""Bytes of address space, of which only what is touched takes memory. glibc keeps 40 MiB of stacks for reuse, so it has
none of this size, and keeps none."""

_ATTRIBUTES = 64
"""Bytes; more than a pthread_attr_t has on any machine (56 on 64 bits)."""


@contextmanager
def fresh_stacks() -> Iterator[None]:
    """Threads that are started in here, with no size of their own, get a stack that nobody used before.

    Does nothing where the C library is not glibc: the flaw is in the ALSA part, and musl keeps no stacks.
    """
    library = ctypes.CDLL(None)
    usual, larger = (ctypes.create_string_buffer(_ATTRIBUTES) for _ in range(2))
    if not hasattr(library, "pthread_setattr_default_np") or library.pthread_getattr_default_np(usual) != 0:
        yield
        return
    library.pthread_getattr_default_np(larger)
    library.pthread_attr_setstacksize(larger, ctypes.c_size_t(STACK))
    library.pthread_setattr_default_np(larger)
    try:
        yield
    finally:
        library.pthread_setattr_default_np(usual)
