"""The example of the README runs."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from support import MemoryKms, Sealer

README = Path(__file__).resolve().parents[1] / "README.md"


def example() -> str:
    found = re.search(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


@pytest.mark.skipif("TOKENSEAL_TEST_MOTO_URL" not in os.environ, reason="moto does not run")
def test_the_example_reads_and_writes_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    monkeypatch.chdir(tmp_path)
    for name, value in {
        "AWS_ENDPOINT_URL_KMS": os.environ["TOKENSEAL_TEST_MOTO_URL"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)
    kms = boto3.client("kms")
    if not any(alias["AliasName"] == "alias/tokens" for alias in kms.list_aliases(Limit=1000)["Aliases"]):
        kms.create_alias(AliasName="alias/tokens", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    with sqlite3.connect("tokens.db") as database:
        database.execute(
            "CREATE TABLE oauth_tokens (provider TEXT, channel TEXT, access_token TEXT, refresh_token TEXT,"
            " expires_at TEXT, updated_at TEXT, encryption_version INTEGER, encryption_method TEXT,"
            " encryption_key_id TEXT, PRIMARY KEY (provider, channel))"
        )
        database.execute("INSERT INTO oauth_tokens (provider, channel, access_token) VALUES ('twitch', 'me', 'old')")
    names: dict[str, Any] = {}
    exec(compile(example(), "README.md", "exec"), names)
    assert names["token"] == "old"
    stored = names["database"].execute("SELECT refresh_token, encryption_version FROM oauth_tokens").fetchone()
    cell: dict[str, Any] = {"table": "oauth_tokens", "column": "refresh_token"}
    row = {"provider": "twitch", "channel": "me"}
    assert names["sealer"].open(stored[0], **cell, row=row, version=stored[1]) == "a new refresh token"


def test_the_readme_names_every_public_name() -> None:
    import tokenseal

    text = README.read_text("utf-8")
    inner = {"NOT_GIVEN", "Cell", "Statement", "Table", "VersionColumns"}
    assert [name for name in tokenseal.__all__ if name not in inner and name not in text] == []
    assert Sealer(MemoryKms(), "alias/tokens", "vod-tender").profile.name == "vod-tender"
