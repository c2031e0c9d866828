"""Shared by the tests: vectors, a key service in memory, profiles."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tokenseal import FromDatabase, Profile, Sealer

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "crates/envelope-core/tests/vectors"
ARN = "arn:aws:kms:us-east-1:111122223333:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
OTHER_ARN = "arn:aws:kms:us-east-1:111122223333:key/aaaaaaaa-4b5a-6978-8796-a5b4c3d2e1f0"
ALIAS = "alias/tokens"
DIRECT_KEY = base64.b64encode(bytes(range(32))).decode()
CANARY = "canary-5f1d0c7e"


def vectors(name: str) -> list[dict[str, Any]]:
    return list(json.loads((VECTORS / name).read_text())["vectors"])


class KmsFailure(Exception):
    """Shaped like botocore's ClientError."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(f"{code}: {CANARY}")
        self.response = {"Error": {"Code": code, "Message": CANARY}, "ResponseMetadata": {"HTTPStatusCode": status}}


class MemoryKms:
    """AWS KMS's promises in memory: the key and the context of a wrapped data key must be presented again."""

    def __init__(self, alias: str = ARN) -> None:
        self.alias = alias
        self.keys = {ARN: AESGCM(bytes(32)), OTHER_ARN: AESGCM(bytes([1]) * 32)}
        self.calls: list[str] = []
        self.failure: Exception | None = None

    def _key(self, key_id: str) -> str:
        arn = self.alias if key_id == ALIAS else key_id
        if arn not in self.keys:
            raise KmsFailure("NotFoundException")
        return arn

    def _begin(self, call: str) -> None:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure

    @staticmethod
    def _context(context: dict[str, str] | None) -> bytes:
        assert all((context or {"-": "-"}).values())
        return json.dumps(context or {}, sort_keys=True).encode()

    def generate_data_key(self, *, KeyId: str, KeySpec: str, EncryptionContext: dict[str, str] | None = None) -> Any:
        self._begin("GenerateDataKey")
        assert KeySpec == "AES_256"
        arn, plaintext, nonce = self._key(KeyId), os.urandom(32), os.urandom(12)
        wrapped = arn[-36:].encode() + nonce
        wrapped += self.keys[arn].encrypt(nonce, plaintext, self._context(EncryptionContext))
        return {"Plaintext": plaintext, "CiphertextBlob": wrapped, "KeyId": arn}

    def decrypt(self, *, KeyId: str, CiphertextBlob: bytes, EncryptionContext: dict[str, str] | None = None) -> Any:
        self._begin("Decrypt")
        arn = self._key(KeyId)
        if not arn.endswith(CiphertextBlob[:36].decode("latin-1")):
            raise KmsFailure("IncorrectKeyException")
        nonce, sealed = CiphertextBlob[36:48], CiphertextBlob[48:]
        try:
            plaintext = self.keys[arn].decrypt(nonce, sealed, self._context(EncryptionContext))
        except (InvalidTag, ValueError):
            raise KmsFailure("InvalidCiphertextException") from None
        return {"Plaintext": plaintext, "KeyId": arn}

    def describe_key(self, *, KeyId: str) -> Any:
        self._begin("DescribeKey")
        return {"KeyMetadata": {"Arn": self._key(KeyId)}}


class FixedKms:
    """Unwraps everything to the data key of a vector."""

    def __init__(self, data_key: bytes, plain: bool = False) -> None:
        self.data_key = data_key
        self.plain = plain

    def generate_data_key(self, **_: Any) -> Any:
        raise NotImplementedError

    def decrypt(self, *, EncryptionContext: dict[str, str], **_: Any) -> Any:
        if self.plain and "table" in EncryptionContext:
            raise KmsFailure("InvalidCiphertextException")
        return {"Plaintext": self.data_key, "KeyId": ARN}

    def describe_key(self, **_: Any) -> Any:
        raise NotImplementedError


VOD_ROW = {"provider": "twitch", "channel": "my-channel"}
VOD_CELL: dict[str, Any] = {"table": "oauth_tokens", "column": "access_token", "row": VOD_ROW}

CRM = Profile.from_dict(
    {
        "name": "crm",
        "context": {"Application": "crm", "Purpose": "pii"},
        "tables": [
            {
                "name": "customers",
                "key": ["id"],
                "owner": ["tenant_id"],
                "tokens": ["email", "phone"],
                "types": {"id": "integer", "tenant_id": "text"},
            }
        ],
    }
)
CRM_CELL: dict[str, Any] = {"table": "customers", "column": "email", "row": {"id": 7}, "owner": {"tenant_id": "acme"}}


def vod(kms: Any, **options: Any) -> Sealer:
    return Sealer(kms, ARN, "vod-tender", **options)


def crm(kms: Any, **options: Any) -> Sealer:
    return Sealer(kms, ARN, CRM, **options)


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Keys and owners of a vector as the client takes them."""
    return {
        name: FromDatabase(value["from_database"]) if isinstance(value, dict) else value
        for name, value in values.items()
    }
