"""The audit log: who did what, in lines chained by their hashes. See docs/audit.md."""

from __future__ import annotations

import threading
from pathlib import Path

from voiceauthd.audit.chain import Chain
from voiceauthd.audit.files import storage_error
from voiceauthd.audit.line import Entry

__all__ = ["AuditLog", "Entry"]


class AuditLog:
    """Writes the log in `folder`. Safe to use from several threads; one process at a time.

    After a failure the log is opened again for the next line, so it continues as soon as possible.
    """

    def __init__(self, folder: Path, size: int, files: int) -> None:
        """size: maximum bytes of one file. files: number to keep. Changes of both take effect with the next line."""
        self.folder = folder
        self.size = size
        self.files = files
        self._mutex = threading.Lock()
        self._chain: Chain | None = None

    def open(self) -> None:
        """Lock the log and find its end; create an empty one if there is none. Raises `StorageError`."""
        with self._mutex:
            self._opened()

    def write(self, entry: Entry) -> None:
        """Append a line and wait until it is on the disk. Raises `StorageError`; the line may then be there or not, but
        the chain is intact."""
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
        """Return the number and hash of the last line, and damage that was found but not yet recorded in the log.
        Raises `StorageError`."""
        with self._mutex:
            chain = self._opened()
            return chain.seq, chain.hash, chain.damage

    def close(self) -> None:
        """Release the log for another process."""
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
