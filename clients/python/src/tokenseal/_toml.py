"""TOML as the programs read it: a line break in a text stays as in the file, and a byte order mark is passed over."""

from __future__ import annotations

import re
import tomllib

# Comments and texts, so that no part of one is taken for the beginning of another.
_TOKEN = re.compile(
    r"""#[^\n]*|\"{3}(?:\\.|[^\\])*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*+"|'[^'\n]*'""",
    re.DOTALL,
)
_ESCAPE_OR_BREAK = re.compile(r"(\\[ \t]*\r?\n[ \t\r\n]*|\\.)|\r\n", re.DOTALL)


def parse(text: str) -> object:
    """Parses a document. Raises what ``tomllib`` raises."""
    text = text.removeprefix("\ufeff")
    if "\r\n" not in text:
        return tomllib.loads(text)
    # The parser reads CRLF as LF, and a value that is bound to its context would be bound to another one.
    mark = next(character for character in map(chr, range(0xE000, 0xF8FF)) if character not in text)

    def marked(token: re.Match[str]) -> str:
        found = token[0]
        if not found.startswith(('"""', "'''")):
            return found
        begin = 5 if found.startswith("\r\n", 3) else 3
        body = found[begin:-3]
        if found.startswith("'"):
            body = body.replace("\r\n", f"{mark}\n")
        else:
            body = _ESCAPE_OR_BREAK.sub(lambda part: part[1] or f"{mark}\n", body)
        return found[:begin] + body + found[-3:]

    return _restored(tomllib.loads(_TOKEN.sub(marked, text)), mark)


def _restored(value: object, mark: str) -> object:
    if isinstance(value, dict):
        return {name: _restored(each, mark) for name, each in value.items()}
    if isinstance(value, list):
        return [_restored(each, mark) for each in value]
    return value.replace(mark, "\r") if isinstance(value, str) else value
