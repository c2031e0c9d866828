"""Detection: whether a text claims to be of a format other than plaintext, by its marks (docs/formats.md)."""

from __future__ import annotations

import json
import re

from ._encoding import decode_base64, decoded_utf8
from ._envelopes import (
    MAX_PLAINTEXT_LEN,
    MAX_WRAPPED_LEN,
    NONCE_LEN,
    TAG_LEN,
    TWICE_MARK,
    V2_MARK,
    V3_MARK,
    EnvelopeV2,
    EnvelopeV3,
    is_envelope,
)
from ._errors import Malformed
from ._json_forms import NODE, PULSEPLAN
from ._json_forms import is_well_formed as _is_well_formed_json

ENVELOPE = "envelope"
OTHER = "other"
PLAINTEXT = "plaintext"

_LOCAL = re.compile(r"(v[1-9][0-9]*:)?[0-9a-f]{32}:[0-9a-f]{32}:(?:[0-9a-f]{2})++")
_LOCAL_MARK = re.compile(r"v[0-9+-]+:|[0-9a-fA-F]{32}:|[0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+\Z")
_BEGINNING = re.compile("[kK][mM][sS]:")
_DAMAGED_LOCAL = re.compile(rb"[0-9a-fA-F]{32}:[0-9a-fA-F]+")
_HEXADECIMAL = frozenset(b"0123456789abcdefABCDEF")
# As many characters of an alphabet of base64 as no text has by accident.
_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{24}")
# A string without an end reaches to the end of the text: so no character is read twice, and none is kept to go back to.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
# Deeper nesting is a text that some languages' parsers read and others do not: all clients refuse it.
_MAX_DEPTH = 128
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


def is_broken_envelope(text: str) -> bool:
    """Whether a text with the mark of an envelope was one: then it is damaged, and no token that begins like one."""
    return is_envelope(text) and not _is_mere_words(text)


def only_begins_like_one(text: str) -> bool:
    """Whether a text is a token that begins with ``kms:``: nothing in it was an envelope, and it names no version."""
    is_marked = text.startswith((V2_MARK, V3_MARK, "kms:{"))
    version = text.split(":")[1] if ":" in text else ""
    names_a_version = re.fullmatch(r"[vV][0-9]+", version) is not None
    is_bare = text.strip(_INVISIBLE) == text
    return (
        _BEGINNING.match(text) is not None
        and is_bare
        and not is_marked
        and _is_mere_words(text)
        and not names_a_version
    )


def _is_mere_words(text: str) -> bool:
    return _ENCODED.search(text) is None


def _claim(text: str) -> str:
    if is_envelope(text):
        return ENVELOPE
    if _BEGINNING.match(text) or text.startswith(("djF8", "ZGV2f")) or _LOCAL_MARK.match(text):
        return OTHER
    if not text.startswith("{"):
        return PLAINTEXT
    fields = _fields(text)
    return OTHER if fields is None or _fields_claim(fields) else PLAINTEXT


def _fields_claim(fields: set[str]) -> bool:
    return (
        ("ciphertext" in fields and bool(fields & {"algorithm", "encryption_context"}))
        or len(fields & PULSEPLAN) >= 3
        or {"alg", "keyId"} <= fields
        or {"iv", "tag", "ciphertext"} <= fields
        or len(fields & NODE) >= 4
    )


def _fields(text: str) -> set[str] | None:
    """The names in a JSON object; none for any other text, and for one that is nested too deeply."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(depth, deepest)
    if deepest > _MAX_DEPTH:
        return None
    try:
        parsed = json.loads(text, parse_constant=_no_constant, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return set(parsed) if isinstance(parsed, dict) else None


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _is_well_formed(text: str) -> bool:
    if text.startswith("djF8"):
        return _is_autonomous(text)
    if text.startswith("ZGV2f"):
        return _is_development(text)
    if _LOCAL_MARK.match(text):
        return _LOCAL.fullmatch(text) is not None
    text = text.removeprefix("kms:")
    return _fields(text) is not None and _is_well_formed_json(text)


def _is_autonomous(text: str) -> bool:
    inner = _decoded(text).split(b"|")
    if len(inner) != 4 or inner[0] != b"v1":
        return False
    wrapped, nonce, sealed = (len(_decoded(part.decode("latin-1"))) for part in inner[1:])
    return 1 <= wrapped <= MAX_WRAPPED_LEN and nonce == NONCE_LEN and TAG_LEN <= sealed <= MAX_PLAINTEXT_LEN + TAG_LEN


def _is_development(text: str) -> bool:
    """A Fernet token: version, time, IV, blocks, MAC."""
    mark, _, token = _decoded(text).partition(b"|")
    standard = token.decode("latin-1").replace("-", "+").replace("_", "/")
    data = _decoded(standard) if not set(token) & set(b"+/") else b""
    blocks = len(data) - 1 - 8 - 16 - 32
    return mark == b"dev" and data[:1] == b"\x80" and blocks > 0 and blocks % 16 == 0


def _decoded(text: str) -> bytes:
    try:
        return decode_base64(text)
    except Malformed:
        return b""


def _is_damaged(text: str) -> bool:
    """Whether a text without a mark would be an envelope if its mark were mended: then it is a ciphertext."""
    if text.startswith("{"):
        return False
    data = text.encode("utf-8", "surrogatepass")
    if any(_differs_in_one_byte(data, mark.encode()) for mark in (V2_MARK, V3_MARK, 'kms:{"', TWICE_MARK)):
        return True
    if _DAMAGED_LOCAL.fullmatch(data, max(data.rfind(b":") - 32, 0)) and _is_damaged_local(data):
        return True
    fields = _fields(_mended(data, "{"))
    is_json = fields is not None and _fields_claim(fields)
    return is_json or _is_autonomous(_mended(data, "djF8")) or _is_development(_mended(data, "ZGV2f"))


def _mended(data: bytes, mark: str) -> str:
    return mark + (decoded_utf8(data[len(mark) :]) or "")


def _differs_in_one_byte(data: bytes, mark: bytes) -> bool:
    differences = sum(one != other for one, other in zip(data, mark, strict=False))
    return len(data) >= len(mark) and differences == 1


def _is_damaged_local(data: bytes) -> bool:
    """``iv:tag:ciphertext``, with or without a version: one character of the IV or the separator after it is wrong."""
    front = data[: data.rindex(b":") - 32]
    iv, separator = front[-33:-1], front[-1:]
    wrong = sum(byte not in _HEXADECIMAL for byte in iv) + (separator != b":")
    return len(iv) == 32 and wrong <= 1
