/** The statement that writes a row: a compare-and-swap over everything that its values are bound to. */

import { isUtf8 } from "node:buffer";

import { isEnvelope } from "./envelopes.js";
import { ConfigurationError, Refused } from "./errors.js";
import { FromDatabase } from "./row-keys.js";

/** @typedef {import("./profile.js").Table} Table */
/** @typedef {{text: string, keyId: string | null, version: number, method: string}} Sealed */
/** @typedef {(column: string, value: string) => Promise<Sealed>} Seal */
/** @typedef {(column: string, text: string) => Promise<string>} Reopen */

const VERSION = 2;
/** @type {Map<string, {same: (column: string, value: string) => string, now: string, placeholder: string}>} */
const DIALECTS = new Map([
  ["postgres", { same: (c, v) => `${c} IS NOT DISTINCT FROM ${v}`, now: "now()", placeholder: "$1" }],
  ["sqlite", { same: (c, v) => `${c} IS ${v}`, now: "CURRENT_TIMESTAMP", placeholder: "?" }],
  ["mysql", { same: (c, v) => `BINARY ${c} <=> BINARY ${v}`, now: "CURRENT_TIMESTAMP", placeholder: "?" }],
]);

/** Builds the `UPDATE` for one row as it was read. */
export class StatementBuilder {
  /** @type {unknown[]} */
  #params = [];
  /** @type {Map<string, string>} The tokens as they are stored; empty for NULL. */
  #tokens;
  #table;
  #old;
  #dialect;
  #placeholder;
  #quoteMark;

