"""Writes rows as vod-tender did, with nothing of this project: versions 0 and 1, as JSON on standard output.

Arguments: the number of rows and ENCRYPTION_KEY. Each line holds a row as it is stored, and the tokens it stands for.
"""

import base64
import json
import random
import secrets
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PROVIDERS = ["twitch", "ki'ck", 'you"tube', "тви, ч\\x", "a=b,c", "100%_\u2028"]


def direct_aes(key, token):
    """base64(nonce[12] || ciphertext || tag), no associated data; NULL and the empty string stay unchanged."""
    if not token:
        return token
    nonce = secrets.token_bytes(12)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, token.encode(), None)).decode()


def tokens(number, dice):
    access = "tok-" + "é🔑" * (number % 3) + dice.randbytes(dice.choice([0, 1, 20, 300])).hex()
    refresh = dice.choice([None, "", "ref-" + dice.randbytes(10).hex()])
    return {7: "x", 8: "y" * 65536, 9: "", 10: None}.get(number, access), refresh


def main():
    count, key = int(sys.argv[1]), base64.b64decode(sys.argv[2])
    dice = random.Random(1)
    rows = []
    for number in range(count):
        access, refresh = tokens(number, dice)
        version = number % 2
        seal = (lambda token: direct_aes(key, token)) if version else (lambda token: token)
        rows.append(
            {
                "provider": dice.choice(PROVIDERS),
                "channel": f"chan-{number}" if number else "",
                "access_token": seal(access),
                "refresh_token": seal(refresh),
                "encryption_version": str(version),
                "encryption_key_id": "default" if version else None,
                "truth": [access, refresh],
            }
        )
    json.dump(rows, sys.stdout)


main()
