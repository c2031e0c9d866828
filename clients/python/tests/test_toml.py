"""Profiles in TOML are read as the programs read them, with the line ends of any system."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenseal import ConfigurationError, Profile

LINES = [
    "# don't \"worry",
    'name = "it\'s"',
    "[context]",
    'A = """',
    "customer",
    'tokens"""',
    "B = '''",
    "x",
    "y'''",
    'C = """a \\  ',
    "",
    '  b"""',
    "D = '''it''' # '''",
    'E = """\\\\',
    'x"""',
    'F = """\\',
    '  z"""""',
    "[[tables]]",
    'name = "users"',
    'key = ["id"]',
    'tokens = ["a"]',
    "",
]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_line_break_in_a_text_stays_as_it_is_in_the_file(tmp_path: Path, end: str) -> None:
    path = tmp_path / "profile.toml"
    path.write_bytes(("\ufeff" + end.join(LINES)).encode())
    profile = Profile.load(path)
    assert dict(profile.context) == {
        "A": f"customer{end}tokens",
        "B": f"x{end}y",
        "C": "a b",
        "D": "it",
        "E": f"\\{end}x",
        "F": 'z""',
    }
    assert Profile.from_toml("\ufeff" + end.join(LINES)) == profile
    assert (profile.name, profile.tables[0].key) == ("it's", ("id",))


def test_a_profile_that_the_library_cannot_read_says_what_can(tmp_path: Path) -> None:
    rest = 'name = "crm"\n[context]\nA = "b"\n[[tables]]\nname = "users"\nkey = ["id"]\ntokens = ["a"]\n'
    assert Profile.from_toml(rest + 'types = { id = "text" }').name == "crm"
    for text in (rest + 'types = {\n id = "text",\n}', rest.replace('"b"', '"\\x"'), "secret"):
        with pytest.raises(ConfigurationError, match=r"TOML 1\.1.*profile show --format json") as refused:
            Profile.from_toml(text)
        assert "secret" not in str(refused.value)


def test_a_profile_in_json_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    table = '{"name": "users", "key": ["id"], "tokens": ["a"]}'
    path.write_bytes(f'\ufeff{{"name": "crm", "context": {{"A": "b"}}, "tables": [{table}]}}'.encode())
    assert Profile.load(path).name == "crm"
