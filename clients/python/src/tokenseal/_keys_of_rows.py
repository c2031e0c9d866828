"""Row keys as the text that the database stores, because a value is bound to it."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from ._encoding import exact
from ._errors import Refused

TEXT = "text"
INTEGER = "integer"
UUID = "uuid"

_FAMILIES = {
    **dict.fromkeys(("text", "varchar", "character varying"), TEXT),
    **dict.fromkeys(("integer", "int", "bigint", "smallint", "int2", "int4", "int8"), INTEGER),
    "uuid": UUID,
}
_SIZED_TEXT = re.compile(r"(varchar|character varying)\([0-9]+\)")
_INTEGER = re.compile(r"[+-]?[0-9]{1,39}")
# As PostgreSQL reads them: a hyphen may follow each group of four digits, and braces may surround the whole.
_UUID = re.compile(r"(\{)?([0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}(?(1)\})")
# What any of the clients' languages, or a database, takes for white space.
_SPACE = r"[\x09-\x0d\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]"
_AMBIGUOUS = re.compile(
    rf"{_SPACE}.*|.*{_SPACE}"  # padded text
    r"|[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"  # numbers
    r"|\\x[0-9a-fA-F]*"  # bytea
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}.*",  # dates and times
    re.DOTALL,
)
_I64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class FromDatabase:
    """Text that was read back from the database (``CAST(column AS text)``), and so is canonical for any type."""

    text: str


KeyValue = str | int | uuid.UUID | FromDatabase
"""The types of a value for a key or owner column."""


def canonical(column: str, declared: str | None, value: object) -> str:
    """The text that the database has for a value of a column; ``declared`` is the profile's type of the column."""
    if isinstance(value, FromDatabase):
        return _text_of(column, value.text)
    if declared is None:
        return _undeclared(column, value)
    family = _family(declared)
    if family == TEXT and isinstance(value, str):
        return exact(value)
    if family == INTEGER:
        return _integer(column, value)
    if family == UUID:
        return _uuid(column, value)
    raise _refusal(column, f"a value of this kind has no canonical text for the type {declared!r}")


def _family(declared: str) -> str | None:
    name = declared.strip().lower()
    return TEXT if _SIZED_TEXT.fullmatch(name) else _FAMILIES.get(name)


def _text_of(column: str, value: object) -> str:
    if not isinstance(value, str):
        raise _refusal(column, "the value is not text")
    return exact(value)


def _integer(column: str, value: object) -> str:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in _I64:
        raise _refusal(column, "the value is not an integer of 64 bits")
    return str(int(value))


def _uuid(column: str, value: object) -> str:
    if isinstance(value, str) and _UUID.fullmatch(value):
        value = uuid.UUID(value)
    if not isinstance(value, uuid.UUID):
        raise _refusal(column, "the value is not a UUID")
    return str(value)


def _undeclared(column: str, value: object) -> str:
    """Without a declared type only what has one spelling in every type is taken."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and value in _I64:
        return str(int(value))
    if not isinstance(value, str):
        raise _refusal(column, "values of this kind have no canonical text")
    if _UUID.fullmatch(value) and str(uuid.UUID(value)) != value:
        raise _refusal(column, "the value may be a UUID in another spelling than the database's")
    if _AMBIGUOUS.fullmatch(value) and not (_INTEGER.fullmatch(value) and _is_canonical_integer(value)):
        raise _refusal(column, "the value may have another spelling in the database")
    return exact(value)


def _is_canonical_integer(value: str) -> bool:
    return str(int(value)) == value and int(value) in _I64


def _refusal(column: str, why: str) -> Refused:
    hint = f"declare types = {{ {column} = … }} in the profile, or pass FromDatabase(text)"
    return Refused(f"column {column!r}: {why}; {hint}")


def version_number(value: object) -> int | None:
    """0, 1 or 2 of an encryption version; none for what no row can say."""
    if isinstance(value, str):
        return _VERSIONS.get(exact(value))
    if isinstance(value, int) and not isinstance(value, bool) and value in (0, 1, 2):
        return int(value)
    return None


_VERSIONS = {"0": 0, "1": 1, "2": 2}
