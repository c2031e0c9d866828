"""The statement that writes a row: a compare-and-swap over everything that its values are bound to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ._encoding import decoded_utf8, exact
from ._envelopes import is_envelope
from ._errors import ConfigurationError, Refused
from ._keys_of_rows import FromDatabase, KeyValue, version_number

if TYPE_CHECKING:
    from ._profile import Table
    from ._sealer import Sealed

_SAME = {"postgres": "{0} IS NOT DISTINCT FROM {1}", "sqlite": "{0} IS {1}", "mysql": "BINARY {0} <=> BINARY {1}"}
_NOW = {"postgres": "now()", "sqlite": "CURRENT_TIMESTAMP", "mysql": "CURRENT_TIMESTAMP"}
_PLACEHOLDERS = {"postgres": "%s", "sqlite": "?", "mysql": "%s"}
_VERSION = 2


class Statement(NamedTuple):
    """SQL with placeholders, and their values, in order. Exactly one changed row means success."""

    sql: str
    params: tuple[Any, ...]


class StatementBuilder:
    """Builds the ``UPDATE`` for one row as it was read."""

    def __init__(self, table: Table, old: Mapping[str, object], dialect: str, placeholder: str | None) -> None:
        if dialect not in _SAME:
            raise ConfigurationError(f"dialect must be one of {', '.join(_SAME)}")
        self._table = table
        self._old = old
        self._dialect = dialect
        self._placeholder = placeholder or _PLACEHOLDERS[dialect]
        if self._placeholder not in ("?", "%s", "$1"):
            raise ConfigurationError("placeholder must be one of ?, %s, $1")
        self._params: list[Any] = []
        versions = table.version.names() if table.version else ()
        for column in (*table.key, *table.owner, *table.tokens, *versions[:1], *versions[2:]):
            if column not in old:
                raise Refused(f"the row as it was read must have the column {column!r}")
        if table.record and (table.record in old or not table.record_may_lack):
            raise Refused(f"table {table.name!r} describes its values in a record column: write it through the agent")
        self._tokens = {column: _stored_text(column, old[column]) for column in table.tokens}

    def row(self) -> dict[str, KeyValue]:
        return {column: _key_value(self._old[column]) for column in self._table.key}

    def owner(self) -> dict[str, KeyValue | None]:
        values = {column: self._old[column] for column in self._table.owner}
        return {column: None if value is None else _key_value(value) for column, value in values.items()}

    def version(self) -> int | str | None:
        value = self._old[self._table.version.version] if self._table.version else None
        if value is not None and not isinstance(value, int | str):
            raise Refused("the row's encryption version is no number")
        return value

    def key_id(self) -> str | None:
        value = self._old[self._table.version.key_id] if self._table.version else None
        return value if isinstance(value, str) and value else None

    def build(
        self,
        new: Mapping[str, str | Sealed | None],
        plain: Mapping[str, object],
        seal: Callable[[str, str], Sealed],
        reopen: Callable[[str, str], str],
    ) -> Statement:
        self._check(new, plain)
        values, key_id = self._values(new, seal, reopen)
        sets = [self._assign(column, text) for column, text in values.items()]
        if self._table.version is not None:
            marks = (_VERSION, "kms-envelope", key_id)
            sets += [self._assign(*mark) for mark in zip(self._table.version.names(), marks, strict=True)]
        sets += [self._assign(column, value) for column, value in plain.items()]
        if self._table.updated is not None and self._table.updated not in plain:
            sets.append(f"{self._quote(self._table.updated)} = {_NOW[self._dialect]}")
        sql = f"UPDATE {self._name()} SET {', '.join(sets)} WHERE {' AND '.join(self._conditions())}"  # noqa: S608
        return Statement(sql, tuple(self._params))

    def _check(self, new: Mapping[str, object], plain: Mapping[str, object]) -> None:
        table = self._table
        for column in new:
            if column not in table.tokens:
                raise Refused(f"table {table.name!r} has no token column {column!r} in the profile")
            if column in table.indexed:
                raise Refused(f"column {column!r} has a blind index: write it through the agent, which fills it")
        own = {*table.key, *table.owner, *table.tokens, *(table.version.names() if table.version else ())}
        for column in plain:
            if column in own:
                raise Refused(f"column {column!r} is not a plain column")
        if not new:
            raise Refused("no token column is set")

    def _values(
        self,
        new: Mapping[str, str | Sealed | None],
        seal: Callable[[str, str], Sealed],
        reopen: Callable[[str, str], str],
    ) -> tuple[dict[str, str | None], str | None]:
        """The texts to write, all under one version and one key."""
        values: dict[str, str | None] = {}
        key_ids: set[str] = set()

        def put(column: str, sealed: Sealed) -> None:
            values[column] = sealed.text
            key_ids.update([sealed.key_id] if sealed.key_id is not None else [])

        for column, value in new.items():
            if value is None:
                values[column] = None
            else:
                put(column, seal(column, value) if isinstance(value, str) else _envelope(column, value))
        kept = {column: text for column, text in self._tokens.items() if text and column not in new}
        if self._table.version is not None and not self._may_stay(key_ids):
            for column, text in kept.items():
                put(column, seal(column, reopen(column, text)))
        elif kept and (own := self.key_id()) is not None:
            key_ids.add(own)
        if len(key_ids) > 1 and self._table.version is not None:
            raise Refused("the values are under different keys, and the row names one: seal all of them again")
        return values, next(iter(key_ids), None)

    def _may_stay(self, key_ids: set[str]) -> bool:
        """Whether tokens that are not set are still read in their own form: by the row's version, and under its key."""
        return version_number(self.version()) == _VERSION and key_ids <= {self.key_id()}

    def _conditions(self) -> list[str]:
        table = self._table
        conditions = [f"{self._quote(column)} = {self._bind(self._old[column])}" for column in table.key]
        compared = [*table.owner, *table.tokens, *([table.version.version] if table.version else [])]
        for column in compared:
            conditions.append(_SAME[self._dialect].format(self._quote(column), self._bind(self._old[column])))
        return conditions

    def _assign(self, column: str, value: object) -> str:
        return f"{self._quote(column)} = {self._bind(value)}"

    def _bind(self, value: object) -> str:
        self._params.append(value.text if isinstance(value, FromDatabase) else value)
        return f"${len(self._params)}" if self._placeholder == "$1" else self._placeholder

    def _name(self) -> str:
        name = self._quote(self._table.name)
        return name if self._table.schema is None else f"{self._quote(self._table.schema)}.{name}"

    def _quote(self, identifier: str) -> str:
        mark = "`" if self._dialect == "mysql" else '"'
        quoted = mark + identifier.replace(mark, mark * 2) + mark
        return quoted.replace("%", "%%") if self._placeholder == "%s" else quoted


def _envelope(column: str, value: object) -> Sealed:
    """A value that was sealed before. Anything but an envelope would be lost under the version of envelopes."""
    text, version, method = (getattr(value, name, None) for name in ("text", "version", "method"))
    is_one = isinstance(text, str) and (not text or is_envelope(text))
    if not is_one or version != _VERSION or method != "kms-envelope":
        raise Refused(f"column {column!r} is set to something that is neither text nor a sealed envelope")
    return value  # type: ignore[return-value]


def _stored_text(column: str, value: object) -> str:
    """A token as it is stored, empty for NULL. Anything but text would stay as it is and not open any more."""
    if value is None:
        return ""
    if isinstance(value, str):
        return exact(value)
    text = decoded_utf8(bytes(value)) if isinstance(value, bytes | bytearray | memoryview) else None
    if text is None:
        raise Refused(f"token column {column!r} of the row as it was read is neither text nor NULL")
    return text


def _key_value(value: object) -> KeyValue:
    # Any other value of the driver is refused where it is made canonical.
    return value  # type: ignore[return-value]
