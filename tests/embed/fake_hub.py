"""A local model hub: the part of the protocol that a download needs, served from a folder."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves the files of `folder` as the model `name` at `COMMIT`.

    claims    false SHA-256 that the hub reports for a file
    requests  all requested paths
    cut       files whose download is aborted in the middle, and that do not exist afterwards
    hang      files whose download stops in the middle until `resume` is set
    reached   set when a download stops
    """

    daemon_threads = True

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.folder = folder
        self.claims: dict[str, str] = {}
        self.requests: list[str] = []
        self.cut: set[str] = set()
        self.gone: set[str] = set()
        self.hang: set[str] = set()
        self.reached = threading.Event()
        self.resume = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def digest(self, file: str) -> str:
        return self.claims.get(file) or hashlib.sha256((self.folder / file).read_bytes()).hexdigest()

    def handle_error(self, request, client_address):  # clients may disconnect
        pass


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(path)
        api, files = f"/api/models/{self.server.name}", f"/{self.server.name}/resolve/{COMMIT}/"
        if path.startswith(f"{api}/tree/"):
            self._send(json.dumps([entry | {"type": "file"} for entry in self._entries("path")]).encode(), body)
        elif path == api or path in {f"{api}/revision/{COMMIT}", f"{api}/revision/main"}:
            about = {"id": self.server.name, "sha": COMMIT, "siblings": self._entries("rfilename"), "tags": []}
            self._send(json.dumps(about | {"private": False, "cardData": {"license": "mit"}}).encode(), body)
        elif path in self.server.gone:
            self._fail("EntryNotFound")
        elif path.startswith(files) and (self.server.folder / path.removeprefix(files)).is_file():
            self._send_file(path.removeprefix(files), body)
        else:
            self._fail("RevisionNotFound" if path.startswith(api) else "RepoNotFound")

    def _fail(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _entries(self, key: str) -> list[dict[str, object]]:
        return [
            {
                key: file.name,
                "size": file.stat().st_size,
                "oid": "0" * 40,
                "blobId": "0" * 40,
                "lfs": {
                    "size": file.stat().st_size,
                    "sha256": self.server.digest(file.name),
                    "oid": self.server.digest(file.name),
                    "pointerSize": 134,
                },
            }
            for file in sorted(self.server.folder.iterdir())
        ]

    def _send(self, content: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _send_file(self, file: str, body: bool) -> None:
        content = (self.server.folder / file).read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{self.server.digest(file)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body and file in self.server.cut:
            self.wfile.write(content[: len(content) // 2])
            self.server.gone.add(self.path.partition("?")[0])
            self.close_connection = True
        elif body and file in self.server.hang:
            self.wfile.write(content[: len(content) // 2])
            self.server.reached.set()
            self.server.resume.wait()
            self.wfile.write(content[len(content) // 2 :])
        elif body:
            self.wfile.write(content)

    def log_message(self, format, *args):
        pass


@contextmanager
def serving(name: str, folder: Path) -> Iterator[Hub]:
    """Run a hub during the block."""
    hub = Hub(name, folder)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.resume.set()
        hub.shutdown()
        thread.join()
        hub.server_close()
