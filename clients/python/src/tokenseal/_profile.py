"""Profiles: which tables hold sealed values, and what those are bound to. The same files as the programs read."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from ._encoding import decoded_utf8
from ._errors import ConfigurationError
from ._fields import Fields
from ._toml import parse as parse_toml

BUILT_IN = ("vod-tender", "pulseplan", "autonomous")
FLOORS = ("any", "envelope", "bound")


@dataclass(frozen=True, slots=True)
class VersionColumns:
    """The names of the three columns that are always written together with a value."""

    version: str
    method: str
    key_id: str

    def names(self) -> tuple[str, str, str]:
        return self.version, self.method, self.key_id


@dataclass(frozen=True, slots=True)
class Table:
    """One table that holds sealed values."""

    name: str
    key: tuple[str, ...]
    tokens: tuple[str, ...]
    owner: tuple[str, ...] = ()
    version: VersionColumns | None = None
    plain: tuple[str, ...] = ()
    updated: str | None = None
    schema: str | None = None
    bound_as: str | None = None
    bound_columns: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    indexed: tuple[str, ...] = ()
    record: str | None = None
    """The column that describes the values to another program, which only the programs and the agent keep true."""
    record_may_lack: bool = False

    @property
    def bound_name(self) -> str:
        """The table's name in bindings."""
        return self.bound_as or self.name

    def bound_column(self, column: str) -> str:
        """A column's name in bindings."""
        return self.bound_columns.get(column, column)


