#!/usr/bin/env python3
"""A Go service refreshes tokens of a vod-tender table while `migrate` moves it; no refresh token is lost.

The provider takes each refresh token once. A token that was lost, or stored over a newer one, is refused at the next refresh.
"""

import argparse
import base64
import os
import secrets
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid

import oauth_provider
import psycopg
from cross import VOD, Check, build_go
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg.rows import dict_row
from tokenseal import Sealer

from common import CHECKS

DIRECT_KEY = secrets.token_bytes(32)
CHANNELS, ROUNDS, CALLERS = 24, 6, 4
FORMS = ("plaintext", "direct AES", "envelope of its own", "envelope in base64 once more")
LIMIT_SECONDS = 240
# That is when a migration may change the row.
LATENCY_SECONDS = 0.01


def stored(check, form, text):
    """A token as vod-tender itself stores it, with the row's version."""
    nonce = secrets.token_bytes(12)
    if form == "plaintext":
        return text, 0
    if form == "direct AES":
        return base64.b64encode(nonce + AESGCM(DIRECT_KEY).encrypt(nonce, text.encode(), None)).decode(), 1
    context = {"Application": "vod-tender", "Purpose": "oauth-token"}
    made = check.kms.generate_data_key(KeyId=check.key, KeySpec="AES_256", EncryptionContext=context)
    sealed = nonce + AESGCM(made["Plaintext"]).encrypt(nonce, text.encode(), None)
    envelope = "kms:v2:" + ":".join(base64.b64encode(part).decode() for part in (made["CiphertextBlob"], sealed))
    return envelope if form == FORMS[2] else base64.b64encode(envelope.encode()).decode(), 2


def fill(check, database, provider):
    database.execute(
        "CREATE TABLE oauth_tokens (provider text NOT NULL, channel text NOT NULL, access_token text, refresh_token text,"
        " expires_at timestamptz, scope text, updated_at timestamptz, encryption_version integer DEFAULT 0,"
        " encryption_method text, encryption_key_id text, PRIMARY KEY (provider, channel))"
    )
    for number, (channel, pair) in enumerate(provider.current.items()):
        form = FORMS[number % len(FORMS)]
        (access, version), (refresh, _) = (stored(check, form, text) for text in pair)
        database.execute(
            "INSERT INTO oauth_tokens (provider, channel, access_token, refresh_token, encryption_version,"
            " encryption_key_id) VALUES ('twitch', %s, %s, %s, %s, %s)",
            (channel, access, refresh, version, check.key if version == 2 else None),
        )


class Service:
    """The Go service as a process; ends with the context."""

    def __init__(self, check, url, provider):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": url if "sslmode" in url else f"{url}&sslmode=disable",
            "TOKEN_URL": provider.url,
            "LISTEN": self.address,
            "KMS_KEY_ID": check.key,
            "ENCRYPTION_KEY": base64.b64encode(DIRECT_KEY).decode(),
            "AWS_ENDPOINT_URL_KMS": os.environ["TOKENSEAL_TEST_MOTO_URL"],
        }
        self.process = subprocess.Popen([build_go(CHECKS / "services" / "refresh")], env=environment)

    def __enter__(self):
        end = time.monotonic() + 30
        while not self.answers():
            if time.monotonic() > end or self.process.poll() is not None:
                self.__exit__()
                raise SystemExit("the Go service did not start")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)

    def answers(self):
        try:
            return self.call("/healthz", "GET") == 200
        except OSError:
            return False

    def call(self, path, method="POST"):
        request = urllib.request.Request(f"http://{self.address}{path}", method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status


def keep_refreshing(service, channels, problems):
    for channel in channels * ROUNDS:
        try:
            service.call(f"/refresh/{channel}")
        except urllib.error.HTTPError as error:
            problems.append(f"{channel}: {error.code} {error.read().decode().strip()}")


def refresh_and_migrate(check, service, url, channels):
    """Callers ask for refreshes, two of them for each channel, while `migrate` runs again and again."""
    settings = {"database": url, "ENCRYPTION_KEY": base64.b64encode(DIRECT_KEY).decode()}
    problems = []
    halves = [channels[: len(channels) // 2], channels[len(channels) // 2 :]]
    threads = [
        threading.Thread(target=keep_refreshing, args=(service, halves[caller % 2], problems), daemon=True)
        for caller in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    runs, end = 0, time.monotonic() + LIMIT_SECONDS
    while any(thread.is_alive() for thread in threads):
        if time.monotonic() > end:
            raise SystemExit(f"the refreshes took over {LIMIT_SECONDS} s")
        # 3: it gave up on a row that was changed under it again and again.
        check.migrate_tokens("migrate", "--rebind", "--batch-size", "3", codes=(0, 3), **settings)
        runs += 1
    check.expect(problems, [], "every refresh succeeds")
    migrated = check.migrate_tokens("migrate", "--rebind", **settings)
    check.expect(migrated["failed"], 0, "a last migrate")
    verified = check.migrate_tokens("verify", BINDING="require", PLAINTEXT_POLICY="forbid", **settings)
    found = (verified["ok"], verified["unbound"], verified["failed"])
    check.expect(found, (2 * len(channels), 0, 0), "verify")
    return runs


def nothing_is_lost(check, database, provider):
    bound = Sealer(check.kms, check.key, "vod-tender", binding="require", floor="bound")
    for row in database.execute("SELECT * FROM oauth_tokens").fetchall():
        marks = {"version": row["encryption_version"], "key_id": row["encryption_key_id"]}
        cell = VOD | {"row": {"provider": row["provider"], "channel": row["channel"]}}
        for column, wanted in zip(("access_token", "refresh_token"), provider.current[row["channel"]], strict=True):
            found = bound.open(row[column], **(cell | {"column": column}), **marks)
            check.expect(found == wanted, True, f"the provider's {column} of {row['channel']} is stored")
    check.expect(provider.refused, [], "the provider refused no refresh token")
    check.expect(provider.granted, CHANNELS * ROUNDS * CALLERS // 2, "one grant for each refresh")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens")
    check = Check(parser.parse_args().program)
    channels = [f"channel-{number:02}" for number in range(CHANNELS)]
    postgres, schema = os.environ["TOKENSEAL_TEST_POSTGRES_URL"], f"clients_{uuid.uuid4().hex[:12]}"
    separator = "&" if "?" in postgres else "?"
    with (
        oauth_provider.serving(channels, LATENCY_SECONDS) as provider,
        psycopg.connect(postgres, row_factory=dict_row, autocommit=True) as database,
    ):
        database.execute(f"CREATE SCHEMA {schema}")
        try:
            database.execute(f"SET search_path = {schema}")
            fill(check, database, provider)
            # The service's driver takes search_path, the programs' the option that sets it.
            url = f"{postgres}{separator}options=-csearch_path%3D{schema}"
            with Service(check, f"{postgres}{separator}search_path={schema}", provider) as service:
                runs = refresh_and_migrate(check, service, url, channels)
            nothing_is_lost(check, database, provider)
        finally:
            database.execute(f"DROP SCHEMA {schema} CASCADE")
    print(f"{check.held} held; {provider.granted} refreshes next to {runs} runs of migrate, none lost")


if __name__ == "__main__":
    main()
