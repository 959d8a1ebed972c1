"""A helper may run as root only if every file, folder and link on the way to it is safe."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from voiceauthd.login.trust import untrusted_reason

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="creates files of root and of other users")


@needs_root
def test_a_helper_that_others_could_change_is_refused(tmp_path):
    """Also everything below /tmp, which others can write to."""
    assert untrusted_reason("/usr/bin/false") == ""
    assert "exits with 0" in untrusted_reason("/usr/bin/true")
    assert untrusted_reason("voiceauth-pam") == "voiceauth-pam is not an absolute path"
    assert "No such file" in untrusted_reason("/usr/bin/no-such-command")
    assert untrusted_reason("/usr/bin") == "/usr/bin is not an executable file"
    assert "is not an executable file" in untrusted_reason("/etc/passwd")
    helper = tmp_path / "helper"
    helper.write_text("#!/bin/sh\n")
    helper.chmod(0o755)
    reason = untrusted_reason(str(helper))
    assert "can be changed by users other than root" in reason or "belongs to uid" in reason


@needs_root
def test_every_step_to_a_helper_counts(tmp_path_factory, monkeypatch):
    """In a folder that only root can write to, /run or /var/lib, and through links that lead out of it."""
    above = next(
        (
            Path(name)
            for name in ("/var/lib", "/run")
            if untrusted_reason(f"{name}/x").endswith("No such file or directory")
        ),
        None,
    )
    if above is None:
        pytest.skip("no folder that only root can write to")
    folder = Path(tempfile.mkdtemp(prefix="voiceauth-test-", dir=above))
    try:
        folder.chmod(0o755)
        helper = folder / "helper"
        helper.write_text("#!/bin/sh\nexit 1\n")
        helper.chmod(0o755)
        assert untrusted_reason(str(helper)) == ""
        helper.write_text("#!/bin/sh\n")  # as truncated by a full disk
        assert "exits with 0" in untrusted_reason(str(helper))
        helper.write_text("#!/bin/sh\nexit 1\n")
        (folder / "link").symlink_to("helper")
        assert untrusted_reason(str(folder / "link")) == ""
        helper.chmod(0o775)
        os.chown(helper, 0, 42)
        assert "users other than root" in untrusted_reason(str(helper))
        assert "users other than root" in untrusted_reason(str(folder / "link"))
        helper.chmod(0o755)
        os.chown(helper, 42, 0)
        assert "belongs to uid 42" in untrusted_reason(str(helper))
        os.chown(helper, 0, 0)
        os.chown(folder, 42, 0)
        assert "belongs to uid 42" in untrusted_reason(str(helper))
        os.chown(folder, 0, 0)
        away = tmp_path_factory.mktemp("away") / "python"
        shutil.copy("/usr/bin/true", away)
        helper.write_text(f"#!{away}\n")
        assert "can be changed" in untrusted_reason(str(helper)) or "belongs to" in untrusted_reason(str(helper))
        helper.write_text("#!/usr/bin/env false\n")
        assert untrusted_reason(str(helper)) == ""
        (folder / "out").symlink_to(away)
        assert "can be changed" in untrusted_reason(str(folder / "out")) or "belongs to" in untrusted_reason(
            str(folder / "out")
        )
        (folder / "ring").symlink_to("ring")
        assert "links" in untrusted_reason(str(folder / "ring"))
    finally:
        shutil.rmtree(folder)
