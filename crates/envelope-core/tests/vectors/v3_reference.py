#!/usr/bin/env python3
"""A second implementation of the bound envelope (`kms:v3:`), written from docs/formats.md, to check the first with.

    pip install cryptography
    python3 v3_reference.py check bound.json    opens every vector; exits 1 if one does not do what it should
    python3 v3_reference.py make > bound.json   makes the vectors again, byte for byte
"""

import base64
import hashlib
import hmac
import json
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MARK = "kms:v3:"
LABEL = b"tokenseal bound envelope v3\0"
SUITES = {0x0478: AESGCM, 0xF478: ChaCha20Poly1305}
NONCE = bytes(12)


class Malformed(Exception):
    pass


class NotAuthentic(Exception):
    pass


def text(value):
    encoded = value.encode()
    return struct.pack(">H", len(encoded)) + encoded


def pairs(values):
    ordered = sorted(values, key=lambda pair: pair[0].encode())
    return struct.pack(">H", len(ordered)) + b"".join(text(name) + text(value) for name, value in ordered)


def canonical(binding):
    return text(binding["table"]) + text(binding["column"]) + pairs(binding["key"]) + pairs(binding["owner"])


def derive(data_key, message_id, info):
    return HKDF(algorithm=SHA512(), length=32, salt=message_id, info=info).derive(data_key)


def content_key(data_key, message_id, suite):
    return derive(data_key, message_id, struct.pack(">H", suite) + b"DERIVEKEY")


def commitment(data_key, message_id):
    return derive(data_key, message_id, b"COMMITKEY")


def seal(suite, data_key, wrapped, binding, plaintext, message_id):
    header = struct.pack(">BHB", 3, suite, 0) + message_id + commitment(data_key, message_id)
    aad = LABEL + header + canonical(binding)
    payload = SUITES[suite](content_key(data_key, message_id, suite)).encrypt(NONCE, plaintext, aad)
    return header + struct.pack(">H", len(wrapped)) + wrapped + struct.pack(">I", len(payload)) + payload


def encode(envelope):
    return MARK + base64.urlsafe_b64encode(envelope).decode().rstrip("=")


def decode(stored):
    if not stored.startswith(MARK):
        raise Malformed("mark")
    encoded = stored[len(MARK):]
    try:
        envelope = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise Malformed("base64url") from None
    if encode(envelope) != stored:
        raise Malformed("base64url is not canonical")
    return envelope


def parse(stored):
    envelope = decode(stored)
    if envelope[:1] != b"\x03":
        raise Malformed("version")
    if len(envelope) < 70:
        raise Malformed("too short")
    suite, flags = struct.unpack(">HB", envelope[1:4])
    if suite not in SUITES or flags != 0:
        raise Malformed("suite or flags")
    (wrapped_len,) = struct.unpack(">H", envelope[68:70])
    if not 1 <= wrapped_len <= 6144:
        raise Malformed("wrapped data key")
    payload_at = 70 + wrapped_len + 4
    if len(envelope) < payload_at:
        raise Malformed("too short")
    (payload_len,) = struct.unpack(">I", envelope[payload_at - 4:payload_at])
    if payload_len != len(envelope) - payload_at or not 16 <= payload_len <= (1 << 20) + 16:
        raise Malformed("payload")
    return suite, envelope[:68], envelope[70:70 + wrapped_len], envelope[payload_at:]


def open_(stored, data_key, binding):
    suite, header, _wrapped, payload = parse(stored)
    message_id = header[4:36]
    if not hmac.compare_digest(commitment(data_key, message_id), header[36:68]):
        raise NotAuthentic("commitment")
    try:
        cipher = SUITES[suite](content_key(data_key, message_id, suite))
        return cipher.decrypt(NONCE, payload, LABEL + header + canonical(binding))
    except InvalidTag:
        raise NotAuthentic("tag") from None


# Vectors.

WRAPPED = bytes(range(184))
BINDING = {
    "table": "oauth_tokens",
    "column": "access_token",
    "key": [["provider", "twitch"], ["channel", "my-channel"]],
    "owner": [["tenant", "acme"]],
}


def seeded(what, length=32):
    return hashlib.shake_256(what.encode()).digest(length)


def b64(value):
    return base64.b64encode(value).decode()


def good(name, suite, plaintext, binding=BINDING, wrapped=WRAPPED):
    data_key, message_id = seeded("data key"), seeded("message id of " + name)
    stored = encode(seal(suite, data_key, wrapped, binding, plaintext, message_id))
    return {
        "name": name,
        "suite": f"0x{suite:04x}",
        "data_key": b64(data_key),
        "wrapped_data_key": b64(wrapped),
        "binding": binding,
        "canonical_binding": canonical(binding).hex(),
        "message_id": b64(message_id),
        "content_key": b64(content_key(data_key, message_id, suite)),
        "commitment": b64(commitment(data_key, message_id)),
        "plaintext": b64(plaintext),
        "stored": stored,
    }


