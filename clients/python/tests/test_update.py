"""The statement that writes a row is a compare-and-swap over everything that its values are bound to."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from support import ARN, CANARY, CRM, DIRECT_KEY, OTHER_ARN, VOD_ROW, MemoryKms, Sealer, vod

from tokenseal import FromDatabase, Profile, Refused, Sealed
from tokenseal._profile import Table

DIRECT = "Wo1wd20YfeRKh/FB3w4ZRcaGHZTnTf/sYlBmeXE="
DIRECT_VECTOR_KEY = "XkXtzoUzXKMQyf9qesdDL7Magn5MmYjBrtHGvRJuxlk="
COLUMNS = (
    "provider, channel, access_token, refresh_token, scope, encryption_version, encryption_method, encryption_key_id"
)


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute(
        "CREATE TABLE oauth_tokens (provider TEXT, channel TEXT, access_token TEXT, refresh_token TEXT,"
        " expires_at TEXT, scope TEXT, updated_at TEXT, encryption_version INTEGER, encryption_method TEXT,"
        " encryption_key_id TEXT,"
        " PRIMARY KEY (provider, channel))"
    )
    yield connection
    connection.close()


def insert(database: sqlite3.Connection, *values: Any) -> None:
    marks = ", ".join("?" * (2 + len(values)))
    database.execute(f"INSERT INTO oauth_tokens ({COLUMNS}) VALUES ({marks})", ("twitch", "me", *values))


def read(database: sqlite3.Connection) -> dict[str, Any]:
    return dict(database.execute("SELECT * FROM oauth_tokens").fetchone())


def opened(sealer: Sealer, row: dict[str, Any], column: str) -> str:
    return sealer.open(
        row[column],
        table="oauth_tokens",
        column=column,
        row={"provider": row["provider"], "channel": row["channel"]},
        version=row["encryption_version"],
        key_id=row["encryption_key_id"],
    )


STORED = [("refresh", 0, None, None), ("refresh", None, None, None), (DIRECT, 1, "direct-aes", "default")]


@pytest.mark.parametrize(("refresh", "version", "method", "key_id"), STORED)
def test_a_token_that_stays_moves_to_the_new_version_with_the_one_that_is_set(
    database: sqlite3.Connection, refresh: str, version: int | None, method: str | None, key_id: str | None
) -> None:
    insert(database, refresh, refresh, "s", version, method, key_id)
    sealer = vod(MemoryKms(), encryption_key=DIRECT_VECTOR_KEY)
    statement = sealer.update(
        table="oauth_tokens",
        old=read(database),
        set={"access_token": "new"},
        plain={"scope": "chat"},
        dialect="sqlite",
    )
    assert database.execute(*statement).rowcount == 1
    row = read(database)
    assert (row["encryption_version"], row["encryption_method"], row["encryption_key_id"]) == (2, "kms-envelope", ARN)
    assert (row["scope"], row["updated_at"] is not None) == ("chat", True)
    assert opened(sealer, row, "access_token") == "new"
    assert opened(sealer, row, "refresh_token") == ("refresh" if version in (0, None) else "x")


def test_a_token_that_stays_keeps_its_text_under_the_same_version_and_key(database: sqlite3.Connection) -> None:
    insert(database, "a", "r", None, 0, None, None)
    sealer = vod(MemoryKms())
    for value in ("one", "two"):
        before = read(database)
        statement = sealer.update(table="oauth_tokens", old=before, set={"access_token": value}, dialect="sqlite")
        assert database.execute(*statement).rowcount == 1
    row = read(database)
    assert row["refresh_token"] == before["refresh_token"]
    assert opened(sealer, row, "access_token") == "two"
    statement = sealer.update(table="oauth_tokens", old=row, set={"access_token": None}, dialect="sqlite")
    database.execute(*statement)
    row = read(database)
    assert (row["access_token"], row["encryption_version"], row["encryption_key_id"]) == (None, 2, ARN)
    assert opened(sealer, row, "refresh_token") == "r"


def test_a_token_that_stays_is_sealed_again_when_the_key_changes(database: sqlite3.Connection) -> None:
    insert(database, "a", "r", None, 0, None, None)
    kms = MemoryKms()
    database.execute(
        *vod(kms).update(table="oauth_tokens", old=read(database), set={"access_token": "a"}, dialect="sqlite")
    )
    moved = Sealer(kms, OTHER_ARN, "vod-tender", [ARN])
    database.execute(
        *moved.update(table="oauth_tokens", old=read(database), set={"access_token": "b"}, dialect="sqlite")
    )
    row = read(database)
    assert row["encryption_key_id"] == OTHER_ARN
    alone = Sealer(kms, OTHER_ARN, "vod-tender")
    assert (opened(alone, row, "access_token"), opened(alone, row, "refresh_token")) == ("b", "r")


@pytest.mark.parametrize("change", ["access_token = 'z'", "refresh_token = NULL", "encryption_version = 1"])
def test_a_row_that_changed_meanwhile_is_not_written(database: sqlite3.Connection, change: str) -> None:
    insert(database, "a", "r", None, 0, None, None)
    sealer = vod(MemoryKms())
    statement = sealer.update(table="oauth_tokens", old=read(database), set={"access_token": "n"}, dialect="sqlite")
    database.execute(f"UPDATE oauth_tokens SET {change}")
    changed = read(database)
    assert database.execute(*statement).rowcount == 0
    assert read(database) == changed


def test_a_broken_token_that_would_have_to_move_stops_the_write(database: sqlite3.Connection) -> None:
    insert(database, "a", "kms:v2:" + "A" * 30, None, 0, None, None)
    sealer = vod(MemoryKms(), encryption_key=DIRECT_KEY)
    with pytest.raises(Exception, match="contradicts"):
        sealer.update(table="oauth_tokens", old=read(database), set={"access_token": "n"}, dialect="sqlite")


VOD_OLD = {
    "provider": "twitch",
    "channel": "me",
    "access_token": "a",
    "refresh_token": None,
    "encryption_version": 0,
    "encryption_key_id": None,
}
CRM_OLD = {"id": 7, "tenant_id": None, "email": "old", "phone": None}


@pytest.mark.parametrize("missing", ["id", "tenant_id", "email", "phone"])
def test_the_row_as_it_was_read_must_be_whole(missing: str) -> None:
    old = {name: value for name, value in CRM_OLD.items() if name != missing}
    with pytest.raises(Refused):
        Sealer(MemoryKms(), ARN, CRM).update(table="customers", old=old, set={"email": "x"})


@pytest.mark.parametrize(
    "change", [{"set": {}}, {"set": {"id": "x"}}, {"plain": {"phone": "x"}}, {"table": "x"}], ids=str
)
def test_a_statement_that_would_break_a_row_is_refused(change: dict[str, Any]) -> None:
    arguments = {"table": "customers", "old": CRM_OLD, "set": {"email": "x"}, **change}
    with pytest.raises(Refused):
        Sealer(MemoryKms(), ARN, CRM).update(**arguments)


def test_tables_that_only_the_store_can_write_are_refused() -> None:
    fields = {"name": "t", "key": ["id"], "tokens": ["email"]}
    for extra in ({"index": [{"column": "email", "into": "i"}]}, {"record": {"column": "metadata"}}):
        profile = Profile.from_dict({"name": "p", "context": {"a": "b"}, "tables": [{**fields, **extra}]})
        with pytest.raises(Refused):
            Sealer(MemoryKms(), ARN, profile).update(table="t", old={"id": 1, "email": None}, set={"email": "x"})


def test_each_dialect_has_its_own_spelling() -> None:
    sealer = Sealer(MemoryKms(), ARN, CRM)

    def sql(**options: Any) -> str:
        return sealer.update(table="customers", old=CRM_OLD, set={"email": "x"}, **options).sql

    assert sql() == (
        'UPDATE "customers" SET "email" = %s WHERE "id" = %s AND "tenant_id" IS NOT DISTINCT FROM %s'
        ' AND "email" IS NOT DISTINCT FROM %s AND "phone" IS NOT DISTINCT FROM %s'
    )
    assert sql(placeholder="$1").startswith('UPDATE "customers" SET "email" = $1 WHERE "id" = $2 AND')
    assert '"tenant_id" IS ?' in sql(dialect="sqlite")
    assert "BINARY `email` <=> BINARY %s" in sql(dialect="mysql")
    for options in ({"dialect": "oracle"}, {"placeholder": ":1"}):
        with pytest.raises(Refused):
            sql(**options)


def test_identifiers_are_quoted_and_the_schema_is_named() -> None:
    fields = {"name": 'a"b%', "schema": "s", "key": ["id"], "tokens": ["x"]}
    profile = Profile.from_dict({"name": "p", "context": {"a": "b"}, "tables": [fields]})
    statement = Sealer(MemoryKms(), ARN, profile).update(table='a"b%', old={"id": 1, "x": None}, set={"x": "v"})
    assert statement.sql.startswith('UPDATE "s"."a""b%%" SET')


@pytest.mark.skipif("TOKENSEAL_TEST_POSTGRES_URL" not in os.environ, reason="no PostgreSQL")
def test_concurrent_writers_on_postgresql_lose_no_update() -> None:
    import psycopg
    from psycopg.rows import dict_row

    url = os.environ["TOKENSEAL_TEST_POSTGRES_URL"]
    table = CRM.tables[0]
    assert isinstance(table, Table)
    sealer = Sealer(MemoryKms(), ARN, CRM)
    cell: dict[str, Any] = {"table": "customers", "column": "email"}
    with psycopg.connect(url, row_factory=dict_row) as first, psycopg.connect(url, row_factory=dict_row) as second:
        first.execute("CREATE TEMPORARY TABLE unused (x int)")
        name = f"clients_{os.getpid()}"
        first.execute(f"CREATE SCHEMA {name}")
        first.execute(f"CREATE TABLE {name}.customers (id bigint PRIMARY KEY, tenant_id uuid, email text, phone text)")
        first.execute(f"INSERT INTO {name}.customers VALUES (7, NULL, '0', NULL)")
        first.commit()
        try:
            for connection in (first, second):
                connection.execute(f"SET search_path = {name}")
                connection.commit()
            for turn in range(20):
                rows = [c.execute("SELECT * FROM customers").fetchone() for c in (first, second)]
                changed = []
                for connection, row in zip((first, second), rows, strict=True):
                    assert row is not None
                    number = int(
                        sealer.open(
                            row["email"],
                            **cell,
                            row={"id": row["id"]},
                            owner={"tenant_id": row["tenant_id"]},
                            version=0,
                        )
                        if turn == 0
                        else sealer.open(
                            row["email"], **cell, row={"id": row["id"]}, owner={"tenant_id": row["tenant_id"]}
                        )
                    )
                    statement = sealer.update(table="customers", old=row, set={"email": str(number + 1)})
                    changed.append(connection.execute(*statement).rowcount)
                    connection.commit()
                assert changed == [1, 0]
            row = first.execute("SELECT * FROM customers").fetchone()
            assert row is not None
            assert sealer.open(row["email"], **cell, row={"id": 7}, owner={"tenant_id": None}) == "20"
            first.commit()
        finally:
            first.rollback()
            first.execute(f"DROP SCHEMA {name} CASCADE")
            first.commit()


@pytest.mark.parametrize("sealed", [Sealed(CANARY, None, 0, ""), Sealed("AAAA", None, 1, "direct-aes"), 7], ids=str)
def test_a_sealed_value_that_is_no_envelope_is_not_written_as_one(sealed: Any) -> None:
    old = {**VOD_ROW, "access_token": "a", "refresh_token": "r"}
    old |= {"encryption_version": 0, "encryption_method": None, "encryption_key_id": None}
    with pytest.raises(Refused) as refused:
        vod(MemoryKms()).update(table="oauth_tokens", old=old, set={"access_token": sealed})
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("stays", [7, 1.5, True, object(), b"\xff\xfe", ["t"]], ids=repr)
def test_a_token_that_stays_and_is_no_text_stops_the_write(stays: object) -> None:
    for old, columns in (({**VOD_OLD, "refresh_token": stays}, {"access_token": "n"}), (VOD_OLD, {"scope": "n"})):
        with pytest.raises(Refused):
            vod(MemoryKms()).update(table="oauth_tokens", old=old, set=columns)
    with pytest.raises(Refused):
        Sealer(MemoryKms(), ARN, CRM).update(table="customers", old={**CRM_OLD, "phone": stays}, set={"email": "x"})


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_token_that_a_driver_reads_as_bytes_moves_with_the_one_that_is_set(kind: Any) -> None:
    sealer = vod(MemoryKms())
    old = {**VOD_OLD, "refresh_token": kind("r\u00e9fresh".encode())}
    sql, params = sealer.update(table="oauth_tokens", old=old, set={"access_token": "n"}, dialect="sqlite")
    assert sql.startswith('UPDATE "oauth_tokens" SET "access_token" = ?, "refresh_token" = ?')
    row = {"provider": "twitch", "channel": "me"}
    cell: dict[str, Any] = {"table": "oauth_tokens", "column": "refresh_token", "row": row}
    assert sealer.open(params[1], **cell, version=2) == "r\u00e9fresh"
    assert old["refresh_token"] in params


def test_text_of_the_database_is_sent_to_the_driver_as_text() -> None:
    old = {**CRM_OLD, "id": FromDatabase("7"), "tenant_id": FromDatabase("acme")}
    statement = Sealer(MemoryKms(), ARN, CRM).update(
        table="customers", old=old, set={"email": "x"}, plain={"note": FromDatabase("2.50")}
    )
    assert {"7", "acme", "2.50"} <= set(statement.params)
    assert not any(isinstance(value, FromDatabase) for value in statement.params)


@pytest.mark.skipif("TOKENSEAL_TEST_POSTGRES_URL" not in os.environ, reason="TOKENSEAL_TEST_POSTGRES_URL is not set")
@pytest.mark.parametrize(("kind", "stored"), [("char(8)", "ab"), ("numeric(6,2)", "2.50")])
def test_a_row_is_named_by_text_of_the_database(kind: str, stored: str) -> None:
    import psycopg

    table = {"name": "client_keys", "key": ["k"], "tokens": ["token"], "types": {"k": kind}}
    profile = Profile.from_dict({"name": "keys", "context": {"Application": "keys"}, "tables": [table]})
    sealer = Sealer(MemoryKms(), ARN, profile, legacy=lambda text, _: text)
    with psycopg.connect(os.environ["TOKENSEAL_TEST_POSTGRES_URL"]) as connection:
        connection.execute(f"CREATE TEMPORARY TABLE client_keys (k {kind} PRIMARY KEY, token text)")  # type: ignore[arg-type]
        connection.execute("INSERT INTO client_keys VALUES (%s, 'old')", (stored,))
        key, token = connection.execute("SELECT CAST(k AS text), token FROM client_keys").fetchone() or ("", "")
        old = {"k": FromDatabase(key), "token": token}
        assert connection.execute(*sealer.update(table="client_keys", old=old, set={"token": "n"})).rowcount == 1  # type: ignore[arg-type]
        row = connection.execute("SELECT token FROM client_keys").fetchone() or ("",)
        assert sealer.open(row[0], table="client_keys", column="token", row={"k": FromDatabase(key)}) == "n"
