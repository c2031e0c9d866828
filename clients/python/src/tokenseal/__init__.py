"""Seals and opens the values of Tokenseal's tables, in Python, under AWS KMS or through the agent."""

from ._agent import AgentClient
from ._errors import (
    AgentError,
    ConfigurationError,
    KeyServiceError,
    Malformed,
    NotAuthentic,
    Refused,
    TokensealError,
    Unsupported,
)
from ._keys_of_rows import FromDatabase
from ._profile import Profile, Table, VersionColumns
from ._sealer import NOT_GIVEN, Cell, Sealed, Sealer
from ._statement import Statement

__all__ = [
    "NOT_GIVEN",
    "AgentClient",
    "AgentError",
    "Cell",
    "ConfigurationError",
    "FromDatabase",
    "KeyServiceError",
    "Malformed",
    "NotAuthentic",
    "Profile",
    "Refused",
    "Sealed",
    "Sealer",
    "Statement",
    "Table",
    "TokensealError",
    "Unsupported",
    "VersionColumns",
]
