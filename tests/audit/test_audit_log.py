"""Writing the audit log: the content of a line, permissions, rotation, and hostile texts."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from audit_parts import ACCEPT, SIZE, assert_whole, files_of, log_of, seqs
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.audit import files
from voiceauthd.audit.line import MAX_LINE, encode_line, parse_line
from voiceauthd.audit.log import AuditLog, Entry
from voiceauthd.audit.reading import read
from voiceauthd.audit.verify import verify
from voiceauthd.errors import DeniedError, StorageError

HOSTILE = '"}\n{"seq":1,"prev":"0"}\r\x00\x1b[2J\x9b31m\u202e\ud800\udfff\\'


def test_the_fields_of_a_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", 65536, 4)
    log.write(ACCEPT)
    raw = (tmp_path / "audit" / "audit-000000000001.jsonl").read_text()
    line = json.loads(raw)
    assert list(line) == [
        *("seq", "time", "event", "outcome", "reason", "uid", "user", "pid", "name", "detail", "count", "prev", "hash")
    ]
    assert (line["seq"], line["prev"]) == (1, "0" * 64)
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2026-01-31T12:00:00.123Z")
    assert [line[key] for key in ("event", "outcome", "reason", "uid", "user", "pid", "name", "detail", "count")] == [
        *("Verify", "accept", "match", 1000, "alice", 77, "alice", "unlock", 1)
    ]


def test_hashes_can_be_checked_by_any_tool(tmp_path: Path) -> None:
    (file,) = files_of(log_of(tmp_path / "audit", 2))
    before = "0" * 64
    for raw in file.read_text().splitlines():
        body, _, rest = raw.rpartition(',"hash":"')
        assert hashlib.sha256(f"{body}}}".encode()).hexdigest() == rest.removesuffix('"}')
        assert f'"prev":"{before}"' in body
        before = rest.removesuffix('"}')


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = log_of(tmp_path / "audit", 5)
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert {file.name for file in folder.iterdir()} >= {"head", ".lock"}


def test_a_new_writer_continues_the_log(tmp_path: Path) -> None:
    log_of(tmp_path / "audit", 4)
    log_of(tmp_path / "audit", 4)
    assert seqs(tmp_path / "audit") == list(range(1, 9))
    assert_whole(tmp_path / "audit")


def test_a_full_file_is_followed_by_another_and_the_oldest_are_removed(tmp_path: Path) -> None:
    folder = log_of(tmp_path / "audit", 60, files=5)
    kept = files_of(folder)
    assert len(kept) == 5
    assert all(file.stat().st_size <= SIZE for file in kept)
    verdict = assert_whole(folder)
    assert (verdict.last, verdict.files) == (60, 5)
    assert verdict.first == int(kept[0].stem.removeprefix("audit-"))
    assert seqs(folder) == list(range(verdict.first, 61))
    assert [line.seq for line in read(folder, 59)] == [59, 60]


def test_new_limits_take_effect_with_the_next_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", SIZE, 100)
    for _ in range(30):
        log.write(ACCEPT)
    log.size, log.files = 65536, 2
    for _ in range(30):
        log.write(ACCEPT)
    log.size = SIZE
    log.write(ACCEPT)
    assert len(files_of(tmp_path / "audit")) == 2
    assert_whole(tmp_path / "audit")


def test_one_daemon_writes_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_TIMEOUT", 0.1)
    first, second = (AuditLog(tmp_path / "audit", SIZE, 4) for _ in range(2))
    first.open()
    with pytest.raises(StorageError, match="another daemon") as refused:
        second.write(ACCEPT)
    assert refused.value.reason == "locked"
    first.close()
    second.write(ACCEPT)
    assert seqs(tmp_path / "audit") == [1]


def test_the_lock_is_held_as_long_as_the_log_is_open(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", SIZE, 4)
    log.open()
    with (tmp_path / "audit" / ".lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log.close()
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_threads_can_write_concurrently(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", 8 * SIZE, 1000)

    def write(uid: int) -> None:
        for number in range(25):
            log.write(Entry("Verify", "accept", uid=uid, pid=number))

    threads = [threading.Thread(target=write, args=(uid,)) for uid in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = list(read(tmp_path / "audit"))
    assert [line.seq for line in lines] == list(range(1, 201))
    for uid in range(8):
        assert [line.entry.pid for line in lines if line.entry.uid == uid] == list(range(25))
    assert_whole(tmp_path / "audit")


def test_it_can_be_read_and_verified_while_it_is_being_written(tmp_path: Path) -> None:
    folder, done = tmp_path / "audit", threading.Event()
    log = AuditLog(folder, SIZE, 4)
    log.write(ACCEPT)

    def write() -> None:
        for _ in range(300):
            log.write(ACCEPT)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    while not done.is_set():
        verdict = assert_whole(folder)
        assert verdict.last is not None
        numbers = seqs(folder)
        assert numbers == sorted(numbers)
        looks += 1
    writer.join()
    assert looks > 5
    assert verify(folder).last == 301


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = log_of(tmp_path / "audit", 1)
    folder.chmod(mode)
    with pytest.raises(StorageError, match="written by others") as refused:
        AuditLog(folder, SIZE, 4).open()
    assert refused.value.reason == "unsafe_folder"
    assert [damage.kind for damage in verify(folder).damage] == ["unsafe"]


def test_a_file_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    folder = log_of(tmp_path / "audit", 1)
    files_of(folder)[-1].chmod(0o666)
    with pytest.raises(StorageError, match="written by others"):
        AuditLog(folder, SIZE, 4).write(ACCEPT)
    assert [damage.kind for damage in verify(folder).damage] == ["unsafe"]


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a folder away")
    folder = log_of(tmp_path / "audit", 1)
    os.chown(folder, 65533, 65533)
    with pytest.raises(StorageError, match="belongs to user 65533"):
        AuditLog(folder, SIZE, 4).open()


@pytest.mark.parametrize("name", ["audit-000000000001.jsonl", "head", ".lock"])
def test_a_link_is_not_followed(tmp_path: Path, name: str) -> None:
    folder = log_of(tmp_path / "audit", 1)
    outside = tmp_path / "outside"
    outside.write_text("")
    (folder / name).unlink()
    (folder / name).symlink_to(outside)
    log = AuditLog(folder, SIZE, 4)
    if name == "head":
        log.write(ACCEPT)  # a head is replaced, never written through
        assert not (folder / "head").is_symlink()
    else:
        with pytest.raises(StorageError):
            log.write(ACCEPT)
    assert outside.read_text() == ""


def test_a_path_that_is_not_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("")
    with pytest.raises(StorageError, match="cannot be used"):
        AuditLog(tmp_path / "audit", SIZE, 4).open()
    with pytest.raises(StorageError, match="no audit log"):
        list(read(tmp_path / "nothing"))
    with pytest.raises(StorageError, match="no audit log"):
        verify(tmp_path / "nothing")


def test_another_user_is_denied(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    folder = log_of(tmp_path / "audit", 1)
    tmp_path.chmod(0o755)
    os.seteuid(65533)
    try:
        with pytest.raises(DeniedError, match="root"):
            list(read(folder))
        with pytest.raises(DeniedError, match="root"):
            verify(folder)
        with pytest.raises(StorageError):
            AuditLog(folder, SIZE, 4).open()
    finally:
        os.seteuid(0)


def test_a_new_log_is_empty_and_intact(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", SIZE, 4)
    log.open()
    verdict = assert_whole(tmp_path / "audit")
    assert (verdict.lines, verdict.first, verdict.last) == (0, None, None)


def test_a_hostile_text_cannot_forge_a_line_and_is_read_unchanged(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", 10 * MAX_LINE, 4)
    entry = Entry(HOSTILE, HOSTILE, HOSTILE, 1, HOSTILE, 2, HOSTILE, 3, HOSTILE)
    log.write(entry)
    log.write(ACCEPT)
    raw = files_of(tmp_path / "audit")[0].read_bytes()
    assert raw.count(b"\n") == 2
    assert all(32 <= byte < 127 for byte in raw.replace(b"\n", b""))
    first, second = read(tmp_path / "audit")
    assert (first.seq, second.seq) == (1, 2)
    assert first.entry.name == json.loads(json.dumps(HOSTILE))
    assert_whole(tmp_path / "audit")


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", 10 * MAX_LINE, 4)
    for text in ("a" * 65536, "\U0001f600" * 65536, "\ud800" * 65536):
        log.write(Entry(text, text, text, 2**40, text, 2**40, text, 2**40, text))
    lines = list(read(tmp_path / "audit"))
    assert [len(line.entry.name or "") for line in lines] == [256] * 3
    assert [len(line.entry.event) for line in lines] == [64] * 3
    assert all(line.entry.name and line.entry.name.endswith("…") for line in lines)
    assert_whole(tmp_path / "audit")


texts = st.text(st.characters(exclude_categories=()), max_size=400)
entries = st.builds(
    Entry,
    *(texts, texts, texts),
    st.none() | st.integers(0, 2**32),
    st.none() | texts,
    st.none() | st.integers(0, 2**22),
    st.none() | texts,
    st.integers(1, 2**31),
    st.none() | texts,
)


@given(entries)
@settings(max_examples=200, deadline=None)
def test_every_entry_can_be_read_back(entry: Entry) -> None:
    raw, digest = encode_line(7, entry, "ab" * 32)
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    assert len(raw) <= MAX_LINE
    line = parse_line(raw[:-1])
    assert line is not None
    assert (line.seq, line.prev, line.hash, line.entry.uid) == (7, "ab" * 32, digest, entry.uid)
    assert len(line.entry.name or "") <= 256


@given(st.binary(max_size=400))
def test_random_bytes_are_not_parsed_as_a_line(data: bytes) -> None:
    body = data + b"}"
    for raw in (data, data + b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}'):
        assert parse_line(raw) is None
