"""The real boto3 client against an independent emulation of AWS KMS."""

from __future__ import annotations

import os
import uuid
from typing import Any

import pytest
from support import CANARY, CRM, CRM_CELL, VOD_CELL

from tokenseal import KeyServiceError, NotAuthentic, Refused, Sealer

URL = os.environ.get("TOKENSEAL_TEST_MOTO_URL", "")
pytestmark = pytest.mark.skipif(not URL, reason="moto does not run")


def client(url: str = URL) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "kms",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=10),
    )


@pytest.fixture
def key() -> tuple[Any, str, str]:
    kms = client()
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    alias = f"alias/clients-{uuid.uuid4().hex}"
    kms.create_alias(AliasName=alias, TargetKeyId=arn)
    return kms, alias, arn


@pytest.mark.parametrize("envelope_format", ["v2", "v3"])
def test_values_are_sealed_and_opened_with_boto3(key: tuple[Any, str, str], envelope_format: str) -> None:
    kms, alias, arn = key
    sealer = Sealer(kms, alias, "vod-tender", envelope_format=envelope_format)
    sealed = sealer.seal(CANARY, **VOD_CELL)
    assert sealed.key_id == arn
    for key_id in (arn, alias, None):
        reader = Sealer(kms, alias, "vod-tender")
        assert reader.open(sealed.text, **VOD_CELL, version=2, key_id=key_id) == CANARY
    crm = Sealer(kms, arn, CRM, envelope_format=envelope_format)
    text = crm.seal(CANARY, **CRM_CELL).text
    with pytest.raises(NotAuthentic):
        crm.open(text, **{**CRM_CELL, "row": {"id": 8}})


def test_values_under_another_key_open_only_where_it_is_allowed(key: tuple[Any, str, str]) -> None:
    kms, alias, arn = key
    other = kms.create_key()["KeyMetadata"]["Arn"]
    sealed = Sealer(kms, arn, "vod-tender").seal(CANARY, **VOD_CELL)
    with pytest.raises(Refused):
        Sealer(kms, other, "vod-tender").open(sealed.text, **VOD_CELL, key_id=arn)
    with pytest.raises(KeyServiceError):
        Sealer(kms, other, "vod-tender").open(sealed.text, **VOD_CELL)
    assert Sealer(kms, other, "vod-tender", [alias]).open(sealed.text, **VOD_CELL) == CANARY


def test_a_key_that_is_not_there_and_a_service_that_is_away_are_distinguished(key: tuple[Any, str, str]) -> None:
    kms, alias, _ = key
    with pytest.raises(KeyServiceError) as failed:
        Sealer(kms, "alias/none-of-that-name", "vod-tender").seal("x", **VOD_CELL)
    assert failed.value.kind == "not_found"
    with pytest.raises(KeyServiceError) as failed:
        Sealer(client("http://127.0.0.1:9"), alias, "vod-tender").seal("x", **VOD_CELL)
    assert failed.value.kind == "unavailable"
