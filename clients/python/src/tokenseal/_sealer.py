"""The sealer: seals a value for a cell of a table and opens it there, under the rules of the Rust store."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, overload

from . import _settings
from ._binding import Binding, Context
from ._cache import DataKeyCache
from ._detection import ENVELOPE, OTHER, PLAINTEXT, detect, is_broken_envelope, only_begins_like_one
from ._encoding import canonical_pairs, exact, opened_text, utf8
from ._envelopes import (
    MAX_PLAINTEXT_LEN,
    SUITES,
    V3_MARK,
    EnvelopeV2,
    EnvelopeV3,
    is_envelope,
    open_direct,
    seal_v2,
    seal_v3,
)
from ._errors import ConfigurationError, Malformed, NotAuthentic, Refused, TokensealError
from ._keys_of_rows import KeyValue, canonical, version_number
from ._kms import Kms, KmsClient
from ._profile import Profile, Table
from ._statement import Statement, StatementBuilder


class _NotGiven(Enum):
    NOT_GIVEN = "not given"


NOT_GIVEN: Final = _NotGiven.NOT_GIVEN

Version = int | str | None
Row = Mapping[str, KeyValue]
Owner = Mapping[str, KeyValue | None]


class Sealed(NamedTuple):
    """A sealed value, and the values of the row's version columns for the same statement."""

    text: str
    key_id: str | None
    version: int
    method: str


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a text of an older format is, for the ``legacy`` callback; keys and owners in the database's text."""

    table: str
    column: str
    row: Mapping[str, str]
    owner: Mapping[str, str | None]


Legacy = Callable[[str, Cell], str]


