"""Strict text encodings: one spelling for every value, anything else refused."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable
from itertools import pairwise

from ._errors import Malformed, Refused

MAX_CONTEXT_LEN = 8_192
"""Longest canonical encoding of a context or a binding, in bytes."""


def decode_base64(text: str) -> bytes:
    """Decodes standard base64 with padding (RFC 4648, section 4)."""
    try:
        decoded = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        raise Malformed("not standard base64 with padding") from None
    if encode_base64(decoded) != text:
        raise Malformed("base64 is not canonical")
    return decoded


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Decodes base64url without padding (RFC 4648, section 5)."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        decoded = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise Malformed("not base64url without padding") from None
    if encode_base64url(decoded) != text:
        raise Malformed("base64url is not canonical")
    return decoded


def encode_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def utf8(text: str, what: str) -> bytes:
    """Encodes text; a lone surrogate is no text that a database can hold."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(f"{what} is not Unicode text") from None


def opened_text(plaintext: bytes) -> str:
    try:
        return plaintext.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("opened value is not UTF-8 text") from None


def length_prefixed(text: str, what: str) -> bytes:
    encoded = utf8(text, what)
    if len(encoded) > MAX_CONTEXT_LEN:
        raise Refused(f"{what} is over {MAX_CONTEXT_LEN} bytes long")
    return struct.pack(">H", len(encoded)) + encoded


def canonical_pairs(pairs: Iterable[tuple[str, str]]) -> bytes:
    """``u16 count || name || value || …``, ordered by the names' UTF-8 bytes; a repeated or empty name is refused."""
    ordered = sorted(((utf8(name, "a column's name"), name, value) for name, value in pairs), key=lambda pair: pair[0])
    for earlier, later in pairwise(ordered):
        if earlier[0] == later[0]:
            raise Refused(f"the row's identity or the context names {later[1]!r} twice")
    if any(not encoded for encoded, _, _ in ordered):
        raise Refused("the row's identity or the context has a pair without a name")
    parts = [struct.pack(">H", len(ordered))]
    for _, name, value in ordered:
        parts += [length_prefixed(name, "a column's name"), length_prefixed(value, f"the value of {name!r}")]
    return bounded(b"".join(parts))


def bounded(encoded: bytes) -> bytes:
    if len(encoded) > MAX_CONTEXT_LEN:
        raise Refused(f"the row's identity or the context is over {MAX_CONTEXT_LEN} bytes long")
    return encoded
