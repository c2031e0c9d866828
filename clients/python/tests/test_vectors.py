"""Every vector of the project opens or is refused as it says."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from support import ARN, CRM_CELL, VECTORS, VOD_CELL, FixedKms, KmsFailure, Profile, Sealer, crm, given, vectors, vod

from tokenseal import Malformed, NotAuthentic, Refused
from tokenseal._binding import Binding
from tokenseal._envelopes import SUITES, EnvelopeV2, seal_v3
from tokenseal._sealer import _identity

BOUND = vectors("bound.json")
FORMATS = vectors("formats.json")
CANONICAL = vectors("canonical.json")
PROFILE = Profile.from_json(json.dumps(json.loads((VECTORS / "canonical.json").read_text())["profile"]))


def b64(text: str) -> bytes:
    return base64.b64decode(text)


def sealer_for(vector: dict[str, Any]) -> tuple[Sealer, dict[str, Any]]:
    """A sealer whose profile is the vector's table, and the vector's cell."""
    binding = vector["binding"]
    key, owner = dict(binding["key"]), dict(binding["owner"])
    columns = [*key, *owner]
    table = {
        "name": binding["table"],
        "key": list(key),
        "owner": list(owner),
        "tokens": [binding["column"]],
        "types": dict.fromkeys(columns, "text"),
    }
    profile = Profile.from_dict({"name": "vectors", "context": {"Application": "test"}, "tables": [table]})
    cell = {"table": binding["table"], "column": binding["column"], "row": key, "owner": owner}
    return Sealer(FixedKms(b64(vector["data_key"])), ARN, profile), cell


@pytest.mark.parametrize("vector", BOUND, ids=lambda vector: vector["name"])
def test_bound_vectors_open_or_are_refused_as_they_say(vector: dict[str, Any]) -> None:
    sealer, cell = sealer_for(vector)
    if vector["name"].startswith("fail_"):
        expected = {"malformed": Malformed, "not_authentic": NotAuthentic}[vector["error"]]
        with pytest.raises((expected, Refused) if not vector["stored"].startswith("kms:v3:") else expected):
            sealer.open(vector["stored"], **cell)
        return
    try:
        plaintext = b64(vector["plaintext"]).decode()
    except UnicodeDecodeError:
        with pytest.raises(Malformed):
            sealer.open(vector["stored"], **cell)
        return
    assert sealer.open(vector["stored"], **cell) == plaintext
    assert sealer.open(vector["stored"], **cell, version=2) == plaintext


@pytest.mark.parametrize(
    "vector", [v for v in BOUND if not v["name"].startswith("fail_")], ids=lambda vector: vector["name"]
)
def test_bound_vectors_are_made_again_to_the_byte(vector: dict[str, Any]) -> None:
    cell = vector["binding"]
    pairs = [tuple((name, value) for name, value in cell[part]) for part in ("key", "owner")]
    binding = Binding(cell["table"], cell["column"], *pairs)
    assert binding.canonical().hex() == vector["canonical_binding"]
    suite = int(vector["suite"], 16)
    assert suite in SUITES.values()
    keys = b64(vector["data_key"]), b64(vector["wrapped_data_key"])
    stored = seal_v3(suite, *keys, binding, b64(vector["plaintext"]), b64(vector["message_id"]))
    assert stored == vector["stored"]


@pytest.mark.parametrize("vector", [v for v in FORMATS if v["format"].startswith("kms-v2")], ids=lambda v: v["format"])
def test_version_2_vectors_open_bound_and_plain(vector: dict[str, Any]) -> None:
    for plain in (False, True):
        sealer = vod(FixedKms(b64(vector["data_key"]), plain))
        assert sealer.open(vector["stored"], **VOD_CELL, version=2) == vector["plaintext"]
        assert sealer.open(vector["stored"], **VOD_CELL) == vector["plaintext"]


@pytest.mark.parametrize("vector", [v for v in FORMATS if v["format"] == "direct-aes"], ids=lambda v: v["stored"][:8])
def test_direct_aes_vectors_open_where_the_version_column_says_so_and_nowhere_else(vector: dict[str, Any]) -> None:
    sealer = vod(FixedKms(bytes(32)), encryption_key=vector["encryption_key"])
    assert sealer.open(vector["stored"], **VOD_CELL, version=1) == vector["plaintext"]
    with pytest.raises(Refused):
        sealer.open(vector["stored"], **VOD_CELL)
    with pytest.raises(Malformed):
        sealer.open(vector["stored"], **VOD_CELL, version=2)


@pytest.mark.parametrize(
    "vector", [v for v in FORMATS if not v["format"].startswith(("kms-v2", "direct"))], ids=lambda v: v["format"]
)
def test_other_formats_are_never_taken_for_plaintext_and_go_to_the_legacy_callback(vector: dict[str, Any]) -> None:
    kms = FixedKms(bytes(32))
    for version in (0, None, 2):
        with pytest.raises(Malformed):
            vod(kms).open(vector["stored"], **VOD_CELL, version=version)
    with pytest.raises(Refused):
        crm(kms).open(vector["stored"], **CRM_CELL)
    opened = crm(kms, legacy=lambda text, cell: f"{cell.row['id']} {len(text)}").open(vector["stored"], **CRM_CELL)
    assert opened == f"7 {len(vector['stored'])}"


@pytest.mark.parametrize("vector", CANONICAL, ids=lambda vector: vector["name"])
def test_keys_become_the_text_that_the_database_stores(vector: dict[str, Any]) -> None:
    sealer = Sealer(FixedKms(bytes(32)), ARN, PROFILE)
    names = {"table": vector["table"], "column": vector["column"]}
    row, owner = given(vector["row"]), given(vector["owner"])
    if vector["name"].startswith("fail_"):
        with pytest.raises(Refused):
            sealer.open("kms:v2:AAAA:AAAA", **names, row=row, owner=owner)
        with pytest.raises(Refused):
            sealer.seal("x", **names, row=row, owner=owner)
        return
    table, binding = sealer._cell(vector["table"], vector["column"], row, owner)
    assert binding.canonical().hex() == vector["canonical_binding"]
    assert binding.bound_context(PROFILE.context) == vector["bound_context"]
    assert binding.plain_context(PROFILE.context) == vector["plain_context"]
    texts = dict(_identity(table, "row", table.key, row))
    assert texts == {table.bound_column(name): text for name, text in vector["canonical_row"].items()}


@pytest.mark.parametrize("vector", vectors("envelope_v2.json"), ids=lambda vector: vector["name"])
def test_version_2_vectors_open_under_their_context_or_are_refused_as_they_say(vector: dict[str, Any]) -> None:
    asked: list[dict[str, str]] = []

    class Kms(FixedKms):
        def decrypt(self, *, EncryptionContext: dict[str, str], **_: Any) -> Any:
            asked.append(EncryptionContext)
            if "context" in vector and EncryptionContext != vector["context"]:
                raise KmsFailure("InvalidCiphertextException")
            return super().decrypt(EncryptionContext=EncryptionContext)

    sealer = vod(Kms(b64(vector["data_key"])))
    channel = "" if vector["name"] == "an_empty_key_value_leaves_the_context" else "my-channel"
    cell = {**VOD_CELL, "row": {"provider": "twitch", "channel": channel}, "version": 2}
    if vector["name"].startswith("fail_"):
        with pytest.raises({"malformed": Malformed, "not_authentic": NotAuthentic}[vector["error"]]):
            sealer.open(vector["stored"], **cell)
        return
    if vector["name"] == "not_text":
        with pytest.raises(Malformed):
            sealer.open(vector["stored"], **cell)
        return
    assert sealer.open(vector["stored"], **cell) == b64(vector["plaintext"]).decode()
    assert asked[-1] == vector["context"]
    envelope = EnvelopeV2.parse(vector["stored"])
    assert envelope.wrapped == b64(vector["wrapped_data_key"])
    assert envelope.sealed[:12] == b64(vector["nonce"])
