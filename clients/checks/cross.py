#!/usr/bin/env python3
"""Every client and the program open each other's values; a moved value opens in none; no writer loses an update."""

import argparse
import json
import os
import sqlite3
import subprocess
import tempfile
import threading
import uuid
from pathlib import Path

import boto3
import psycopg

from common import CHECKS, GOPATH, NODE, PYTHON, TARGET, go

TEXT = 'gho_tök€n-ünï-🔑 "quoted" \\'
FORMS = [{"format": "v2"}, {"format": "v3"}, {"format": "v3", "suite": "chacha20-poly1305"}]
CRM = """
name = "crm"
[context]
Application = "crm"
Purpose = "customer-pii"
[[tables]]
name = "customers"
key = ["id"]
owner = ["tenant_id"]
tokens = ["email", "phone"]
"""
TYPES = 'types = { id = "integer", tenant_id = "text" }\n'
VOD = {"table": "oauth_tokens", "column": "access_token", "owner": {}}
ROWS_PER_CLIENT = 3


class Tool:
    """A client as a process."""

    def __init__(self, name, command):
        self.name = name
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL_KMS": os.environ["TOKENSEAL_TEST_MOTO_URL"],
            "PYTHONPATH": str(CHECKS.parent / "python" / "src"),
            "KMS_PACKAGE": f"file://{NODE}/node_modules/@aws-sdk/client-kms/dist-cjs/index.js",
            "PG_PACKAGE": f"file://{NODE}/node_modules/pg/esm/index.mjs",
        }
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, **job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the tool ended")
        return json.loads(line)


def build_go(source):
    """Builds a program of the checks with the libraries of the adapters; returns its path."""
    name = f"tokenseal-{source.name}"
    link = GOPATH / "src" / name
    if not link.is_symlink():
        link.symlink_to(source)
    binary = TARGET / source.name
    go("build", "-o", binary, name, modules=False, cwd=GOPATH / "src")
    return binary


def commands():
    return {
        "python": [PYTHON, CHECKS / "tools" / "tool.py"],
        "node": ["node", CHECKS / "tools" / "tool.mjs"],
        "go": [build_go(CHECKS / "tools" / "gotool")],
    }