class Sealer:
    """Seals and opens values under AWS KMS data keys.

    Arguments that are not given are read from the environment, under the programs' names: ``KMS_KEY_ID``,
    ``KMS_ALLOWED_KEYS``, ``TOKEN_PROFILE``, ``ENCRYPTION_CONTEXT``, ``ENVELOPE_FORMAT``, ``BINDING``,
    ``PLAINTEXT_POLICY``, ``READ_FLOOR``, ``ENCRYPTION_KEY``, ``DEK_CACHE_TTL`` and ``DEK_CACHE_MAX``. It may be used
    from several threads.
    """

    def __init__(
        self,
        kms: KmsClient,
        key_id: str | None = None,
        profile: Profile | str | None = None,
        allowed_keys: Iterable[str] | None = None,
        *,
        envelope_format: str | None = None,
        binding: str | None = None,
        plaintext_policy: str | None = None,
        floor: str | None = None,
        suite: str = "aes-256-gcm",
        encryption_key: str | None = None,
        cache_ttl: float | None = None,
        cache_max: int | None = None,
        legacy: Legacy | None = None,
    ) -> None:
        self.profile = _settings.profile(profile)
        self._kms = Kms(kms, _settings.key_id(key_id), _settings.allowed_keys(allowed_keys))
        self._format = _settings.choice(envelope_format, "ENVELOPE_FORMAT", _settings.ENVELOPE_FORMATS)
        self._binding = _settings.choice(binding, "BINDING", _settings.BINDINGS)
        self._plaintext = _settings.choice(plaintext_policy, "PLAINTEXT_POLICY", _settings.PLAINTEXT_POLICIES)
        self._floor = _settings.floor(floor, self.profile.floor)
        if self._binding == "require" and self._plaintext == "forbid":
            # Nothing weaker than a bound envelope is left to read, under any floor.
            self._floor = "bound"
        self._direct_key = _settings.direct_key(encryption_key)
        self._legacy = legacy
        self._base = dict(self.profile.context)
        self._base_context: Context = Binding("-", "-", (), ()).plain_context(self._base)
        self._cache = DataKeyCache(
            _settings.seconds(cache_ttl, "DEK_CACHE_TTL", 300.0), _settings.count(cache_max, "DEK_CACHE_MAX", 10_000)
        )
        if suite not in SUITES:
            raise ConfigurationError(f"suite must be one of {', '.join(SUITES)}")
        self._suite = SUITES[suite]
        if self._binding == "off" and (self._format == "v3" or self._floor == "bound"):
            raise ConfigurationError(
                "BINDING=off writes unbound values: not with ENVELOPE_FORMAT=v3 or the floor 'bound'"
            )

    def __repr__(self) -> str:
        return f"Sealer(profile={self.profile.name!r}, format={self._format!r}, binding={self._binding!r})"

    @overload
    def open(
        self,
        text: str,
        *,
        table: str,
        column: str,
        row: Row,
        owner: Owner | None = None,
        version: Version | _NotGiven = NOT_GIVEN,
        key_id: str | None = None,
    ) -> str: ...

    @overload
    def open(
        self,
        text: None,
        *,
        table: str,
        column: str,
        row: Row,
        owner: Owner | None = None,
        version: Version | _NotGiven = NOT_GIVEN,
        key_id: str | None = None,
    ) -> None: ...

    def open(
        self,
        text: str | None,
        *,
        table: str,
        column: str,
        row: Row,
        owner: Owner | None = None,
        version: Version | _NotGiven = NOT_GIVEN,
        key_id: str | None = None,
    ) -> str | None:
        """Opens the text of a cell; NULL stays ``None`` and the empty string stays empty.

        ``version`` is the row's ``encryption_version`` (``None`` for NULL). Without it only envelopes open. ``key_id``
        is the row's ``encryption_key_id``: one that is not allowed is refused before any call.
        """
        layout, binding = self._cell(table, column, row, owner)
        if text is None:
            return None
        if not isinstance(text, str):
            raise Refused("a stored value is text or None")
        utf8(text, "the stored text")
        if not text:
            return ""
        form = self._form(layout, text, version)
        if form == ENVELOPE:
            return self._open_envelope(text, key_id, binding)
        if self._floor != "any":
            raise Refused(f"the value is below the floor {self._floor!r}: it is no envelope")
        if form == _DIRECT:
            return self._open_direct(text)
        if form == OTHER:
            return self._open_legacy(text, layout, column, binding)
        if self._plaintext == "forbid":
            raise Refused("the value is plaintext, and plaintext is forbidden")
        return exact(text) if version is not NOT_GIVEN else self._open_legacy(text, layout, column, binding)

    def seal(self, value: str, *, table: str, column: str, row: Row, owner: Owner | None = None) -> Sealed:
        """Seals a value for a cell under a data key of its own. Nothing weaker is ever returned in its place."""
        _, binding = self._cell(table, column, row, owner)
        if not isinstance(value, str):
            raise Refused("a value to seal must be text")
        plaintext = utf8(value, "the value")
        if len(plaintext) > MAX_PLAINTEXT_LEN:
            raise Refused(f"the value is over {MAX_PLAINTEXT_LEN} bytes long")
        if not value:
            return Sealed("", None, 2, _METHOD)
        if self._format == "v3":
            key = self._kms.generate(self._base_context)
            text = seal_v3(self._suite, key.plaintext, key.wrapped, binding, plaintext)
        else:
            unbound = self._binding == "off"
            context = binding.plain_context(self._base) if unbound else binding.bound_context(self._base)
            key = self._kms.generate(context)
            text = seal_v2(key.plaintext, key.wrapped, plaintext)
        return Sealed(text, key.key_id, 2, _METHOD)

    def update(
        self,
        *,
        table: str,
        old: Mapping[str, object],
        set: Mapping[str, str | Sealed | None],  # noqa: A002 - as in SQL
        plain: Mapping[str, object] | None = None,
        dialect: str = "postgres",
        placeholder: str | None = None,
    ) -> Statement:
        """The ``UPDATE … WHERE`` that writes values into a row if it is unchanged since it was read (compare-and-swap).

        ``old`` is the row as the driver read it, with its key, owner, token and version columns. Texts in ``set`` are
        sealed; tokens that stay are opened and sealed again where the row's version or key changes, so that version
        and values move together. If the statement changes no row, read the row again and repeat.
        """
        layout = self._table(table)
        builder = StatementBuilder(layout, old, dialect, placeholder)
        row, owner = builder.row(), builder.owner()

        def seal(column: str, value: str) -> Sealed:
            return self.seal(value, table=table, column=column, row=row, owner=owner)

        def reopen(column: str, text: str) -> str:
            version, key_id = builder.version(), builder.key_id()
            if layout.version is None:
                return self.open(text, table=table, column=column, row=row, owner=owner)
            return self.open(text, table=table, column=column, row=row, owner=owner, version=version, key_id=key_id)

        return builder.build(set, plain or {}, seal, reopen)

    def clear_cache(self) -> None:
        """Forgets every unwrapped data key."""
        self._cache.clear()

    def _table(self, name: str) -> Table:
        table = self.profile.table(name)
        if table is None:
            raise Refused(f"profile {self.profile.name!r} has no table {name!r}")
        return table

    def _cell(self, table: str, column: str, row: Row, owner: Owner | None) -> tuple[Table, Binding]:
        layout = self._table(table)
        if column not in layout.tokens:
            raise Refused(f"table {table!r} has no token column {column!r} in the profile")
        key = _identity(layout, "row", layout.key, row)
        owners = _identity(layout, "owner", layout.owner, owner or {})
        binding = Binding(layout.bound_name, layout.bound_column(column), key, owners)
        binding.canonical()  # for its limits
        return layout, binding

    def _form(self, layout: Table, text: str, version: Version | _NotGiven) -> str:
        """How a text is stored: by its row's version where the table has version columns, else by its mark."""
        if layout.version is None:
            form = self._form_by_mark(text)
            if version is NOT_GIVEN or form == {0: PLAINTEXT, 1: _DIRECT, 2: ENVELOPE}[_number(version)]:
                return form
        elif version is NOT_GIVEN:
            if detect(text) == ENVELOPE:
                return ENVELOPE
            raise Refused(f"table {layout.name!r} has version columns: pass the row's version to read this value")
        else:
            by_version = _form_by_version(text, _number(version))
            if by_version is not None:
                return by_version
        raise Malformed("the text contradicts the row's encryption version")

    def _form_by_mark(self, text: str) -> str:
        is_direct = self.profile.unmarked == "direct-aes"
        if not is_direct and only_begins_like_one(text):
            return PLAINTEXT
        form = detect(text)
        return _DIRECT if form == PLAINTEXT and is_direct else form

    def _open_envelope(self, text: str, key_id: str | None, binding: Binding) -> str:
        pins = self._kms.pins(key_id)
        if text.startswith(V3_MARK):
            v3 = EnvelopeV3.parse(text)
            data_key = self._unwrap(v3.wrapped, pins, self._base_context)
            return opened_text(v3.open(data_key, binding))
        v2 = EnvelopeV2.parse(text)
        bound, plain = binding.bound_context(self._base), binding.plain_context(self._base)
        contexts = [(bound, True), (plain, False)]
        if self._binding == "off":
            contexts.reverse()
        data_key, is_bound = self._unwrap_either(v2.wrapped, pins, contexts)
        if not is_bound and (self._binding == "require" or self._floor == "bound"):
            raise Refused("the value is not bound to its row, and unbound values are refused")
        return opened_text(v2.open(data_key))

    def _unwrap(self, wrapped: bytes, pins: tuple[str, ...], context: Context) -> bytes:
        def unwrap() -> bytes:
            key = self._kms.unwrap(wrapped, pins, context)
            if key is None:
                raise NotAuthentic
            return key

        return self._cache.fetch(_cache_name(wrapped, pins, context), unwrap)

    def _unwrap_either(
        self, wrapped: bytes, pins: tuple[str, ...], contexts: list[tuple[Context, bool]]
    ) -> tuple[bytes, bool]:
        # Both are looked up in memory first, so that an unbound value that is read twice costs no failed call.
        for context, is_bound in contexts:
            key = self._cache.get(_cache_name(wrapped, pins, context))
            if key is not None:
                return key, is_bound
        (first, is_bound), (second, other) = contexts
        try:
            return self._unwrap(wrapped, pins, first), is_bound
        except NotAuthentic:
            pass
        return self._unwrap(wrapped, pins, second), other

    def _open_direct(self, text: str) -> str:
        if self._direct_key is None:
            raise Refused("reading direct AES values needs ENCRYPTION_KEY")
        return opened_text(open_direct(self._direct_key, text))

    def _open_legacy(self, text: str, layout: Table, column: str, binding: Binding) -> str:
        if self._legacy is None:
            raise Refused(
                f"the value of column {column!r} is no envelope, and no version column says how it is stored: "
                "pass version, give the sealer a legacy callback, or read through the agent"
            )
        owner = {name: value or None for name, (_, value) in zip(layout.owner, binding.owner, strict=True)}
        row = {name: value for name, (_, value) in zip(layout.key, binding.key, strict=True)}
        opened: object = None
        failed = False
        try:
            opened = self._legacy(text, Cell(layout.name, column, row, owner))
        except TokensealError:
            raise
        except Exception:  # noqa: BLE001 - its text may hold the value
            failed = True
        if failed:
            raise NotAuthentic("the legacy callback did not open the value")
        if not isinstance(opened, str):
            raise Malformed("the legacy callback returned something that is not text")
        return opened


