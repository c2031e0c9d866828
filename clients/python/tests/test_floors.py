"""Forms that are read under each setting, and the spelling of settings: the same tables in every language."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support import CANARY, DIRECT_KEY, ROOT, VOD_CELL, MemoryKms, Sealer, vod

from tokenseal import ConfigurationError, Refused
from tokenseal._settings import count, direct_key, seconds

SHARED = ROOT / "clients" / "shared"
FLOORS = json.loads((SHARED / "floors.json").read_text())
SPANS = json.loads((SHARED / "durations.json").read_text())["spans"]
ID = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
PULSEPLAN_CELL: dict[str, Any] = {
    "table": "oauth_tokens",
    "column": "access_token",
    "row": {"id": ID},
    "owner": {"user_id": ID},
}
LOCAL = f"{'0' * 32}:{'0' * 32}:00"


def stored(kms: MemoryKms, form: str) -> tuple[str, int]:
    if form == "plaintext":
        return CANARY, 0
    if form == "direct":
        nonce = os.urandom(12)
        sealed = nonce + AESGCM(base64.b64decode(DIRECT_KEY)).encrypt(nonce, CANARY.encode(), None)
        return base64.b64encode(sealed).decode(), 1
    options: dict[str, Any] = {"v3": {"envelope_format": "v3"}, "v2-unbound": {"binding": "off"}}.get(form, {})
    return vod(kms, **options).seal(CANARY, **VOD_CELL).text, 2


@pytest.mark.parametrize("form", FLOORS["forms"])
@pytest.mark.parametrize("settings", FLOORS["settings"], ids=str)
def test_the_floor_decides_which_forms_open_in_every_language(settings: dict[str, Any], form: str) -> None:
    kms = MemoryKms()
    names = {"floor": "floor", "binding": "binding", "plaintext": "plaintext_policy"}
    options = {ours: settings[name] for name, ours in names.items()}

    def opened() -> str:
        if form == "legacy":
            made = Sealer(kms, "alias/tokens", "pulseplan", legacy=lambda *_: CANARY, **options)
            return made.open(LOCAL, **PULSEPLAN_CELL)
        text, version = stored(kms, form)
        return vod(kms, encryption_key=DIRECT_KEY, **options).open(text, **VOD_CELL, version=version)

    if form in settings["opens"]:
        assert opened() == CANARY
    else:
        with pytest.raises(Refused):
            opened()


@pytest.mark.parametrize(("text", "milliseconds"), SPANS.items())
def test_durations_are_spelled_as_in_the_programs(
    text: str, milliseconds: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEK_CACHE_TTL", text)
    if milliseconds is None:
        with pytest.raises(ConfigurationError):
            seconds(None, "DEK_CACHE_TTL", 300.0)
    else:
        assert seconds(None, "DEK_CACHE_TTL", 300.0) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 5), ("+5", 5), ("007", 7), (" 5 ", 5), ("9999999999", 9_999_999_999), (str(2**64 - 1), 2**64 - 1), ("0", 0)],
)
def test_a_number_is_spelled_as_the_programs_read_it(monkeypatch: pytest.MonkeyPatch, text: str, expected: int) -> None:
    monkeypatch.setenv("DEK_CACHE_MAX", text)
    assert count(None, "DEK_CACHE_MAX", 10_000) == expected


@pytest.mark.parametrize("text", ["-5", "++5", "+", "1_0", "5.0", "1e3", str(2**64), "0x5", "\u0665"])
def test_what_is_no_number_for_the_programs_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DEK_CACHE_MAX", text)
    with pytest.raises(ConfigurationError):
        count(None, "DEK_CACHE_MAX", 10_000)


@pytest.mark.parametrize("content", ["", "\n", "\r\n", " ", " \n\n"])
def test_an_empty_file_of_a_secret_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_bytes(content.encode())
    monkeypatch.setenv("ENCRYPTION_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(ConfigurationError, match="empty"):
        direct_key(None)
    monkeypatch.setenv("ENCRYPTION_KEY_FILE", "")
    assert direct_key(None) is None
