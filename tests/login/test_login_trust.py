"""Whether a helper may be run as root: each file, folder and link on the way to it counts."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from voiceauthd.login.trust import why_not

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes files of root's and of others")


@needs_root
def test_a_helper_that_others_could_change_is_told(tmp_path):
    """Below /tmp, whose very folder others may write to: all that is there is refused."""
    assert why_not("/usr/bin/false") == ""
    assert "ends with 0" in why_not("/usr/bin/true")
    assert why_not("voiceauth-pam") == "voiceauth-pam is no absolute path"
    assert "No such file" in why_not("/usr/bin/no-such-command")
    assert why_not("/usr/bin") == "/usr/bin is no command"
    assert "is no command" in why_not("/etc/passwd")
    helper = tmp_path / "helper"
    helper.write_text("#!/bin/sh\n")
    helper.chmod(0o755)
    assert "can be changed by others" in why_not(str(helper)) or "belongs to uid" in why_not(str(helper))


@needs_root
def test_each_step_to_a_helper_counts(tmp_path_factory, monkeypatch):
    """As above, where a folder of root's alone is to be had: /run or /var/lib, and links that lead out of it."""
    above = next(
        (Path(name) for name in ("/var/lib", "/run") if why_not(f"{name}/x").endswith("No such file or directory")),
        None,
    )
    if above is None:
        pytest.skip("no folder that is root's alone")
    folder = Path(tempfile.mkdtemp(prefix="voiceauth-test-", dir=above))
    try:
        folder.chmod(0o755)
        helper = folder / "helper"
        helper.write_text("#!/bin/sh\nexit 1\n")
        helper.chmod(0o755)
        assert why_not(str(helper)) == ""
        helper.write_text("#!/bin/sh\n")  # what a full disk may leave of it
        assert "ends with 0" in why_not(str(helper))
        helper.write_text("#!/bin/sh\nexit 1\n")
        (folder / "link").symlink_to("helper")
        assert why_not(str(folder / "link")) == ""
        helper.chmod(0o775)
        os.chown(helper, 0, 42)
        assert "others than root" in why_not(str(helper))
        assert "others than root" in why_not(str(folder / "link"))
        helper.chmod(0o755)
        os.chown(helper, 42, 0)
        assert "belongs to uid 42" in why_not(str(helper))
        os.chown(helper, 0, 0)
        os.chown(folder, 42, 0)
        assert "belongs to uid 42" in why_not(str(helper))
        os.chown(folder, 0, 0)
        away = tmp_path_factory.mktemp("away") / "python"
        shutil.copy("/usr/bin/true", away)
        helper.write_text(f"#!{away}\n")
        assert "can be changed" in why_not(str(helper)) or "belongs to" in why_not(str(helper))
        helper.write_text("#!/usr/bin/env false\n")
        assert why_not(str(helper)) == ""
        (folder / "out").symlink_to(away)
        assert "can be changed" in why_not(str(folder / "out")) or "belongs to" in why_not(str(folder / "out"))
        (folder / "ring").symlink_to("ring")
        assert "links" in why_not(str(folder / "ring"))
    finally:
        shutil.rmtree(folder)