class Check:
    """Everything that the parts share, and the number of things that held."""

    def __init__(self, program):
        self.program = program
        self.kms = boto3.client(
            "kms",
            endpoint_url=os.environ["TOKENSEAL_TEST_MOTO_URL"],
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        self.key, self.next_key = self.new_key(), self.new_key()
        self.commands = commands()
        self.tools = {name: Tool(name, command) for name, command in self.commands.items()}
        self.directory = Path(tempfile.mkdtemp(prefix="tokenseal-clients-"))
        self.profile = self.directory / "crm.toml"
        self.profile.write_text(CRM + TYPES)
        # The same as the program prints it, which clients may read instead.
        self.profile_json = self.directory / "crm.json"
        shown = self.migrate_tokens("profile", "show", database="sqlite://none.db", profile=self.profile)
        self.profile_json.write_text(json.dumps(shown))
        self.held = 0

    def new_key(self):
        return self.kms.create_key()["KeyMetadata"]["Arn"]

    def expect(self, got, wanted, what):
        if got != wanted:
            raise SystemExit(f"{what}: got {got!r}, expected {wanted!r}")
        self.held += 1

    def migrate_tokens(self, *arguments, database, profile="vod-tender", key=None, stdin=None, codes=(0,), **variables):
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database,
            "TOKEN_PROFILE": str(profile),
            "KMS_KEY_ID": key or self.key,
            "AWS_ENDPOINT_URL_KMS": os.environ["TOKENSEAL_TEST_MOTO_URL"],
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            **variables,
        }
        words = [self.program, "--format", "json", "--no-progress", *arguments]
        done = subprocess.run(words, env=environment, input=stdin, capture_output=True, text=True)
        if done.returncode not in codes:
            raise SystemExit(f"migrate-tokens {arguments} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return json.loads(done.stdout) if done.stdout.strip() else {}


def each_opens_what_each_sealed(check):
    cells = [
        (
            "vod-tender",
            "vod-tender",
            VOD | {"row": {"provider": "twitch", "channel": "me"}},
            VOD | {"row": {"provider": "x", "channel": "me"}},
        ),
        (
            str(check.profile),
            str(check.profile_json),
            {"table": "customers", "column": "email", "row": {"id": "007"}, "owner": {"tenant_id": None}},
            {"table": "customers", "column": "email", "row": {"id": 7}, "owner": {"tenant_id": "acme"}},
        ),
    ]
    for profile, profile_of_reader, cell, moved in cells:
        for form in FORMS:
            common = {"key": check.key, "profile": profile_of_reader}
            for writer, seal in check.tools.items():
                sealed = seal(op="seal", value=TEXT, key=check.key, profile=profile, **form, **cell)
                check.expect(sealed.get("key_id"), check.key, f"{writer} seals {form}")
                for reader, tool in check.tools.items():
                    what = f"{reader} opens what {writer} sealed as {form} in {profile}"
                    opened = tool(op="open", text=sealed["text"], **common, **cell, version=2, key_id=sealed["key_id"])
                    check.expect(opened, {"value": TEXT}, what)
                    refused = tool(op="open", text=sealed["text"], **common, **moved, version=2)
                    check.expect(refused, {"error": "NotAuthentic"}, f"{what}, moved")
                    other = {**cell, "column": {"email": "phone", "access_token": "refresh_token"}[cell["column"]]}
                    refused = tool(op="open", text=sealed["text"], **common, **other, version=2)
                    check.expect(refused, {"error": "NotAuthentic"}, f"{what}, in another column")


def the_program_and_the_clients_open_what_the_other_sealed(check):
    for form in FORMS:
        path = check.directory / f"{uuid.uuid4().hex}.db"
        database = f"sqlite://{path}"
        with sqlite3.connect(path) as connection:
            connection.execute(
                "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL, access_token TEXT, refresh_token"
                " TEXT, expires_at TEXT, scope TEXT, updated_at TEXT, encryption_version INTEGER, encryption_method TEXT,"
                " encryption_key_id TEXT, PRIMARY KEY (provider, channel))"
            )
            for writer, tool in check.tools.items():
                cell = VOD | {"row": {"provider": "twitch", "channel": writer}}
                sealed = tool(op="seal", value=TEXT + writer, key=check.key, profile="vod-tender", **form, **cell)
                connection.execute(
                    "INSERT INTO oauth_tokens (provider, channel, access_token, encryption_version, encryption_method,"
                    " encryption_key_id) VALUES ('twitch', ?, ?, ?, ?, ?)",
                    (writer, sealed["text"], sealed["version"], sealed["method"], sealed["key_id"]),
                )
        connection.close()
        settings = {"database": database, "ENVELOPE_FORMAT": form["format"]}
        for writer in check.tools:
            row = f"provider=twitch,channel={writer}"
            got = check.migrate_tokens("get", "--row", row, "--column", "access_token", "--reveal", **settings)
            check.expect(got["value"], TEXT + writer, f"the program opens what {writer} sealed as {form}")
        check.migrate_tokens(
            "put", "--row", "provider=twitch,channel=program", "--column", "access_token", stdin=TEXT, **settings
        )
        verified = check.migrate_tokens("verify", BINDING="require", PLAINTEXT_POLICY="forbid", **settings)
        check.expect((verified["ok"], verified["unbound"], verified["failed"]), (4, 0, 0), f"verify of {form}")
        every_client_opens(check, path, check.key, {}, form)
        rewrapped = check.migrate_tokens("rewrap", "--to", check.next_key, **settings)
        check.expect((rewrapped["rewrapped"], rewrapped["failed"]), (4, 0), f"rewrap of {form}")
        every_client_opens(check, path, check.next_key, {}, form)
        verified = check.migrate_tokens("verify", key=check.next_key, BINDING="require", **settings)
        check.expect((verified["ok"], verified["unbound"]), (4, 0), f"verify of {form} after rewrap")


def every_client_opens(check, path, key, allowed, form):
    connection = sqlite3.connect(path)
    columns = "channel, access_token, encryption_version, encryption_key_id"
    for channel, text, version, key_id in connection.execute(f"SELECT {columns} FROM oauth_tokens").fetchall():
        check.expect(key_id, key, f"the key of {channel}")
        for reader, tool in check.tools.items():
            cell = VOD | {"row": {"provider": "twitch", "channel": channel}}
            opened = tool(
                op="open", text=text, version=version, key_id=key_id, key=key, profile="vod-tender", **allowed, **cell
            )
            wanted = TEXT + ("" if channel == "program" else channel)
            check.expect(opened, {"value": wanted}, f"{reader} opens {form} of {channel}")
    connection.close()


def no_writer_loses_an_update(check, postgres):
    """Eight writers through the clients, three languages, on a table that `migrate` moves at the same time."""
    schema, rows, rounds = f"clients_{uuid.uuid4().hex[:12]}", 40, 5
    separator = "&" if "?" in postgres else "?"
    database = f"{postgres}{separator}options=-csearch_path%3D{schema}"
    channels = [f"channel-{number:02}" for number in range(rows)]
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        try:
            connection.execute(f"SET search_path = {schema}")
            connection.execute(
                "CREATE TABLE oauth_tokens (provider text NOT NULL, channel text NOT NULL, access_token text, refresh_token"
                " text, expires_at timestamptz, scope text, updated_at timestamptz, encryption_version integer DEFAULT 0,"
                " encryption_method text, encryption_key_id text, PRIMARY KEY (provider, channel))"
            )
            for channel in channels:
                connection.execute(
                    "INSERT INTO oauth_tokens (provider, channel, access_token, refresh_token) VALUES ('twitch', %s, '0', %s)",
                    (channel, f"refresh of {channel}"),
                )
            writers = ["python", "python", "python", "node", "node", "node", "go", "go"]
            retries = write_all(check, database, writers, channels, rounds)
            migrated = check.migrate_tokens("migrate", "--batch-size", "5", database=database)
            check.expect(migrated["failed"], 0, "a last migrate")
            found = connection.execute(
                "SELECT channel, access_token, refresh_token, encryption_key_id FROM oauth_tokens"
            )
            for channel, access, refresh, key_id in found.fetchall():
                for column, text, wanted in (
                    ("access_token", access, str(len(writers) * rounds)),
                    ("refresh_token", refresh, f"refresh of {channel}"),
                ):
                    cell = VOD | {"column": column, "row": {"provider": "twitch", "channel": channel}}
                    opened = check.tools["go"](
                        op="open", text=text, version=2, key_id=key_id, key=check.key, profile="vod-tender", **cell
                    )
                    check.expect(opened, {"value": wanted}, f"{column} of {channel}")
            verified = check.migrate_tokens("verify", database=database, BINDING="require", PLAINTEXT_POLICY="forbid")
            check.expect(
                (verified["failed"], verified["unbound"], verified["plaintext"]), (0, 0, 0), "verify at the end"
            )
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
    return retries


def write_all(check, database, writers, channels, rounds):
    answers, threads = [], []
    go_database = database if "sslmode" in database else database + "&sslmode=disable"
    for number, name in enumerate(writers):
        tool = Tool(name, check.commands[name])
        # Each writer starts elsewhere, so that they meet now and then and not always.
        start = number * len(channels) // len(writers)
        order = (channels[start:] + channels[:start]) * rounds
        job = {"op": "increment", "channels": order, "key": check.key, "profile": "vod-tender"}
        job["database"] = go_database if name == "go" else database
        threads.append(threading.Thread(target=lambda tool=tool, job=job: answers.append(tool(**job))))
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # 3: it gave up on a row that was changed under it again and again.
        check.migrate_tokens("migrate", "--batch-size", "5", database=database, codes=(0, 3))
    for thread in threads:
        thread.join()
    check.expect([answer for answer in answers if "error" in answer], [], "every writer ends well")
    check.expect(len(answers), len(writers), "every writer ends")
    return sum(answer["retries"] for answer in answers)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens")
    check = Check(parser.parse_args().program)
    each_opens_what_each_sealed(check)
    the_program_and_the_clients_open_what_the_other_sealed(check)
    said = f"{check.held} held"
    postgres = os.environ.get("TOKENSEAL_TEST_POSTGRES_URL", "")
    if postgres and not postgres.startswith("unavailable"):
        retries = no_writer_loses_an_update(check, postgres)
        said = f"{check.held} held; 8 writers next to migrate lost nothing, {retries} swaps repeated"
    print(said)


if __name__ == "__main__":
    main()
