/** Bindings: the identity of the cell that a sealed value belongs to. */

import { bounded, canonicalPairs, lengthPrefixed } from "./encoding.js";
import { Refused } from "./errors.js";

/** @typedef {readonly [string, string]} Pair */
/** @typedef {Record<string, string>} Context */

/** Table, column, key and owner under the names and in the texts that values are bound to. */
export class Binding {
  /**
   * @param {string} table
   * @param {string} column
   * @param {Pair[]} key
   * @param {Pair[]} owner
   */
  constructor(table, column, key, owner) {
    this.table = table;
    this.column = column;
    this.key = key;
    this.owner = owner;
  }

  /**
   * The one encoding of the cell, as in docs/formats.md; empty values are kept.
   *
   * @returns {Buffer}
   */
  canonical() {
    if (this.table === "" || this.column === "") throw new Refused("a table and a column must have names");
    const names = [lengthPrefixed(this.table, "the table's name"), lengthPrefixed(this.column, "the column's name")];
    return bounded(Buffer.concat([...names, canonicalPairs(this.key), canonicalPairs(this.owner)]));
  }

  /**
   * The encryption context of a bound version 2 value: base, owner, table, column and key.
   *
   * @param {ReadonlyMap<string, string>} base
   */
  boundContext(base) {
    return context([...base, ["table", this.table], ["column", this.column], ...this.owner, ...this.key]);
  }

  /**
   * The encryption context that other programs write: base and owner.
   *
   * @param {ReadonlyMap<string, string>} base
   */
  plainContext(base) {
    return context([...base, ...this.owner]);
  }
}

/**
 * Makes a context; a pair with an empty value is left out, because AWS KMS takes none.
 *
 * @param {Pair[]} pairs
 * @returns {Context}
 */
export function context(pairs) {
  const present = pairs.filter(([, value]) => value !== "");
  canonicalPairs(present);
  return Object.fromEntries(present);
}
