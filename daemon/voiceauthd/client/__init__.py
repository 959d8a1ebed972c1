"""The client library: `from voiceauthd.client import Client`. Standard library only."""

from __future__ import annotations

from voiceauthd.client.client import Client
from voiceauthd.client.errors import CallFailedError, NoAnswerError
from voiceauthd.client.verify_result import VerifyResult

__all__ = ["CallFailedError", "Client", "NoAnswerError", "VerifyResult"]
