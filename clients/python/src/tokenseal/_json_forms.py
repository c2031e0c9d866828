"""The envelopes of other programs that are JSON objects (docs/formats.md): well-formed, or damaged."""

from __future__ import annotations

import json
import re

from ._encoding import MAX_CONTEXT_LEN, decode_base64
from ._envelopes import MAX_PLAINTEXT_LEN, NONCE_LEN, TAG_LEN
from ._errors import Malformed

PULSEPLAN = {"ciphertext", "algorithm", "encryption_context", "key_id", "encrypted_at"}
NODE = {"alg", "keyId", "iv", "tag", "aad", "timestamp", "ciphertext"}
_LABELLED = NODE - {"iv"} | {"v", "purpose", "messageId", "commitment"}

_MAX_KEY_CIPHERTEXT_LEN = 6_144
_MAX_KEY_ID_LEN = 256
_HASH_LEN = 32
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})?")
_ESCAPE = re.compile(r"\\(u....|.)")
_WORD = r'"(?:[^"\\]++|\\.)*+"'
# The version that names its purpose has one spelling.
_ONE_SPELLING = re.compile(
    rf'\{{"v":2,"alg":{_WORD},"purpose":{_WORD},"keyId":{_WORD},"messageId":{_WORD},"commitment":{_WORD},"tag":{_WORD},'
    rf'"ciphertext":{_WORD},"aad":(?:null|{_WORD}),"timestamp":[0-9]+\}}'
)


def is_well_formed(text: str) -> bool:
    """Whether an object is one of these envelopes, in a spelling in which the programs write it."""
    if any(character < " " for character in text) or not (text.startswith("{") and text.endswith("}")):
        return False
    if any(escape[1].startswith("u") and escape[1] != escape[1].lower() for escape in _ESCAPE.finditer(text)):
        return False
    try:
        fields = json.loads(text, object_pairs_hook=_once, parse_float=str, parse_int=_number)
        json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    if set(fields) == PULSEPLAN:
        return _is_pulseplan(fields)
    if set(fields) == NODE | {"v"}:
        return _is_node(fields, 1, "aes-256-gcm") and _length(fields["iv"]) == NONCE_LEN
    if set(fields) == _LABELLED:
        hashes = _length(fields["messageId"]), _length(fields["commitment"])
        is_labelled = _is_node(fields, 2, "aes-256-gcm-hkdf-sha512-commit") and hashes == (_HASH_LEN, _HASH_LEN)
        return is_labelled and _ONE_SPELLING.fullmatch(text) is not None
    return False


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _number(text: str) -> int:
    return int(text) if text.isdigit() and len(text) <= 20 else -1


def _is_pulseplan(fields: dict[str, object]) -> bool:
    context, key_id, time = fields["encryption_context"], fields["key_id"], fields["encrypted_at"]
    if fields["algorithm"] != "KMS" or not isinstance(key_id, str) or not isinstance(time, str):
        return False
    if not isinstance(context, dict) or not all(isinstance(value, str) for value in context.values()):
        return False
    length = 2 + sum(4 + len(name.encode()) + len(value.encode()) for name, value in context.items())
    is_context = all(name and value for name, value in context.items()) and length <= MAX_CONTEXT_LEN
    is_ciphertext = 1 <= _length(fields["ciphertext"]) <= _MAX_KEY_CIPHERTEXT_LEN
    return key_id != "" and _TIME.fullmatch(time) is not None and is_context and is_ciphertext


def _is_node(fields: dict[str, object], version: int, algorithm: str) -> bool:
    key_id, aad, time = fields["keyId"], fields["aad"], fields["timestamp"]
    if not isinstance(key_id, str) or not isinstance(time, int) or isinstance(fields["v"], bool):
        return False
    is_head = fields["v"] == version and fields["alg"] == algorithm and 1 <= len(key_id.encode()) <= _MAX_KEY_ID_LEN
    is_body = _length(fields["tag"]) == TAG_LEN and 0 <= _length(fields["ciphertext"]) <= MAX_PLAINTEXT_LEN
    is_time = not isinstance(time, bool) and 0 <= time < 2**64
    return is_head and is_body and is_time and (aad is None or _length(aad) >= 0)


def _length(text: object) -> int:
    """The length of what a field holds in base64; -1 where it holds none."""
    try:
        return len(decode_base64(text)) if isinstance(text, str) else -1
    except Malformed:
        return -1
