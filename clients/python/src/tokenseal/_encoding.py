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
    decoded = _decoded(text, b"+/")
    if decoded is None:
        raise Malformed("not standard base64 with padding")
    if encode_base64(decoded) != text:
        raise Malformed("base64 is not canonical")
    return decoded


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Decodes base64url without padding (RFC 4648, section 5)."""
    decoded = _decoded(text + "=" * (-len(text) % 4), b"-_")
    if decoded is None:
        raise Malformed("not base64url without padding")
    if encode_base64url(decoded) != text:
        raise Malformed("base64url is not canonical")
    return decoded


def _decoded(text: str, alphabet: bytes) -> bytes | None:
    # Errors are raised outside of the handlers of others, here and in the other modules: an error that is handled
    # stays in `__context__`, and it may hold the text.
    try:
        return base64.b64decode(text.encode("ascii"), altchars=alphabet, validate=True)
    except (ValueError, binascii.Error):
        return None


def encode_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def utf8(text: str, what: str) -> bytes:
    """Encodes text; a lone surrogate is no text that a database can hold."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        pass
    raise Refused(f"{what} is not Unicode text")


def decoded_utf8(data: bytes) -> str | None:
    """The text; none where the bytes are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def opened_text(plaintext: bytes) -> str:
    text = decoded_utf8(plaintext)
    if text is None:
        raise Malformed("opened value is not UTF-8 text")
    return text


def exact(text: str) -> str:
    """The text itself: ``str()`` of a subclass, such as an enumeration of texts, may be another one."""
    return str.__str__(text)


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
