"""The audit log: who did what, in lines that are chained by their hashes. See docs/audit.md."""

from __future__ import annotations

import threading
from pathlib import Path

from voiceauthd.audit.chain import Chain
from voiceauthd.audit.files import storage_error
from voiceauthd.audit.line import Entry

__all__ = ["AuditLog", "Entry"]


class AuditLog:
    """Writes the log in `folder`. Safe to use from several threads; one process at a time.

    After a failure everything is opened again at the next line: the log goes on as soon as it can.
    """

    def __init__(self, folder: Path, size: int, files: int) -> None:
        """size: bytes of one file. files: that are kept. Both may be changed, and hold from the next line on."""
        self.folder = folder
        self.size = size
        self.files = files
        self._mutex = threading.Lock()
        self._chain: Chain | None = None

    def open(self) -> None:
        """Takes the lock and finds the end of the log; makes an empty one if there is none. Raises `StorageError`."""
        with self._mutex:
            self._opened()

    def write(self, entry: Entry) -> None:
        """Appends a line and waits until it is on the disk. Raises `StorageError`; the line may then be there or not,
        and the chain is whole."""
        with self._mutex:
            chain = self._opened()
            try:
                chain.append(entry, self.size, self.files)
            except OSError as error:
                self._drop()
                raise storage_error(self.folder, error) from error
            except BaseException:
                self._drop()
                raise

    def end(self) -> tuple[int, str, str | None]:
        """Number and hash of the last line, and what was found to be done to the log and is not yet written in it.
        Raises `StorageError`."""
        with self._mutex:
            chain = self._opened()
            return chain.seq, chain.hash, chain.damage

    def close(self) -> None:
        """Gives the log to whoever comes next."""
        with self._mutex:
            self._drop()

    def _opened(self) -> Chain:
        if self._chain is None:
            try:
                self._chain = Chain(self.folder)
            except OSError as error:
                raise storage_error(self.folder, error) from error
        return self._chain

    def _drop(self) -> None:
        if self._chain is not None:
            self._chain.close()
            self._chain = None
