"""The error names used on the wire, and the table that maps them to this program's exceptions.

The Varlink standard's names are used where they exist; our own are declared in `org.voiceauthd.varlink` and
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

MAX_LINE_LENGTH = 1000
"""Characters in one line of a message that a client shows to a person."""


class Row(NamedTuple):
    """One error: its name on the wire, the exception that represents it here, and the message for a person.

    reasons  the reason codes of `kind` that map to this error; a client raises `kind` with the first one
    default  whether this row also covers errors of `kind` whose reason appears in no row
    text     a format string, filled in with the error's parameters
    """

    error: str
    kind: type[VoiceauthError]
    reasons: tuple[str, ...]
    text: str
    default: bool = False


_PROFILE_UNUSABLE_REASONS = (
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
    Row(BUSY, BusyError, ("busy",), "busy: {holder}; try again when that has finished", default=True),
    Row(TOO_MANY_CONNECTIONS, BusyError, ("too_many_connections",), "too many connections: at most {limit}"),
    Row(TOO_MANY_REQUESTS, BusyError, ("too_many_requests",), "too many calls at once: at most {limit} per connection"),
    Row(
        TOO_OFTEN,
        TooOftenError,
        ("too_often",),
        "too many calls: at most {limit} per minute; try again in {seconds:.0f} s",
        default=True,
    ),
    Row(
        LOCKED,
        LockedError,
        ("locked",),
        "the voice of {name!r} is locked for {seconds:.0f} s after too many failures; passwords are not affected",
        default=True,
    ),
    Row(
        PROOF_NEEDED,
        DeniedError,
        ("proof_needed",),
        "changing the voice of {name!r} needs its owner's password, or root",
    ),
    Row(PERMISSION_DENIED, DeniedError, ("denied",), "this user may not do that", default=True),
    Row(PROOF_WRONG, DeniedError, ("wrong_password",), "wrong password"),
    Row(PROOF_REFUSED, DeniedError, ("proof_refused",), "{detail}"),
    Row(PROOF_UNAVAILABLE, NotRunningError, ("proof_unavailable",), "{detail}"),
    Row(NO_SOURCE, SourceError, ("no_microphone",), "{detail}", default=True),
    Row(NOT_READY, ModelError, ("not_ready", "model_unavailable"), "{detail}", default=True),
    Row(ENROLMENT_INCOMPLETE, AudioError, ("bad_audio",), "{detail}", default=True),
    Row(STORAGE_FAILED, StorageError, ("storage",), "{detail}", default=True),
    Row(PROFILE_UNUSABLE, StorageError, _PROFILE_UNUSABLE_REASONS, "{detail}"),
    Row(ALREADY_ENROLLED, StorageError, ("already_enrolled",), "{name!r} is already enrolled"),
    Row(VOICE_ENROLLED, StorageError, ("voice_enrolled",), "{detail}"),
    Row(CONFIGURATION_REFUSED, ConfigError, ("config",), "{detail}", default=True),
    Row(POLICY_NOT_DEMONSTRATED, UsageError, ("not_demonstrated",), "{detail}"),
    Row(INVALID_NAME, UsageError, ("invalid_name",), "{detail}"),
    Row(
        INVALID_PARAMETER,
        UsageError,
        ("invalid_parameter",),
        "the daemon does not accept this value of {parameter!r}",
        default=True,
    ),
    Row(METHOD_NOT_FOUND, UsageError, ("unknown_method",), "the daemon does not know the method {method!r}"),
    Row(
        METHOD_NOT_IMPLEMENTED, UsageError, ("not_implemented",), "the daemon does not implement the method {method!r}"
    ),
    Row(INTERFACE_NOT_FOUND, UsageError, ("unknown_interface",), "the daemon does not speak {interface!r}"),
    Row(EXPECTED_MORE, UsageError, ("expected_more",), "this method streams: it must be called with 'more'"),
    Row(MALFORMED_MESSAGE, UsageError, ("malformed_message",), "the daemon could not read the call: {detail}"),
    Row(CANCELLED, WithdrawnError, ("cancelled", "too_slow"), "the daemon ended the call: {detail}"),
)


def row_for_exception(problem: VoiceauthError) -> Row | None:
    """Return the row for an error raised by a method: by its reason, else by its class; None if there is none."""
    for row in TABLE:
        if problem.reason in row.reasons and isinstance(problem, row.kind):
            return row
    for row in TABLE:
        if row.default and isinstance(problem, row.kind):
            return row
    return None


def exception_for_error(error: str, parameters: Mapping[str, Any]) -> VoiceauthError | None:
    """Return the exception that a client raises for a received error; None for an unknown error."""
    for row in TABLE:
        if row.error == error:
            try:
                text = row.text.format_map(parameters)
            except (LookupError, ArithmeticError, ValueError, TypeError, AttributeError):
                # The daemon left out a parameter that the text names, or sent one of another type.
                text = f"the daemon answered {error}"
            text = "\n".join(presentable(line, MAX_LINE_LENGTH) for line in text.split("\n"))
            reason = parameters.get("reason")
            return row.kind(text, reason if isinstance(reason, str) and reason else row.reasons[0])
    return None
