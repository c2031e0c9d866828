"""Long texts are read once, whatever is in them. A pattern that tries each place again would take minutes on these."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import ROOT

from tokenseal import Malformed, Refused
from tokenseal._detection import detect
from tokenseal._duration import parse_duration
from tokenseal._keys_of_rows import canonical

LONG = json.loads((ROOT / "clients" / "shared" / "long.json").read_text())


def text_of(shape: dict[str, Any]) -> str:
    return shape["begins"] + shape["repeats"] * (LONG["length"] // len(shape["repeats"])) + shape["ends"]


@pytest.mark.parametrize("shape", LONG["texts"], ids=str)
def test_a_long_text_of_any_shape_is_detected(shape: dict[str, Any]) -> None:
    if shape["claim"] == "refused":
        with pytest.raises(Malformed):
            detect(text_of(shape))
    else:
        assert detect(text_of(shape)) == shape["claim"]


@pytest.mark.parametrize("shape", LONG["keys"], ids=str)
def test_a_long_key_of_any_shape_is_taken_or_refused(shape: dict[str, Any]) -> None:
    key = text_of(shape)
    if shape["is_taken"]:
        assert canonical("id", None, key) == key
    else:
        with pytest.raises(Refused):
            canonical("id", None, key)


@pytest.mark.parametrize("shape", LONG["durations"], ids=str)
def test_a_long_duration_of_any_shape_is_read_or_refused(shape: dict[str, Any]) -> None:
    assert (parse_duration(text_of(shape)) is not None) == shape["is_one"]