@dataclass(frozen=True, slots=True)
class Profile:
    """A deployment's tables and conventions."""

    name: str
    context: Mapping[str, str]
    tables: tuple[Table, ...]
    unmarked: str = "plaintext"
    legacy: str | None = None
    floor: str = "any"
    context_is_given: bool = field(default=False, compare=False)
    """Whether the caller chose the context, so that ``ENCRYPTION_CONTEXT`` does not replace it."""

    @classmethod
    def load(cls, name_or_path: str | Path) -> Profile:
        """Finds a built-in profile by name, or reads a TOML file or the JSON of ``profile show --format json``."""
        name = str(name_or_path)
        if name in BUILT_IN:
            return cls.from_toml(resources.files(__package__).joinpath(f"profiles/{name}.toml").read_text("utf-8"))
        path = Path(name)
        text: str | None = None
        with suppress(OSError, ValueError):
            text = decoded_utf8(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
        if text is None:
            raise ConfigurationError(
                f"profile {name!r} is neither one of {', '.join(BUILT_IN)} nor a file that can be read"
            )
        return cls.from_json(text) if path.suffix == ".json" else cls.from_toml(text)

    @classmethod
    def from_toml(cls, text: str) -> Profile:
        """Parses a profile in TOML."""
        parsed: object = None
        with suppress(tomllib.TOMLDecodeError, RecursionError):
            parsed = parse_toml(text)
        if parsed is None:
            # The parser's words may repeat a line of a file that was named by mistake, such as one of secrets.
            raise ConfigurationError(
                "profile is not valid TOML 1.0, all that Python's library reads: inline tables over several lines, "
                "\\e and \\x are TOML 1.1; `migrate-tokens profile show --format json` prints any profile as JSON"
            )
        return cls.from_dict(parsed)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Parses the JSON that ``migrate-tokens profile show --format json`` prints."""
        parsed: object = None
        with suppress(ValueError, RecursionError):
            parsed = json.loads(text)
        if parsed is None:
            raise ConfigurationError("profile is not valid JSON")
        return cls.from_dict(parsed)

    @classmethod
    def from_dict(cls, parsed: object) -> Profile:
        """Reads a parsed profile; an unknown field is refused, because to overlook one could bind values wrongly."""
        fields = Fields(parsed, "profile")
        profile = cls(
            name=fields.text("name"),
            context=fields.texts_by_name("context"),
            tables=tuple(_table(Fields(table, "a table of the profile")) for table in fields.items("tables")),
            unmarked=fields.choice("unmarked", ("plaintext", "direct-aes")),
            legacy=fields.optional_text("legacy"),
            floor=fields.choice("floor", FLOORS),
        )
        for ignored in ("metrics_prefix", "providers"):
            fields.skip(ignored)
        fields.finish()
        profile._check()
        return profile

    def with_context(self, context: Mapping[str, str]) -> Profile:
        """The same profile with other pairs in every encryption context; it overrides ``ENCRYPTION_CONTEXT``."""
        changed = replace(self, context=dict(context), context_is_given=True)
        changed._check()
        return changed

    def table(self, name: str) -> Table | None:
        """The table of this name."""
        return next((table for table in self.tables if table.name == name), None)

    def _check(self) -> None:
        if {"table", "column", ""} & set(self.context) or not all(self.context.values()):
            raise ConfigurationError(f"profile {self.name!r}: a pair of the context has no name or value of its own")
        if not self.tables:
            raise ConfigurationError(f"profile {self.name!r} names no table")
        if len({table.name for table in self.tables}) != len(self.tables):
            raise ConfigurationError(f"profile {self.name!r} names a table twice")
        if len({table.bound_name for table in self.tables}) != len(self.tables):
            raise ConfigurationError(f"profile {self.name!r}: values of two tables would be bound to the same name")
        for problem in (problem for table in self.tables for problem in self._problems(table)):
            raise ConfigurationError(f"profile {self.name!r}: {problem}")

    def _problems(self, table: Table) -> Iterator[str]:
        if not table.key or not table.tokens:
            yield f"table {table.name!r} needs at least one key and one token column"
        roles = [*table.key, *table.owner, *table.tokens, *table.plain]
        roles += table.version.names() if table.version else ()
        roles += [table.updated] if table.updated else []
        if len(set(roles)) != len(roles):
            yield f"a column of table {table.name!r} has two roles"
        identity = [table.bound_column(column) for column in (*table.key, *table.owner)]
        taken = {"table", "column", *self.context}
        if len(set(identity)) != len(identity) or taken.intersection(identity):
            yield f"a key or owner column of table {table.name!r} has the name of another pair of the context"
        cells = [table.bound_column(column) for column in table.tokens]
        if len(set(cells)) != len(cells):
            yield f"two token columns of table {table.name!r} are bound to one name"
        if not set(table.types) <= {*table.key, *table.owner}:
            yield f"types of table {table.name!r} names a column that is neither key nor owner"
        if not set(table.bound_columns) <= {*table.key, *table.owner, *table.tokens}:
            yield f"bound_columns of table {table.name!r} names a column that binds nothing"


def _table(fields: Fields) -> Table:
    version = fields.optional("version")
    indexes = [Fields(index, "an index of the profile") for index in fields.optional_items("index")]
    described = fields.optional("record")
    record = None if described is None else Fields(described, "the record of the profile")
    table = Table(
        name=fields.text("name"),
        key=fields.texts("key"),
        tokens=fields.texts("tokens"),
        owner=fields.optional_texts("owner"),
        version=None if version is None else _version(Fields(version, "the version columns")),
        plain=fields.optional_texts("plain"),
        updated=fields.optional_text("updated"),
        schema=fields.optional_text("schema"),
        bound_as=fields.optional_text("bound_as"),
        bound_columns=fields.optional_texts_by_name("bound_columns"),
        types=fields.optional_texts_by_name("types"),
        indexed=tuple(index.text("column") for index in indexes),
        record=None if record is None else record.text("column"),
        record_may_lack=record is not None and record.optional("optional") is True,
    )
    for ignored in ("filter", "optional", "lost_indexes", "refresh"):
        fields.skip(ignored)
    fields.finish()
    return table


def _version(fields: Fields) -> VersionColumns:
    columns = VersionColumns(fields.text("version"), fields.text("method"), fields.text("key_id"))
    fields.finish()
    return columns
