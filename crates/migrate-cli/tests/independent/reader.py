"""Reads rows with nothing of this project: a JSON document on standard input, the tokens as JSON on standard output.

The document has `rows`, `context` (the pairs that every row has) and either `kms_endpoint` or `encryption_key`. A value
is opened as its row's version says, and in no other way.
"""

import base64
import json
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def opener(document):
    """The two ways of opening a value, by version."""
    if "encryption_key" in document:
        aes = AESGCM(base64.b64decode(document["encryption_key"], validate=True))
        return {"1": lambda row, column: open_sealed(aes, row[column])}
    import boto3

    kms = boto3.client(
        "kms",
        endpoint_url=document["kms_endpoint"],
        region_name="us-east-1",
        aws_access_key_id="independent",
        aws_secret_access_key="reader",
    )
    return {"2": lambda row, column: open_envelope(kms, document["context"], row, column)}


def open_sealed(aes, text):
    sealed = base64.b64decode(text, validate=True)
    return aes.decrypt(sealed[:12], sealed[12:], None).decode()


def open_envelope(kms, context, row, column):
    scheme, version, wrapped, sealed = row[column].split(":")
    assert (scheme, version) == ("kms", "v2"), "not an envelope"
    pairs = {**context, "table": "oauth_tokens", "column": column, "provider": row["provider"], "channel": row["channel"]}
    answer = kms.decrypt(
        CiphertextBlob=base64.b64decode(wrapped, validate=True),
        EncryptionContext={name: value for name, value in pairs.items() if value},
        KeyId=row["encryption_key_id"],
    )
    assert answer["KeyId"] == row["encryption_key_id"], "the row names another key"
    return open_sealed(AESGCM(answer["Plaintext"]), sealed)


def main():
    document = json.load(sys.stdin)
    by_version = opener(document)
    read = []
    for row in document["rows"]:
        tokens = []
        for column in ("access_token", "refresh_token"):
            tokens.append(by_version[row["encryption_version"]](row, column) if row[column] else row[column])
        read.append(tokens)
    json.dump(read, sys.stdout)


main()
