#!/usr/bin/env python3
"""The autonomous platform's handler, with the callback of its guide, renews tokens while `migrate` moves two tables; none is lost."""

import argparse
import base64
import re
import secrets
import threading

import agents
import psycopg
from cross import Check
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import sql
from psycopg.rows import dict_row
from tokenseal import FromDatabase, KeyServiceError, NotAuthentic, Sealer

from common import ROOT

GUIDE = ROOT / "docs" / "migrating-from" / "autonomous-platform.md"
TABLES = ("gh_connection", "jira_connection")
ROWS, ROUNDS, HANDLERS = 6, 4, 4


def guide():
    """The code of the guide, as names."""
    names = {}
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
    exec(compile(code, str(GUIDE), "exec"), names)
    return names


def seal_as_before(kms, key, text):
    """A value as the platform writes it: a data key without a context, and nothing bound."""
    made = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    nonce = secrets.token_bytes(12)
    parts = (made["CiphertextBlob"], nonce, AESGCM(made["Plaintext"]).encrypt(nonce, text.encode(), None))
    inner = "|".join(["v1", *(base64.b64encode(part).decode() for part in parts)])
    return base64.b64encode(inner.encode()).decode()


def read(sealer, table, row, column="access_token"):
    return sealer.open(row[column], table=table, column=column, row={"id": FromDatabase(row["id"])})


def renew(sealer, url, cells, retries):
    """A handler: reads a row's token, and writes the next one, until each row had its turns."""
    with psycopg.connect(url, row_factory=dict_row, autocommit=True) as database:
        left = cells * ROUNDS
        while left:
            table, number = left[0]
            query = sql.SQL("SELECT * FROM {} WHERE id = %s").format(sql.Identifier(table))
            row = database.execute(query, (number,)).fetchone()
            try:
                following = str(int(read(sealer, table, row)) + 1)
                statement = sealer.update(table=table, old=row, set={"access_token": following})
            except KeyServiceError as error:
                if not error.is_retryable:
                    raise
                continue
            if database.execute(*statement).rowcount == 1:
                left.pop(0)
            else:
                retries.append(left[0])


def migrate_next_to(check, handlers, url):
    for handler in handlers:
        handler.start()
    while any(handler.is_alive() for handler in handlers):
        # 3: it gave up on a row that was changed under it again and again.
        check.migrate_tokens("migrate", "--batch-size", "3", database=url, profile="autonomous", codes=(0, 3))
    migrated = check.migrate_tokens("migrate", database=url, profile="autonomous")
    check.expect(migrated["failed"], 0, "a last migrate")
    settings = {"BINDING": "require", "PLAINTEXT_POLICY": "forbid"}
    verified = check.migrate_tokens("verify", database=url, profile="autonomous", **settings)
    found = (verified["ok"], verified["unbound"], verified["failed"])
    check.expect(found, (2 * ROWS * len(TABLES), 0, 0), "verify")


def nothing_is_lost(check, database):
    bound = Sealer(check.kms, check.key, "autonomous", binding="require", floor="bound")
    for table in TABLES:
        rows = database.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))).fetchall()
        for row in rows:
            check.expect(read(bound, table, row), str(HANDLERS * ROUNDS), f"every renewal in {table}")
            check.expect(read(bound, table, row, "refresh_token"), f"refresh of {row['id']}", "the other token stays")
        try:
            read(bound, table, {**rows[0], "id": rows[1]["id"]})
            raise SystemExit("a token opened in another row")
        except NotAuthentic:
            check.held += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens")
    check = Check(parser.parse_args().program)
    # The next key is tried first, and is the wrong one.
    legacy = guide()["autonomous"](check.kms, [check.next_key, check.key])
    sealer = Sealer(check.kms, check.key, "autonomous", legacy=legacy)
    retries = []
    with agents.schema() as (database, url):
        for table in TABLES:
            name = sql.Identifier(table)
            database.execute(
                sql.SQL("CREATE TABLE {} (id text PRIMARY KEY, access_token text, refresh_token text)").format(name)
            )
            for number in range(ROWS):
                tokens = [seal_as_before(check.kms, check.key, text) for text in ("0", f"refresh of {number}")]
                database.execute(sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(name), (str(number), *tokens))
        cells = [(table, str(number)) for table in TABLES for number in range(ROWS)]
        arguments = (sealer, url, cells, retries)
        handlers = [threading.Thread(target=renew, args=arguments, daemon=True) for _ in range(HANDLERS)]
        migrate_next_to(check, handlers, url)
        nothing_is_lost(check, database)
    print(f"{check.held} held; {HANDLERS} handlers next to migrate lost nothing, {len(retries)} swaps repeated")


if __name__ == "__main__":
    main()
