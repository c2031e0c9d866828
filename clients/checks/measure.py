#!/usr/bin/env python3
"""Measures what a read costs from each language: a value whose data key is cached, the same through boto3 alone, `get`.

Prints the rows of the table in docs/from-another-language.md. Not part of any check: times say something about a quiet
machine alone.
"""

import argparse
import base64
import sqlite3
import statistics
import time

from cross import FORMS, VOD, Check
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VALUE = "x" * 256
TIMES = 20_000
ROW = {"provider": "twitch", "channel": "me"}


def shown(microseconds):
    ordered = sorted(microseconds)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    return f"{p50:,.0f} µs | {p99:,.0f} µs"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens")
    check = Check(parser.parse_args().program)
    cell = VOD | {"row": ROW}
    common = {"key": check.key, "profile": "vod-tender"}
    texts = {}
    for form in FORMS[:2]:
        sealed = check.tools["python"](op="seal", value=VALUE, **common, **form, **cell)
        texts[form["format"]] = sealed["text"]
        for name, tool in check.tools.items():
            taken = tool(op="measure", text=sealed["text"], times=TIMES, **common, **cell)["microseconds"]
            print(f"| {name}, {form['format']}, data key cached | {shown(taken[100:])} |")
    print(f"| boto3 and cryptography by hand, no cache | {shown([by_hand(check, texts['v2']) for _ in range(300)])} |")
    print(f"| `migrate-tokens get` | {shown(program(check, texts['v2'], 40))} |")


def by_hand(check, text):
    start = time.perf_counter()
    wrapped, sealed = (base64.b64decode(part) for part in text.removeprefix("kms:v2:").split(":"))
    context = {
        "Application": "vod-tender", "Purpose": "oauth-token", "table": "oauth_tokens", "column": "access_token", **ROW,
    }  # fmt: skip
    key = check.kms.decrypt(CiphertextBlob=wrapped, KeyId=check.key, EncryptionContext=context)["Plaintext"]
    AESGCM(key).decrypt(sealed[:12], sealed[12:], None)
    return (time.perf_counter() - start) * 1e6


def program(check, text, times):
    path = check.directory / "measured.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE oauth_tokens (provider TEXT, channel TEXT, access_token TEXT, refresh_token TEXT, expires_at TEXT,"
            " scope TEXT, updated_at TEXT, encryption_version INTEGER, encryption_method TEXT, encryption_key_id TEXT,"
            " PRIMARY KEY (provider, channel))"
        )
        values = ("twitch", "me", text, 2, "kms-envelope", check.key)
        connection.execute(
            "INSERT INTO oauth_tokens (provider, channel, access_token, encryption_version, encryption_method,"
            " encryption_key_id) VALUES (?, ?, ?, ?, ?, ?)",
            values,
        )
    connection.close()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        check.migrate_tokens("get", "--row", "provider=twitch,channel=me", "--reveal", database=f"sqlite://{path}")
        taken.append((time.perf_counter() - start) * 1e6)
    return taken


if __name__ == "__main__":
    main()
