"""The names of errors on the wire, and the one table between them and the errors of this program.

Where the Varlink standard has a name, it is used; what is ours is declared in `org.voiceauthd.varlink` and
`org.voiceauthd.proof.varlink`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from voiceauthd.errors import (
    AudioError,
    BusyError,
    ConfigError,
    DeniedError,
    LockedError,
    ModelError,
    NotEnrolledError,
    NotRunningError,
    SourceError,
    StorageError,
    TooOftenError,
    UsageError,
    VoiceauthError,
    WithdrawnError,
)
from voiceauthd.protocol.wire import presentable

INTERFACE_NOT_FOUND = "org.varlink.service.InterfaceNotFound"
METHOD_NOT_FOUND = "org.varlink.service.MethodNotFound"
METHOD_NOT_IMPLEMENTED = "org.varlink.service.MethodNotImplemented"
INVALID_PARAMETER = "org.varlink.service.InvalidParameter"
PERMISSION_DENIED = "org.varlink.service.PermissionDenied"
EXPECTED_MORE = "org.varlink.service.ExpectedMore"

BUSY = "org.voiceauthd.Busy"
NOT_ENROLLED = "org.voiceauthd.NotEnrolled"
ALREADY_ENROLLED = "org.voiceauthd.AlreadyEnrolled"
VOICE_ENROLLED = "org.voiceauthd.VoiceEnrolled"
INVALID_NAME = "org.voiceauthd.InvalidName"
PROFILE_UNUSABLE = "org.voiceauthd.ProfileUnusable"
NOT_READY = "org.voiceauthd.NotReady"
NO_SOURCE = "org.voiceauthd.NoSource"
POLICY_NOT_DEMONSTRATED = "org.voiceauthd.PolicyNotDemonstrated"
ENROLMENT_INCOMPLETE = "org.voiceauthd.EnrolmentIncomplete"
STORAGE_FAILED = "org.voiceauthd.StorageFailed"
CONFIGURATION_REFUSED = "org.voiceauthd.ConfigurationRefused"
MALFORMED_MESSAGE = "org.voiceauthd.MalformedMessage"
TOO_MANY_CONNECTIONS = "org.voiceauthd.TooManyConnections"
TOO_MANY_REQUESTS = "org.voiceauthd.TooManyRequests"
TOO_OFTEN = "org.voiceauthd.TooOften"
LOCKED = "org.voiceauthd.Locked"
PROOF_NEEDED = "org.voiceauthd.ProofNeeded"
CANCELLED = "org.voiceauthd.Cancelled"
INTERNAL = "org.voiceauthd.Internal"

PROOF_WRONG = "org.voiceauthd.proof.WrongPassword"
PROOF_REFUSED = "org.voiceauthd.proof.Refused"
PROOF_UNAVAILABLE = "org.voiceauthd.proof.Unavailable"

LONGEST_LINE = 1000
"""Characters of a line of what a client tells a person, at most."""


class Row(NamedTuple):
    """One error: its name on the wire, what stands for it in this program, and what a client tells a person.

    reasons  the reason codes of `kind` that mean this error; a client raises `kind` with the first
    default  errors of `kind` with a reason that no row has mean this one
    text     the error's parameters are put in by name
    """

    error: str
    kind: type[VoiceauthError]
    reasons: tuple[str, ...]
    text: str
    default: bool = False


_UNUSABLE = (
    "profile_unusable",
    "torn",
    "wrong_format",
    "wrong_version",
    "wrong_name",
    "wrong_key",
    "wrong_model",
    "wrong_owner",
    "duplicate",
    "too_large",
    "not_a_file",
)

TABLE = (
    Row(NOT_ENROLLED, NotEnrolledError, ("not_enrolled",), "nobody is enrolled as {name!r}", default=True),
    Row(BUSY, BusyError, ("busy",), "busy: {holder}; try again when that is over", default=True),
    Row(TOO_MANY_CONNECTIONS, BusyError, ("too_many_connections",), "too many connections: at most {limit} at a time"),
    Row(TOO_MANY_REQUESTS, BusyError, ("too_many_requests",), "too many calls at once: at most {limit} a connection"),
    Row(
        TOO_OFTEN,
        TooOftenError,
        ("too_often",),
        "too many calls: at most {limit} a minute; try again in {seconds:.0f} s",
        default=True,
    ),
    Row(
        LOCKED,
        LockedError,
        ("locked",),
        "the voice of {name!r} is locked for {seconds:.0f} s, after too many failures; passwords are not affected",
        default=True,
    ),
    Row(
        PROOF_NEEDED,
        DeniedError,
        ("proof_needed",),
        "a change of the voice of {name!r} needs its owner's password, or root",
    ),
    Row(PERMISSION_DENIED, DeniedError, ("denied",), "this user may not do that", default=True),
    Row(PROOF_WRONG, DeniedError, ("wrong_password",), "wrong password"),
    Row(PROOF_REFUSED, DeniedError, ("proof_refused",), "{detail}"),
    Row(PROOF_UNAVAILABLE, NotRunningError, ("proof_unavailable",), "{detail}"),
    Row(NO_SOURCE, SourceError, ("no_microphone",), "{detail}", default=True),
    Row(NOT_READY, ModelError, ("not_ready", "model_unavailable"), "{detail}", default=True),
    Row(ENROLMENT_INCOMPLETE, AudioError, ("bad_audio",), "{detail}", default=True),
    Row(STORAGE_FAILED, StorageError, ("storage",), "{detail}", default=True),
    Row(PROFILE_UNUSABLE, StorageError, _UNUSABLE, "the profile {name!r} cannot be used: {detail}"),
    Row(ALREADY_ENROLLED, StorageError, ("already_enrolled",), "{name!r} is already enrolled"),
    Row(VOICE_ENROLLED, StorageError, ("voice_enrolled",), "{detail}"),
    Row(CONFIGURATION_REFUSED, ConfigError, ("config",), "{detail}", default=True),
    Row(POLICY_NOT_DEMONSTRATED, UsageError, ("not_demonstrated",), "{detail}"),
    Row(INVALID_NAME, UsageError, ("invalid_name",), "{name!r} is no name for a profile: {detail}"),
    Row(
        INVALID_PARAMETER, UsageError, ("invalid_parameter",), "the daemon refuses {parameter!r} as given", default=True
    ),
    Row(METHOD_NOT_FOUND, UsageError, ("unknown_method",), "the daemon does not know the method {method!r}"),
    Row(METHOD_NOT_IMPLEMENTED, UsageError, ("not_implemented",), "the daemon does not have the method {method!r}"),
    Row(INTERFACE_NOT_FOUND, UsageError, ("unknown_interface",), "the daemon does not speak {interface!r}"),
    Row(EXPECTED_MORE, UsageError, ("expected_more",), "this method streams: it must be called with 'more'"),
    Row(MALFORMED_MESSAGE, UsageError, ("malformed_message",), "the daemon could not read the call: {detail}"),
    Row(CANCELLED, WithdrawnError, ("cancelled", "too_slow"), "the daemon ended the call: {detail}"),
)


def row_for_exception(problem: VoiceauthError) -> Row | None:
    """The row for an error that a method raised: by its reason, else by its class; None for no row."""
    for row in TABLE:
        if problem.reason in row.reasons and isinstance(problem, row.kind):
            return row
    for row in TABLE:
        if row.default and isinstance(problem, row.kind):
            return row
    return None


def exception_for_error(error: str, parameters: Mapping[str, Any]) -> VoiceauthError | None:
    """What a client raises for an error that it received; None for an error that no row knows."""
    for row in TABLE:
        if row.error == error:
            try:
                text = row.text.format_map(parameters)
            except (LookupError, ArithmeticError, ValueError, TypeError, AttributeError):
                # The daemon left out what the text names, or gave something else.
                text = f"the daemon answered {error}"
            text = "\n".join(presentable(line, LONGEST_LINE) for line in text.split("\n"))
            reason = parameters.get("reason")
            return row.kind(text, reason if isinstance(reason, str) and reason else row.reasons[0])
    return None
