#!/usr/bin/env python3
"""Makes the table and the key that a README's example expects, runs it, and checks the written row."""

import os
import subprocess
import sys
import uuid

import boto3
import psycopg

from common import CLIENTS


def main():
    url = os.environ["TOKENSEAL_TEST_POSTGRES_URL"]
    schema = f"clients_{uuid.uuid4().hex[:12]}"
    credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    os.environ.update(
        credentials, AWS_DEFAULT_REGION="us-east-1", AWS_ENDPOINT_URL_KMS=os.environ["TOKENSEAL_TEST_MOTO_URL"]
    )
    kms = boto3.client("kms")
    if not any(alias["AliasName"] == "alias/tokens" for alias in kms.list_aliases(Limit=1000)["Aliases"]):
        kms.create_alias(AliasName="alias/tokens", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(f"CREATE SCHEMA {schema}")
        try:
            database.execute(f"SET search_path = {schema}")
            database.execute(
                "CREATE TABLE oauth_tokens (provider text, channel text, access_token text, refresh_token text, expires_at"
                " timestamptz, updated_at timestamptz, encryption_version integer, encryption_method text,"
                " encryption_key_id text, PRIMARY KEY (provider, channel))"
            )
            database.execute(
                "INSERT INTO oauth_tokens (provider, channel, access_token) VALUES ('twitch', 'me', 'old')"
            )
            separator = "&" if "?" in url else "?"
            target = f"{url}{separator}search_path={schema}" + ("" if "sslmode" in url else "&sslmode=disable")
            done = subprocess.run(
                sys.argv[1:], env={**os.environ, "DATABASE_URL": target}, capture_output=True, text=True
            )
            if done.returncode != 0 or done.stdout.strip() != str(len("old")):
                raise SystemExit(f"the example failed: {done.stdout}{done.stderr}")
            row = database.execute("SELECT refresh_token, encryption_version FROM oauth_tokens").fetchone()
        finally:
            database.execute(f"DROP SCHEMA {schema} CASCADE")
    sys.path.insert(0, str(CLIENTS / "python" / "src"))
    from tokenseal import Sealer

    cell = {"table": "oauth_tokens", "column": "refresh_token", "row": {"provider": "twitch", "channel": "me"}}
    if Sealer(kms, "alias/tokens", "vod-tender").open(row[0], **cell, version=row[1]) != "a new refresh token":
        raise SystemExit("the example wrote something else")


if __name__ == "__main__":
    main()
