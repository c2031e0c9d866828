#!/usr/bin/env python3
"""PulsePlan's handler, with the callback of its guide, refreshes tokens while `migrate` moves the table; none is lost."""

import argparse
import os
import re
import secrets
import threading
import uuid

import psycopg
from cross import Check
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg.rows import dict_row
from tokenseal import KeyServiceError, NotAuthentic, Sealer

from common import ROOT

GUIDE = ROOT / "docs" / "migrating-from" / "pulseplan.md"
MASTER_KEY = "hRBgHxon2vkMAnkuY9KH3OUiAQKbIBubNxy12kXZbP8="
USERS, ROUNDS, HANDLERS = 8, 5, 4


def guide():
    """The code of the guide, as names."""
    names = {}
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
    exec(compile(code, str(GUIDE), "exec"), names)
    return names


def seal_locally(names, user_id, text):
    """A value as PulsePlan writes it."""
    iv = secrets.token_bytes(16)
    key = names["user_key"](names["master_keys"]()[0], str(user_id), "v2")
    sealed = AESGCM(key).encrypt(iv, text.encode(), None)
    return f"v2:{iv.hex()}:{sealed[-16:].hex()}:{sealed[:-16].hex()}"


def read(sealer, row, column="access_token"):
    cell = {"table": "oauth_tokens", "column": column, "row": {"id": row["id"]}, "owner": {"user_id": row["user_id"]}}
    return sealer.open(row[column], **cell)


def refresh(sealer, url, ids, retries):
    """A handler: reads a row's token, and writes the next one, until each row had its turns."""
    with psycopg.connect(url, row_factory=dict_row, autocommit=True) as database:
        left = list(ids) * ROUNDS
        while left:
            row = database.execute("SELECT * FROM oauth_tokens WHERE id = %s", (left[0],)).fetchone()
            try:
                following = str(int(read(sealer, row)) + 1)
                statement = sealer.update(table="oauth_tokens", old=row, set={"access_token": following})
            except KeyServiceError as error:
                if not error.is_retryable:
                    raise
                continue
            if database.execute(*statement).rowcount == 1:
                left.pop(0)
            else:
                retries.append(left[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens")
    check = Check(parser.parse_args().program)
    os.environ["TOKEN_ENCRYPTION_KEY"] = MASTER_KEY
    names = guide()
    sealer = Sealer(check.kms, check.key, "pulseplan", legacy=names["pulseplan_local"])
    postgres, schema = os.environ["TOKENSEAL_TEST_POSTGRES_URL"], f"clients_{uuid.uuid4().hex[:12]}"
    url = f"{postgres}{'&' if '?' in postgres else '?'}options=-csearch_path%3D{schema}"
    with psycopg.connect(postgres, row_factory=dict_row, autocommit=True) as database:
        database.execute(f"CREATE SCHEMA {schema}")
        try:
            database.execute(f"SET search_path = {schema}")
            database.execute(
                "CREATE TABLE oauth_tokens (id uuid PRIMARY KEY, user_id uuid NOT NULL, access_token text NOT NULL,"
                " refresh_token text NOT NULL)"
            )
            for _ in range(USERS):
                user = uuid.uuid4()
                tokens = [seal_locally(names, user, text) for text in ("0", f"refresh of {user}")]
                database.execute("INSERT INTO oauth_tokens VALUES (%s, %s, %s, %s)", (uuid.uuid4(), user, *tokens))
            ids = [row["id"] for row in database.execute("SELECT id FROM oauth_tokens").fetchall()]
            retries = run(check, sealer, url, ids)
            rows = database.execute("SELECT * FROM oauth_tokens").fetchall()
            bound = Sealer(check.kms, check.key, "pulseplan", binding="require", floor="bound")
            for row in rows:
                check.expect(read(bound, row), str(HANDLERS * ROUNDS), "every refresh is there")
                check.expect(read(bound, row, "refresh_token"), f"refresh of {row['user_id']}", "the other token stays")
            moved = {**rows[0], "user_id": rows[1]["user_id"]}
            try:
                read(bound, moved)
                raise SystemExit("a token opened for another user")
            except NotAuthentic:
                check.held += 1
        finally:
            database.execute(f"DROP SCHEMA {schema} CASCADE")
    print(f"{check.held} held; {HANDLERS} handlers next to migrate lost nothing, {len(retries)} swaps repeated")


def run(check, sealer, url, ids):
    settings = {"database": url, "profile": "pulseplan", "TOKEN_ENCRYPTION_KEY": MASTER_KEY}
    retries = []
    threads = [threading.Thread(target=refresh, args=(sealer, url, ids, retries)) for _ in range(HANDLERS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # 3: it gave up on a row that was changed under it again and again.
        check.migrate_tokens("migrate", "--batch-size", "3", codes=(0, 3), **settings)
    for thread in threads:
        thread.join()
    migrated = check.migrate_tokens("migrate", **settings)
    check.expect(migrated["failed"], 0, "a last migrate")
    verified = check.migrate_tokens("verify", BINDING="require", PLAINTEXT_POLICY="forbid", **settings)
    check.expect((verified["ok"], verified["unbound"], verified["failed"]), (2 * len(ids), 0, 0), "verify")
    return retries


if __name__ == "__main__":
    main()
