"""Fresh stacks for PortAudio's threads, which read an uninitialised variable.

The ALSA thread of PortAudio 19.6 reads an uninitialised variable when its device vanishes before the first frames
(`framesAvail`, PaAlsaStream_WaitForFrames). If it is not 0, the thread loops for ever, uses a whole processor, writes a
hundred thousand lines a second to standard error, and cannot be ended. On a fresh stack the variable is 0. But glibc
reuses the stacks of ended threads, with their contents, for new threads of the same size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

STACK_BYTES = 48 * 1024 * 1024
"""Address space of a stack; only the pages that are touched take memory. glibc keeps at most 40 MiB of stacks for
reuse, so it never keeps one of this size."""

ATTRIBUTES_BYTES = 64
"""More than the size of a pthread_attr_t on any machine (56 on 64 bits)."""


@contextmanager
def fresh_stacks() -> Iterator[None]:
    """Give threads that are started in this context, without a stack size of their own, a stack never used before.

    Does nothing where the C library is not glibc: the bug is in the ALSA part, and musl does not reuse stacks.
    """
    library = ctypes.CDLL(None)
    usual, larger = (ctypes.create_string_buffer(ATTRIBUTES_BYTES) for _ in range(2))
    if not hasattr(library, "pthread_setattr_default_np") or library.pthread_getattr_default_np(usual) != 0:
        yield
        return
    library.pthread_getattr_default_np(larger)
    library.pthread_attr_setstacksize(larger, ctypes.c_size_t(STACK_BYTES))
    library.pthread_setattr_default_np(larger)
    try:
        yield
    finally:
        library.pthread_setattr_default_np(usual)
