"""Reading the fields of a parsed profile: each has a kind, and none is overlooked."""

from __future__ import annotations

from collections.abc import Mapping

from ._encoding import exact
from ._errors import ConfigurationError


class Fields:
    """The fields of one object, taken out one by one."""

    def __init__(self, parsed: object, what: str) -> None:
        if not isinstance(parsed, dict) or not all(isinstance(name, str) for name in parsed):
            raise ConfigurationError(f"{what} is not a table of fields")
        # JSON has null for a field that is not given.
        self._rest: dict[str, object] = {name: value for name, value in parsed.items() if value is not None}
        self._what = what

    def optional(self, name: str) -> object | None:
        return self._rest.pop(name, None)

    def skip(self, name: str) -> None:
        """Passes over a field that concerns the programs alone."""
        self._rest.pop(name, None)

    def text(self, name: str) -> str:
        value = self.optional(name)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, "text")
        return exact(value)

    def optional_text(self, name: str) -> str | None:
        return self.text(name) if self._rest.get(name) is not None else None

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of some words; the first, if the field is missing."""
        value = self.optional_text(name)
        if value is not None and value not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}")
        return value or choices[0]

    def items(self, name: str) -> list[object]:
        value = self.optional(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return value

    def optional_items(self, name: str) -> list[object]:
        return self.items(name) if self._rest.get(name) is not None else []

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.items(name)
        if not all(isinstance(value, str) and value for value in values):
            raise self._wrong(name, "a list of names")
        return tuple(exact(value) for value in values if isinstance(value, str))

    def optional_texts(self, name: str) -> tuple[str, ...]:
        return self.texts(name) if self._rest.get(name) is not None else ()

    def texts_by_name(self, name: str) -> Mapping[str, str]:
        value = self.optional(name)
        if not isinstance(value, dict):
            raise self._wrong(name, "a table of texts")
        for key, text in value.items():
            if not isinstance(key, str) or not isinstance(text, str) or not key:
                raise self._wrong(name, "a table of texts")
        return {exact(key): exact(text) for key, text in value.items()}

    def optional_texts_by_name(self, name: str) -> Mapping[str, str]:
        return self.texts_by_name(name) if self._rest.get(name) is not None else {}

    def finish(self) -> None:
        """Refuses the remaining fields."""
        for name in self._rest:
            raise ConfigurationError(f"{self._what} has a field {name!r} that this version does not know")

    def _wrong(self, name: str, expected: str) -> ConfigurationError:
        return ConfigurationError(f"field {name!r} of {self._what} must be {expected}")
