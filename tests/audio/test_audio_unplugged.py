"""A microphone that is unplugged before its first frames: PortAudio's thread must not loop for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from virtual_mic import VirtualMic

CHILD = Path(__file__).with_name("unplugged_child.py")


@pytest.mark.timeout(60)
def test_a_microphone_that_vanishes_before_its_first_frames_is_lost_at_once(virtual_mic: VirtualMic) -> None:
    child = subprocess.Popen(
        [sys.executable, str(CHILD)],
        env=virtual_mic.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    virtual_mic.remove_sink()
    printed, complaints = child.communicate("\n", timeout=30)
    reason, seconds, threads = json.loads(printed)
    assert (reason, threads) == ("device_lost", 1)
    assert seconds < 1.0
    assert len(complaints.splitlines()) < 20
