"""Detection: whether a text claims to be of a format other than plaintext, by its marks (docs/formats.md)."""

from __future__ import annotations

import json
import re

from ._encoding import decode_base64
from ._envelopes import TWICE_MARK, V2_MARK, V3_MARK, EnvelopeV2, EnvelopeV3
from ._errors import Malformed

ENVELOPE = "envelope"
OTHER = "other"
PLAINTEXT = "plaintext"

_LOCAL = re.compile(r"(v[1-9][0-9]*:)?[0-9a-f]{32}:[0-9a-f]{32}:([0-9a-f]{2})+")
_LOCAL_MARK = re.compile(r"v[0-9+-]+:|[0-9a-fA-F]{32}:|[0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+\Z")
_PULSEPLAN = {"ciphertext", "algorithm", "encryption_context", "key_id", "encrypted_at"}
_NODE = {"alg", "keyId", "iv", "tag", "aad", "timestamp", "ciphertext"}
_INVISIBLE = "".join(map(chr, [*range(0x21), *range(0x7F, 0xA1), 0x1680, *range(0x2000, 0x200B)])) + (
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def detect(text: str) -> str:
    """``envelope``, ``other`` (a form that this client does not open) or ``plaintext``.

    Raises ``Malformed`` where the text carries a mark, or a damaged one, and is not well-formed.
    """
    trimmed = text.strip(_INVISIBLE)
    if trimmed != text and (_claim(trimmed) != PLAINTEXT or _is_damaged(trimmed)):
        raise Malformed("white space or control characters surround an envelope")
    claim = _claim(text)
    if claim == ENVELOPE:
        (EnvelopeV3 if text.startswith(V3_MARK) else EnvelopeV2).parse(text)
    elif claim == OTHER and not _is_well_formed(text):
        raise Malformed("the text carries the mark of a stored format and does not parse")
    elif claim == PLAINTEXT and _is_damaged(text):
        raise Malformed("the text is an envelope but for a damaged mark")
    return claim


def _claim(text: str) -> str:
    if text.startswith((V2_MARK, V3_MARK, TWICE_MARK)):
        return ENVELOPE
    if text[:4].lower() == "kms:" or text.startswith(("djF8", "ZGV2f")) or _LOCAL_MARK.match(text):
        return OTHER
    return OTHER if text.startswith("{") and _json_claims(text) else PLAINTEXT


def _json_claims(text: str) -> bool:
    fields = _fields(text)
    if fields is None:
        return True
    node = len(fields & _NODE)
    return (
        ("ciphertext" in fields and bool(fields & {"algorithm", "encryption_context"}))
        or len(fields & _PULSEPLAN) >= 3
        or {"alg", "keyId"} <= fields
        or {"iv", "tag", "ciphertext"} <= fields
        or node >= 4
    )


def _fields(text: str) -> set[str] | None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return set(parsed) if isinstance(parsed, dict) else None


def _is_well_formed(text: str) -> bool:
    if text.startswith("djF8"):
        return _inner_parts(text, b"v1|", 4)
    if text.startswith("ZGV2f"):
        return _inner_parts(text, b"dev|gAAAA", 2)
    if _LOCAL_MARK.match(text):
        return _LOCAL.fullmatch(text) is not None
    fields = _fields(text.removeprefix("kms:"))
    return fields in (_PULSEPLAN, _NODE | {"v"})


def _inner_parts(text: str, start: bytes, parts: int) -> bool:
    try:
        inner = decode_base64(text)
    except Malformed:
        return False
    return inner.startswith(start) and inner.count(b"|") == parts - 1


def _is_damaged(text: str) -> bool:
    """One wrong byte in the mark of an envelope: to call such a text plaintext would hand out a ciphertext."""
    marks = (V2_MARK, V3_MARK, 'kms:{"', TWICE_MARK)
    return any(len(text) >= len(mark) and _differences(text, mark) == 1 for mark in marks)


def _differences(text: str, mark: str) -> int:
    return sum(one != other for one, other in zip(text, mark, strict=False))
