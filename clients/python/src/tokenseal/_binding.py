"""Bindings: the identity of the cell that a sealed value belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ._encoding import bounded, canonical_pairs, length_prefixed
from ._errors import Refused

Context = dict[str, str]


@dataclass(frozen=True, slots=True)
class Binding:
    """Table, column, key and owner under the names and in the texts that values are bound to."""

    table: str
    column: str
    key: tuple[tuple[str, str], ...]
    owner: tuple[tuple[str, str], ...]

    def canonical(self) -> bytes:
        """The one encoding of the cell, as in docs/formats.md; empty values are kept."""
        if not self.table or not self.column:
            raise Refused("a table and a column must have names")
        names = length_prefixed(self.table, "the table's name") + length_prefixed(self.column, "the column's name")
        return bounded(names + canonical_pairs(self.key) + canonical_pairs(self.owner))

    def bound_context(self, base: Mapping[str, str]) -> Context:
        """The encryption context of a bound version 2 value: base, owner, table, column and key."""
        return context([*base.items(), ("table", self.table), ("column", self.column), *self.owner, *self.key])

    def plain_context(self, base: Mapping[str, str]) -> Context:
        """The encryption context that other programs write: base and owner."""
        return context([*base.items(), *self.owner])


def context(pairs: list[tuple[str, str]]) -> Context:
    """Makes a context; a pair with an empty value is left out, because AWS KMS takes none."""
    present = [(name, value) for name, value in pairs if value]
    canonical_pairs(present)
    return dict(present)