  /**
   * @param {Table} table
   * @param {Record<string, unknown>} old
   * @param {string} dialect
   * @param {string | undefined} placeholder
   */
  constructor(table, old, dialect, placeholder) {
    const known = DIALECTS.get(dialect);
    if (known === undefined) throw new ConfigurationError(`dialect must be one of ${[...DIALECTS.keys()].join(", ")}`);
    this.#table = table;
    this.#old = old;
    this.#dialect = known;
    this.#quoteMark = dialect === "mysql" ? "`" : '"';
    this.#placeholder = placeholder ?? known.placeholder;
    if (!["?", "$1"].includes(this.#placeholder)) throw new ConfigurationError("placeholder must be ? or $1");
    const marks = table.version === undefined ? [] : [table.version.version, table.version.keyId];
    for (const column of [...table.key, ...table.owner, ...table.tokens, ...marks]) {
      if (!Object.hasOwn(old, column) || old[column] === undefined) {
        throw new Refused(`the row as it was read must have the column ${JSON.stringify(column)}`);
      }
    }
    if (table.record !== undefined && (!table.recordMayLack || Object.hasOwn(old, table.record))) {
      throw new Refused(`table ${JSON.stringify(table.name)} describes its values in a record column: write it through the agent`);
    }
    this.#tokens = new Map(table.tokens.map((column) => [column, storedText(column, old[column])]));
  }

  row() {
    return this.#pick(this.#table.key);
  }

  owner() {
    return this.#pick(this.#table.owner);
  }

  version() {
    return this.#table.version === undefined ? undefined : this.#old[this.#table.version.version];
  }

  /** @returns {string | null} */
  keyId() {
    const value = this.#table.version === undefined ? undefined : this.#old[this.#table.version.keyId];
    return typeof value === "string" && value !== "" ? value : null;
  }

  /**
   * @param {Record<string, string | Sealed | null>} set
   * @param {Record<string, unknown>} plain
   * @param {Seal} seal
   * @param {Reopen} reopen
   * @returns {Promise<{sql: string, params: unknown[]}>}
   */
  async build(set, plain, seal, reopen) {
    this.#check(set, plain);
    const { values, keyId } = await this.#values(set, seal, reopen);
    const { version, updated } = this.#table;
    const sets = [...values].map(([column, text]) => this.#assign(column, text));
    if (version !== undefined) {
      sets.push(this.#assign(version.version, VERSION), this.#assign(version.method, "kms-envelope"));
      sets.push(this.#assign(version.keyId, keyId));
    }
    sets.push(...Object.entries(plain).map(([column, value]) => this.#assign(column, value)));
    if (updated !== undefined && !Object.hasOwn(plain, updated)) {
      sets.push(`${this.#quote(updated)} = ${this.#dialect.now}`);
    }
    const sql = `UPDATE ${this.#name()} SET ${sets.join(", ")} WHERE ${this.#conditions().join(" AND ")}`;
    return { sql, params: this.#params };
  }

  /**
   * @param {Record<string, unknown>} set
   * @param {Record<string, unknown>} plain
   */
  #check(set, plain) {
    const { name, key, owner, tokens, version, indexed } = this.#table;
    for (const [column, value] of Object.entries(set)) {
      if (!tokens.includes(column)) {
        throw new Refused(`table ${JSON.stringify(name)} has no token column ${JSON.stringify(column)} in the profile`);
      }
      if (indexed.includes(column)) {
        throw new Refused(`column ${JSON.stringify(column)} has a blind index: write it through the agent, which fills it`);
      }
      if (value === undefined) throw new Refused(`column ${JSON.stringify(column)} is set to undefined: null means NULL`);
    }
    const own = [...key, ...owner, ...tokens, ...Object.values(version ?? {})];
    for (const column of Object.keys(plain)) {
      if (own.includes(column)) throw new Refused(`column ${JSON.stringify(column)} is not a plain column`);
    }
    if (Object.keys(set).length === 0) throw new Refused("no token column is set");
  }

  /**
   * The texts to write, all under one version and one key.
   *
   * @param {Record<string, string | Sealed | null>} set
   * @param {Seal} seal
   * @param {Reopen} reopen
   */
  async #values(set, seal, reopen) {
    /** @type {Map<string, string | null>} */
    const values = new Map();
    /** @type {Set<string>} */
    const keyIds = new Set();
    const put = (/** @type {string} */ column, /** @type {Sealed} */ sealed) => {
      values.set(column, sealed.text);
      if (sealed.keyId !== null) keyIds.add(sealed.keyId);
    };
    for (const [column, value] of Object.entries(set)) {
      if (value === null) values.set(column, null);
      else put(column, typeof value === "string" ? await seal(column, value) : envelopeIn(column, value));
    }
    const hasVersion = this.#table.version !== undefined;
    const kept = [...this.#tokens].filter(([column, text]) => !Object.hasOwn(set, column) && text !== "");
    if (hasVersion && !this.#mayStay(keyIds)) {
      for (const [column, text] of kept) put(column, await seal(column, await reopen(column, text)));
    } else if (kept.length > 0) {
      const own = this.keyId();
      if (own !== null) keyIds.add(own);
    }
    if (hasVersion && keyIds.size > 1) {
      throw new Refused("the values are under different keys, and the row names one: seal all of them again");
    }
    return { values, keyId: [...keyIds][0] ?? null };
  }

  /**
   * Whether tokens that are not set are still read in their own form: by the row's version, and under its key.
   *
   * @param {Set<string>} keyIds
   */
  #mayStay(keyIds) {
    return String(this.version()) === String(VERSION) && [...keyIds].every((keyId) => keyId === this.keyId());
  }

  #conditions() {
    const { key, owner, tokens, version } = this.#table;
    const compared = [...owner, ...tokens, ...(version === undefined ? [] : [version.version])];
    return [
      ...key.map((column) => `${this.#quote(column)} = ${this.#bind(this.#old[column])}`),
      ...compared.map((column) => this.#dialect.same(this.#quote(column), this.#bind(this.#old[column]))),
    ];
  }

  /** @param {string[]} columns */
  #pick(columns) {
    return Object.fromEntries(columns.map((column) => [column, this.#old[column]]));
  }

  /**
   * @param {string} column
   * @param {unknown} value
   */
  #assign(column, value) {
    return `${this.#quote(column)} = ${this.#bind(value)}`;
  }

  /** @param {unknown} value */
  #bind(value) {
    this.#params.push(value instanceof FromDatabase ? value.text : value);
    return this.#placeholder === "$1" ? `$${this.#params.length}` : "?";
  }

  #name() {
    const { schema, name } = this.#table;
    return schema === undefined ? this.#quote(name) : `${this.#quote(schema)}.${this.#quote(name)}`;
  }

  /** @param {string} identifier */
  #quote(identifier) {
    return this.#quoteMark + identifier.replaceAll(this.#quoteMark, this.#quoteMark + this.#quoteMark) + this.#quoteMark;
  }
}

/**
 * A value that was sealed before. Anything but an envelope would be lost under the version of envelopes.
 *
 * @param {string} column
 * @param {Sealed} sealed
 * @returns {Sealed}
 */
function envelopeIn(column, sealed) {
  const { text, version, method } = sealed;
  const isOne = typeof text === "string" && (text === "" || isEnvelope(text));
  if (!isOne || version !== VERSION || method !== "kms-envelope") {
    throw new Refused(`column ${JSON.stringify(column)} is set to something that is neither text nor a sealed envelope`);
  }
  return sealed;
}

/**
 * A token as it is stored, empty for NULL. Anything but text would stay as it is and not open any more.
 *
 * @param {string} column
 * @param {unknown} value
 * @returns {string}
 */
function storedText(column, value) {
  if (value === null) return "";
  if (typeof value === "string") return value;
  if (value instanceof Uint8Array && isUtf8(value)) return Buffer.from(value).toString("utf8");
  throw new Refused(`token column ${JSON.stringify(column)} of the row as it was read is neither text nor NULL`);
}
