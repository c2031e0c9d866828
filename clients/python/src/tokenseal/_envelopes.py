"""The stored formats that this client reads and writes, to the byte (docs/formats.md)."""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ._binding import Binding
from ._encoding import decode_base64, decode_base64url, decoded_utf8, encode_base64, encode_base64url
from ._errors import Malformed, NotAuthentic

V2_MARK = "kms:v2:"
V3_MARK = "kms:v3:"
# How base64 of a text that begins with V2_MARK begins.
TWICE_MARK = "a21zOnYyO"

MAX_PLAINTEXT_LEN = 1 << 20
MAX_WRAPPED_LEN = 6_144
NONCE_LEN = 12
TAG_LEN = 16

AES_256_GCM = 0x0478
CHACHA20_POLY1305 = 0xF478
SUITES = {"aes-256-gcm": AES_256_GCM, "chacha20-poly1305": CHACHA20_POLY1305}

_CIPHERS: dict[int, type[AESGCM] | type[ChaCha20Poly1305]] = {AES_256_GCM: AESGCM, CHACHA20_POLY1305: ChaCha20Poly1305}
_LABEL = b"tokenseal bound envelope v3\0"
_HEADER_LEN = 68
# A content key seals one message, so no nonce is needed to distinguish messages.
_ZERO_NONCE = bytes(NONCE_LEN)


def is_envelope(text: str) -> bool:
    """Whether a text carries a mark that no token has by accident."""
    return text.startswith((V2_MARK, V3_MARK, TWICE_MARK))


@dataclass(frozen=True, slots=True, repr=False)
class EnvelopeV2:
    """``kms:v2:<wrapped data key>:<nonce || ciphertext || tag>``, or the same in base64 once more."""

    wrapped: bytes
    sealed: bytes

    @classmethod
    def parse(cls, text: str) -> EnvelopeV2:
        if text.startswith(TWICE_MARK):
            text = decoded_utf8(decode_base64(text)) or ""
        wrapped_text, colon, sealed_text = text.removeprefix(V2_MARK).partition(":")
        if not text.startswith(V2_MARK) or not colon:
            raise Malformed("not a version 2 envelope")
        wrapped, sealed = decode_base64(wrapped_text), decode_base64(sealed_text)
        if not 1 <= len(wrapped) <= MAX_WRAPPED_LEN:
            raise Malformed("the wrapped data key has an impossible length")
        if len(sealed) < NONCE_LEN + TAG_LEN:
            raise Malformed("a version 2 envelope is too short")
        return cls(wrapped, sealed)

    def open(self, data_key: bytes) -> bytes:
        return _decrypt(AESGCM(data_key), self.sealed[:NONCE_LEN], self.sealed[NONCE_LEN:], None)


def seal_v2(data_key: bytes, wrapped: bytes, plaintext: bytes) -> str:
    nonce = os.urandom(NONCE_LEN)
    sealed = nonce + AESGCM(data_key).encrypt(nonce, plaintext, None)
    return f"{V2_MARK}{encode_base64(wrapped)}:{encode_base64(sealed)}"


@dataclass(frozen=True, slots=True, repr=False)
class EnvelopeV3:
    """The bound envelope: header, wrapped data key, payload."""

    suite: int
    header: bytes
    wrapped: bytes
    payload: bytes

    @classmethod
    def parse(cls, text: str) -> EnvelopeV3:
        if not text.startswith(V3_MARK):
            raise Malformed("not a version 3 envelope")
        data = decode_base64url(text[len(V3_MARK) :])
        if data[:1] != b"\x03":
            raise Malformed("unknown envelope version")
        if len(data) < _HEADER_LEN + 2:
            raise Malformed("a version 3 envelope is too short")
        suite, flags = struct.unpack(">HB", data[1:4])
        if suite not in _CIPHERS or flags != 0:
            raise Malformed("unknown suite or flag")
        payload_at = _HEADER_LEN + 2 + int.from_bytes(data[_HEADER_LEN : _HEADER_LEN + 2], "big") + 4
        wrapped, payload = data[_HEADER_LEN + 2 : payload_at - 4], data[payload_at:]
        if not 1 <= payload_at - 4 - _HEADER_LEN - 2 <= MAX_WRAPPED_LEN or len(data) < payload_at:
            raise Malformed("the wrapped data key has an impossible length")
        claimed = int.from_bytes(data[payload_at - 4 : payload_at], "big")
        if claimed != len(payload) or not TAG_LEN <= claimed <= MAX_PLAINTEXT_LEN + TAG_LEN:
            raise Malformed("the payload has an impossible length")
        return cls(suite, data[:_HEADER_LEN], wrapped, payload)

    def open(self, data_key: bytes, binding: Binding) -> bytes:
        content_key, commitment = _derive(data_key, self.suite, self.header[4:36])
        # Before anything is decrypted: under a key that the value does not commit to, no plaintext is ever made.
        if not hmac.compare_digest(commitment, self.header[36:]):
            raise NotAuthentic
        aad = _LABEL + self.header + binding.canonical()
        return _decrypt(_CIPHERS[self.suite](content_key), _ZERO_NONCE, self.payload, aad)


def seal_v3(
    suite: int, data_key: bytes, wrapped: bytes, binding: Binding, plaintext: bytes, message_id: bytes | None = None
) -> str:
    message_id = os.urandom(32) if message_id is None else message_id
    content_key, commitment = _derive(data_key, suite, message_id)
    header = struct.pack(">BHB", 3, suite, 0) + message_id + commitment
    aad = _LABEL + header + binding.canonical()
    payload = _CIPHERS[suite](content_key).encrypt(_ZERO_NONCE, plaintext, aad)
    parts = [header, struct.pack(">H", len(wrapped)), wrapped, struct.pack(">I", len(payload)), payload]
    return V3_MARK + encode_base64url(b"".join(parts))


def open_direct(key: bytes, text: str) -> bytes:
    """Direct AES: base64 of nonce, ciphertext and tag under the configured key."""
    sealed = decode_base64(text)
    if len(sealed) < NONCE_LEN + TAG_LEN:
        raise Malformed("a direct AES value is too short")
    return _decrypt(AESGCM(key), sealed[:NONCE_LEN], sealed[NONCE_LEN:], None)


def _derive(data_key: bytes, suite: int, message_id: bytes) -> tuple[bytes, bytes]:
    def expand(info: bytes) -> bytes:
        return HKDF(algorithm=SHA512(), length=32, salt=message_id, info=info).derive(data_key)

    return expand(struct.pack(">H", suite) + b"DERIVEKEY"), expand(b"COMMITKEY")


def _decrypt(cipher: AESGCM | ChaCha20Poly1305, nonce: bytes, sealed: bytes, aad: bytes | None) -> bytes:
    try:
        return cipher.decrypt(nonce, sealed, aad)
    except InvalidTag:
        pass
    raise NotAuthentic
