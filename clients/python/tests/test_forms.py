"""How a text is taken, by its mark and its row: the same table in every language, and in the agent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import ARN, ROOT, VOD_CELL, MemoryKms, vod

from tokenseal import Malformed, Profile, Refused, Sealer
from tokenseal._detection import OTHER, detect

FORMS = json.loads((ROOT / "clients" / "shared" / "forms.json").read_text())
WORDS: dict[str, Any] = {
    "name": "words",
    "context": {"Application": "words"},
    "tables": [{"name": "words", "key": ["id"], "tokens": ["token"]}],
}
CELL: dict[str, Any] = {"table": "words", "column": "token", "row": {"id": "a"}}


def words(**profile: str) -> Sealer:
    return Sealer(MemoryKms(), ARN, Profile.from_dict({**WORDS, **profile}), legacy=lambda text, _: f"legacy {text}")


@pytest.mark.parametrize("form", FORMS["texts"], ids=lambda form: ascii(form["text"])[:40])
def test_a_text_is_taken_for_the_same_in_every_language(form: dict[str, str]) -> None:
    text, unmarked = form["text"], form["unmarked"]
    sealer = words()
    if unmarked == "refused":
        with pytest.raises(Malformed):
            sealer.open(text, **CELL)
    else:
        assert sealer.open(text, **CELL) == f"legacy {text}"
        assert unmarked != "other" or detect(text) == OTHER
    for opener, cell, opens in (
        (sealer, CELL, unmarked == "plaintext"),
        (vod(MemoryKms()), VOD_CELL, form["version_0"] == "plaintext"),
    ):
        if opens:
            assert opener.open(text, **cell, version=0) == text
        else:
            with pytest.raises(Malformed):
                opener.open(text, **cell, version=0)


def test_json_that_is_nested_deeply_is_refused_in_every_language() -> None:
    with pytest.raises(Malformed):
        words().open(FORMS["deep"], **CELL, version=0)


def test_a_version_must_be_that_of_the_text_in_a_table_without_version_columns() -> None:
    sealer = words()
    envelope = sealer.seal("value", **CELL).text
    for version in (2, "2"):
        assert sealer.open(envelope, **CELL, version=version) == "value"
    for text, version in ((envelope, 0), (envelope, 1), ("plain", 1), ("plain", 2), (envelope, None)):
        with pytest.raises(Malformed):
            sealer.open(text, **CELL, version=version)
    direct = words(unmarked="direct-aes")
    with pytest.raises(Malformed):
        direct.open("plain", **CELL, version=0)
    with pytest.raises(Refused, match="ENCRYPTION_KEY"):
        direct.open("plain", **CELL, version=1)
