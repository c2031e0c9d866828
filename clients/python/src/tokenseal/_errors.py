"""Errors: what a caller can do about each; none of them carries a value, a key or a stored text."""

from __future__ import annotations


class TokensealError(Exception):
    """The base of every error of this package."""


class Malformed(TokensealError):
    """The stored text is not what its row or its mark says it is. Trying again does not help."""


class NotAuthentic(TokensealError):
    """The value does not open: another cell, another key, or damage. Deliberately one answer for all three."""

    def __init__(self, message: str = "value does not open: wrong key, wrong encryption context, or damaged") -> None:
        super().__init__(message)


class Refused(TokensealError):
    """The configuration, the profile or the caller's key forbids it. Nothing weaker was read or written instead."""


class ConfigurationError(Refused):
    """A setting or a profile is unusable; the message names it."""


class Unsupported(Refused):
    """This client does not do it; the message names what does, such as the agent."""


class KeyServiceError(TokensealError):
    """The key service did not answer, or refused.

    ``kind`` is one of ``denied``, ``not_found``, ``disabled``, ``pending_deletion``, ``throttled``, ``unavailable``,
    ``timeout``, ``wrong_key``, ``misconfigured`` and ``invalid_request``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    @property
    def is_retryable(self) -> bool:
        """Whether the same call can succeed a little later without any change."""
        return self.kind in ("throttled", "unavailable", "timeout")


class AgentError(TokensealError):
    """The agent answered with an error, or not at all (``status`` 0).

    ``status`` is the HTTP status, ``error_class`` the agent's own class, ``expires`` the end of another's lease.
    """

    def __init__(
        self,
        status: int,
        error_class: str,
        message: str,
        *,
        hint: str | None = None,
        correlation_id: str | None = None,
        retry_after: float | None = None,
        needs_consent: bool = False,
        expires: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_class = error_class
        self.hint = hint
        self.correlation_id = correlation_id
        self.retry_after = retry_after
        self.needs_consent = needs_consent
        self.expires = expires
