"""Values on their way to the agent: each in the one spelling that names its row, or refused without repeating it."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Mapping
from typing import Any

from ._encoding import exact
from ._errors import AgentError, Malformed, Refused
from ._keys_of_rows import FromDatabase, version_number

Json = dict[str, Any]

# Bytes of a request that the agent reads (docs/agent.md). A longer one ends the connection before it answers.
MAX_REQUEST = 2 << 20
_I64 = range(-(2**63), 2**63)
# The largest whole number that a float distinguishes from both neighbours.
_MAX_SAFE_INTEGER = 2**53 - 1


def keys(what: str, given: object) -> Json:
    """Key or owner columns: text, whole numbers, UUIDs, ``FromDatabase``, and ``None`` for the NULL of an owner."""
    return {column: _key(column, value) for column, value in _columns(what, given).items()}


def plain(given: object) -> Json:
    """Plain columns: as keys, and booleans, dates, and times with a zone, in RFC 3339."""
    return {column: _plain(column, value) for column, value in _columns("plain", given).items()}


def tokens(given: object) -> Json:
    """Tokens by column: text, or ``None`` for NULL."""
    values = _columns("tokens", given)
    return {
        column: None if value is None else text(value, f"the token for column {column!r}")
        for column, value in values.items()
    }


def text(value: object, what: str) -> str:
    """Text as it is. A lone surrogate is refused: no database holds it, and its error would carry the whole text."""
    if not isinstance(value, str):
        raise Refused(f"{what} is not text")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise Refused(f"{what} is not Unicode text")
    return exact(value)


def item(given: object, content: str) -> Json:
    """One cell of a batch; ``content`` is ``text`` to open, or ``value`` to seal."""
    if not isinstance(given, Mapping):
        raise Refused("an item of a batch is not a mapping")
    unknown = sorted(str(name) for name in set(given) - {"table", "column", "row", "owner", "version", content})
    if unknown:
        raise Refused(f"an item of a batch has a member that is not one of it: {unknown[0]!r}")
    sent: Json = {}
    for name in ("table", "column", content):
        if name in given:
            sent[name] = text(given[name], f"{name} of an item")
    for name in ("row", "owner"):
        if given.get(name) is not None:
            sent[name] = keys(name, given[name])
    if given.get("version") is not None:
        sent["version"] = _version(given["version"])
    return sent


def payload(body: Json) -> bytes:
    """A request's body. Its error carries nothing of the values, not even as its cause."""
    try:
        encoded = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        encoded = b""
    if not encoded:
        raise Refused("the request to the agent cannot be written as JSON")
    if len(encoded) > MAX_REQUEST:
        raise AgentError(413, "body_too_long", f"the request is over the agent's {MAX_REQUEST} bytes")
    return encoded


def _columns(what: str, given: object) -> Mapping[str, object]:
    if not isinstance(given, Mapping) or not all(isinstance(column, str) for column in given):
        raise Refused(f"{what} must name its columns")
    for column in given:
        text(column, "a column's name")
    return given


def _key(column: str, value: object) -> str | int | None:
    if value is None:
        return None
    if isinstance(value, FromDatabase):
        return text(value.text, f"the value of {column!r}")
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, str):
        return text(value, f"the value of {column!r}")
    if isinstance(value, int) and not isinstance(value, bool):
        if value not in _I64:
            raise Refused(f"column {column!r}: the value is not an integer of 64 bits")
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_SAFE_INTEGER:
        return int(value)
    hint = "pass text, a whole number or FromDatabase(text)"
    raise Refused(f"column {column!r}: a value of this kind has no one text: {hint}")


def _plain(column: str, value: object) -> str | int | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, datetime.datetime):
        if value.utcoffset() is None:
            raise Refused(f"column {column!r}: a time without a zone is another moment in each: give it one")
        return value.isoformat()
    return value.isoformat() if isinstance(value, datetime.date) else _key(column, value)


def _version(value: object) -> int:
    number = version_number(value)
    if number is not None:
        return number
    raise Malformed("the row's encryption version is unknown")