_METHOD: Final = "kms-envelope"
_DIRECT: Final = "direct"


def _number(version: Version) -> int:
    number = 0 if version is None else version_number(version)
    if number is None:
        raise Malformed("the row's encryption version is unknown")
    return number


def _form_by_version(text: str, version: int) -> str | None:
    """The form; none where the text contradicts the version."""
    is_strong = is_envelope(text)
    if version == 2:
        return detect(text) if is_strong else None
    if version == 1:
        return None if is_strong else _DIRECT
    try:
        form = detect(text)
    except Malformed:
        # A mark on a text that is nothing of the kind: the column is believed.
        form = OTHER if is_broken_envelope(text) else PLAINTEXT
    return PLAINTEXT if form == PLAINTEXT else None


def _identity(
    layout: Table, what: str, columns: tuple[str, ...], given: Mapping[str, KeyValue | None]
) -> tuple[tuple[str, str], ...]:
    """Names and canonical texts of the key or the owner columns: all of them, and no others."""
    if not isinstance(given, Mapping) or set(given) != set(columns):
        expected = ", ".join(columns) or "none"
        raise Refused(f"{what} of table {layout.name!r} must give exactly these columns: {expected}")
    pairs = []
    for column in columns:
        value = given[column]
        if value is None and what == "row":
            raise Refused(f"key column {column!r} is NULL, which no row can be named by")
        text = "" if value is None else canonical(column, layout.types.get(column), value)
        pairs.append((layout.bound_column(column), text))
    return tuple(pairs)


def _cache_name(wrapped: bytes, pins: tuple[str, ...], context: Context) -> bytes:
    """Everything that decides whether a data key may be used, so that a hit never skips a check."""
    digest = hashlib.sha256()
    for part in (wrapped, canonical_pairs(context.items()), *(pin.encode() for pin in pins)):
        digest.update(struct.pack(">I", len(part)) + part)
    return digest.digest()
