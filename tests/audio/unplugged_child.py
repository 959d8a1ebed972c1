"""Opens the microphone, prints that, waits for a line (by then it is unplugged), and prints how reading ended.

Before that, it leaves garbage on the stacks that glibc keeps for new threads.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from voiceauthd.audio.microphone import Microphone
from voiceauthd.errors import SourceError


def scribble(depth: int = 300) -> object:
    return [scribble(depth - 1)] if depth else json.dumps([[[1]]] * 50)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    microphone = Microphone("vmic", 20, 1.0)
    microphone.open()
    microphone.read(0.5)
    microphone.close()
    for _ in range(3):
        threads = [threading.Thread(target=scribble) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    microphone.open()
    say("open")
    sys.stdin.readline()
    began = time.monotonic()
    reason = ""
    while not reason:
        try:
            microphone.read(0.25)
        except SourceError as error:
            reason = error.reason
    microphone.close()
    say(json.dumps([reason, time.monotonic() - began, threading.active_count()]))


if __name__ == "__main__":
    main()
