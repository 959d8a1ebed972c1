"""The exit codes as the help texts explain them."""

from __future__ import annotations

from voiceauthd.errors import ExitCode

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 plus the number of SIGINT, as shells report it."""

EXIT_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "success; verify: accepted; identify: somebody enrolled",
    ExitCode.REJECT: "verify: another voice; identify: nobody enrolled; demo: wrong decision",
    ExitCode.USAGE: "the command line is invalid; verify: the policy is not demonstrated",
    ExitCode.INCONCLUSIVE: "no decision: too little speech, unsure, or the daemon stopped meanwhile",
    ExitCode.BUSY: "another verification or enrolment is running",
    ExitCode.NOT_ENROLLED: "nobody of that name is enrolled",
    ExitCode.NO_MICROPHONE: "no audio is available",
    ExitCode.NOT_RUNNING: "no daemon answers on the socket, or it ended without an answer",
    ExitCode.DENIED: "you may not do that",
    ExitCode.CONFIG: "the configuration is refused",
    ExitCode.MODEL: "the model is missing, or its files are wrong",
    ExitCode.AUDIO: "a recording or a take that cannot be used",
    ExitCode.STORAGE: "a file cannot be read, written or trusted",
    ExitCode.ALREADY_RUNNING: "another daemon already owns the socket, or uses the state",
    ExitCode.LOCKED: "too many failures: the voice is locked for a while; passwords are not",
    ExitCode.INTERNAL: "a defect of voiceauth, or an invalid answer; never a success",
}


def exit_codes(codes: tuple[ExitCode, ...] | None = None) -> str:
    """Return the lines that explain `codes` (default: all of them), Ctrl-C last."""
    chosen = tuple(EXIT_MEANINGS) if codes is None else codes
    lines = [f"  {code.value:>3}  {EXIT_MEANINGS[code]}" for code in chosen]
    return "\n".join([*lines, f"  {INTERRUPTED:>3}  interrupted by Ctrl-C"])