def make():
    token = "gho_16C7e42F292c6912E7710c838347Ae178B4a".encode()
    aes = good("aes_256_gcm", 0x0478, token)
    chacha = good("chacha20_poly1305", 0xF478, token)
    reordered = dict(BINDING, key=list(reversed(BINDING["key"])))
    vectors = [
        aes,
        chacha,
        good("one_byte", 0x0478, b"x"),
        good("not_text", 0xF478, bytes(range(256))),
        good("non_ascii", 0x0478, "tök€n-🔑".encode(), dict(BINDING, table="jetons", owner=[["ténant", "ünï"]])),
        good("no_owner_and_an_empty_key_value", 0x0478, token,
             dict(BINDING, key=[["provider", "twitch"], ["channel", ""]], owner=[])),
        good("separators_in_values", 0xF478, token,
             dict(BINDING, key=[["provider", "a|b:c=d\0e"], ["channel", "\n"]])),
        good("pairs_in_another_order", 0x0478, token, reordered),
        good("shortest_wrapped_data_key", 0x0478, token, wrapped=b"\0"),
        good("longest_wrapped_data_key", 0x0478, token, wrapped=seeded("wrapped", 6144)),
    ]
    raw = decode(aes["stored"])

    def fail(name, error, stored=None, **changes):
        vector = {key: aes[key] for key in ("data_key", "binding")}
        vectors.append({"name": "fail_" + name, "error": error} | vector
                       | {"stored": stored or aes["stored"]} | changes)

    def patch(at, value):
        return encode(raw[:at] + value + raw[at + len(value):])

    def flip(at):
        return patch(at, bytes([raw[at] ^ 1]))

    payload_at = 70 + len(WRAPPED) + 4
    fail("version_4", "malformed", patch(0, b"\x04"))
    fail("version_2", "malformed", patch(0, b"\x02"))
    fail("suite_0", "malformed", patch(1, b"\0\0"))
    fail("suite_of_the_sdk_with_signature", "malformed", patch(1, b"\x05\x78"))
    fail("flag", "malformed", patch(3, b"\x80"))
    fail("no_wrapped_data_key", "malformed", encode(raw[:68] + b"\0\0" + raw[payload_at - 4:]))
    fail("wrapped_data_key_over_its_limit", "malformed",
         encode(raw[:68] + struct.pack(">H", 6145) + bytes(6145) + raw[payload_at - 4:]))
    fail("trailing_byte", "malformed", encode(raw + b"\0"))
    fail("missing_byte", "malformed", encode(raw[:-1]))
    fail("payload_shorter_than_a_tag", "malformed",
         encode(raw[:payload_at - 4] + struct.pack(">I", 15) + raw[payload_at:payload_at + 15]))
    fail("payload_length_off_by_one", "malformed", flip(payload_at - 1))
    fail("nothing_behind_the_mark", "malformed", MARK)
    fail("mark_in_upper_case", "malformed", aes["stored"].replace("kms:v3:", "KMS:V3:"))
    fail("padding", "malformed", aes["stored"] + "=" * (-len(aes["stored"][len(MARK):]) % 4 or 4))
    fail("standard_alphabet", "malformed", MARK + base64.b64encode(raw).decode().rstrip("="))
    stray = next(v["stored"] for v in vectors if len(decode(v["stored"])) % 3 == 1)
    fail("stray_trailing_bits", "malformed", stray[:-1] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[stray[-1]])
    fail("line_break", "malformed", aes["stored"] + "\n")
    fail("message_id_changed", "not_authentic", flip(4))
    fail("commitment_changed", "not_authentic", flip(36))
    fail("suite_exchanged", "not_authentic", patch(1, b"\xf4\x78"))
    fail("ciphertext_changed", "not_authentic", flip(payload_at))
    fail("tag_changed", "not_authentic", flip(len(raw) - 1))
    fail("other_data_key", "not_authentic", data_key=b64(seeded("another data key")))
    for what, change in [
        ("table", {"table": "other_tokens"}),
        ("column", {"column": "refresh_token"}),
        ("row", {"key": [["provider", "twitch"], ["channel", "other-channel"]]}),
        ("tenant", {"owner": [["tenant", "globex"]]}),
        ("row_with_values_exchanged", {"key": [["provider", "my-channel"], ["channel", "twitch"]]}),
        ("row_with_a_key_that_is_its_owner", {"key": BINDING["key"] + BINDING["owner"], "owner": []}),
    ]:
        fail("other_" + what, "not_authentic", binding=BINDING | change)
    return {
        "about": "Vectors of the bound envelope. Those named fail_ must not open. Made by v3_reference.py; "
                 "keys and tokens are test values.",
        "vectors": vectors,
    }


def check(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)["vectors"]
    wrong = 0
    for vector in vectors:
        try:
            opened = open_(vector["stored"], base64.b64decode(vector["data_key"]), vector["binding"])
            done = "opened" if opened == base64.b64decode(vector.get("plaintext", "")) else "other plaintext"
        except Malformed:
            done = "malformed"
        except NotAuthentic:
            done = "not_authentic"
        if done != vector.get("error", "opened"):
            wrong += 1
            print(f"{vector['name']}: {done}", file=sys.stderr)
    print(f"{len(vectors) - wrong} of {len(vectors)} vectors do what they should")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        json.dump(make(), sys.stdout, ensure_ascii=False, indent=1)
        print()
    elif sys.argv[1:2] == ["check"] and len(sys.argv) == 3:
        sys.exit(check(sys.argv[2]))
    else:
        sys.exit(__doc__)
