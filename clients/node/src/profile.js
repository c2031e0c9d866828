/** Profiles: which tables hold sealed values, and what those are bound to. The same files as the programs read. */

import { readFileSync } from "node:fs";

import { ConfigurationError } from "./errors.js";
import { Fields } from "./fields.js";
import { parseToml } from "./toml.js";

/**
 * @typedef {object} Table
 * @property {string} name
 * @property {string | undefined} schema
 * @property {string[]} key
 * @property {string[]} owner
 * @property {string[]} tokens
 * @property {string[]} plain
 * @property {string | undefined} updated
 * @property {{version: string, method: string, keyId: string} | undefined} version
 * @property {string} boundAs The table's name in bindings.
 * @property {Map<string, string>} boundColumns
 * @property {Map<string, string>} types
 * @property {string[]} indexed
 * @property {string | undefined} record The column that describes the values to another program.
 * @property {boolean} recordMayLack
 */

export const BUILT_IN = ["vod-tender", "pulseplan", "autonomous"];
/** @type {readonly ["any", "envelope", "bound"]} */
export const FLOORS = ["any", "envelope", "bound"];

/** A deployment's tables and conventions. */
export class Profile {
  /**
   * @param {{name: string, context: ReadonlyMap<string, string>, tables: Table[], unmarked: string, floor: string, contextIsGiven?: boolean}} parts
   */
  constructor({ name, context, tables, unmarked, floor, contextIsGiven = false }) {
    this.name = name;
    /** @type {ReadonlyMap<string, string>} */
    this.context = context;
    this.tables = tables;
    this.unmarked = unmarked;
    this.floor = floor;
    /** Whether the caller chose the context, so that ENCRYPTION_CONTEXT does not replace it. */
    this.contextIsGiven = contextIsGiven;
    for (const problem of problems(this)) throw new ConfigurationError(`profile ${JSON.stringify(name)}: ${problem}`);
    Object.freeze(this);
  }

  /**
   * Finds a built-in profile by name, or reads a TOML file or the JSON of `profile show --format json`.
   *
   * @param {string} nameOrPath
   * @returns {Profile}
   */
  static load(nameOrPath) {
    if (BUILT_IN.includes(nameOrPath)) {
      return Profile.fromToml(readFileSync(new URL(`../profiles/${nameOrPath}.toml`, import.meta.url), "utf8"));
    }
    let text;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(nameOrPath));
    } catch {
      throw new ConfigurationError(
        `profile ${JSON.stringify(nameOrPath)} is neither one of ${BUILT_IN.join(", ")} nor a file that can be read`,
      );
    }
    return nameOrPath.endsWith(".json") ? Profile.fromJson(text) : Profile.fromToml(text);
  }

  /** @param {string} text */
  static fromToml(text) {
    return Profile.fromObject(parseToml(text));
  }

  /** @param {string} text */
  static fromJson(text) {
    let parsed;
    try {
      parsed = JSON.parse(text);
    } catch {
      throw new ConfigurationError("profile is not valid JSON");
    }
    return Profile.fromObject(parsed);
  }

  /**
   * Reads a parsed profile; an unknown field is refused, because to overlook one could bind values wrongly.
   *
   * @param {unknown} parsed
   */
  static fromObject(parsed) {
    const fields = new Fields(parsed, "profile");
    const parts = {
      name: fields.text("name"),
      context: fields.textsByName("context"),
      tables: fields.items("tables").map((each) => table(new Fields(each, "a table of the profile"))),
      unmarked: fields.choice("unmarked", ["plaintext", "direct-aes"]),
      floor: fields.choice("floor", FLOORS),
    };
    for (const ofThePrograms of ["legacy", "metrics_prefix", "providers"]) fields.optional(ofThePrograms);
    fields.finish();
    return new Profile(parts);
  }

  /**
   * The same profile with other pairs in every encryption context; it overrides ENCRYPTION_CONTEXT.
   *
   * @param {Map<string, string> | Record<string, string>} context
   */
  withContext(context) {
    const pairs = context instanceof Map ? context : new Map(Object.entries(context));
    return new Profile({ ...this, context: new Map(pairs), contextIsGiven: true });
  }

  /**
   * @param {string} name
   * @returns {Table | undefined}
   */
  table(name) {
    return this.tables.find((each) => each.name === name);
  }
}

/**
 * A column's name in bindings.
 *
 * @param {Table} layout
 * @param {string} column
 */
export function boundColumn(layout, column) {
  return layout.boundColumns.get(column) ?? column;
}

/**
 * @param {Fields} fields
 * @returns {Table}
 */
function table(fields) {
  const name = fields.text("name");
  const version = fields.optional("version");
  const described = fields.optional("record");
  const record = described === undefined ? undefined : new Fields(described, "the record of the profile");
  const parsed = {
    name,
    schema: fields.optionalText("schema"),
    key: fields.texts("key"),
    owner: fields.optionalTexts("owner"),
    tokens: fields.texts("tokens"),
    plain: fields.optionalTexts("plain"),
    updated: fields.optionalText("updated"),
    version: version === undefined ? undefined : versionColumns(new Fields(version, "the version columns")),
    boundAs: fields.optionalText("bound_as") ?? name,
    boundColumns: fields.optionalTextsByName("bound_columns"),
    types: fields.optionalTextsByName("types"),
    indexed: fields.optionalItems("index").map((each) => new Fields(each, "an index of the profile").text("column")),
    record: record?.text("column"),
    recordMayLack: record?.optional("optional") === true,
  };
  for (const ofThePrograms of ["filter", "optional", "lost_indexes", "refresh"]) fields.optional(ofThePrograms);
  fields.finish();
  return parsed;
}

/** @param {Fields} fields */
function versionColumns(fields) {
  const columns = { version: fields.text("version"), method: fields.text("method"), keyId: fields.text("key_id") };
  fields.finish();
  return columns;
}

/**
 * @param {Profile} profile
 * @returns {Generator<string>}
 */
function* problems({ context, tables }) {
  if ([...context].some(([name, value]) => ["table", "column", ""].includes(name) || value === "")) {
    yield "a pair of the context has no name or value of its own";
  }
  if (tables.length === 0) yield "it names no table";
  if (repeats(tables.map((each) => each.name))) yield "it names a table twice";
  if (repeats(tables.map((each) => each.boundAs))) yield "values of two tables would be bound to the same name";
  for (const each of tables) yield* problemsOfTable(each, context);
}

/**
 * @param {Table} layout
 * @param {ReadonlyMap<string, string>} context
 * @returns {Generator<string>}
 */
function* problemsOfTable(layout, context) {
  const { key, owner, tokens, plain, updated, version } = layout;
  const name = JSON.stringify(layout.name);
  if (key.length === 0 || tokens.length === 0) yield `table ${name} needs at least one key and one token column`;
  const roles = [...key, ...owner, ...tokens, ...plain, ...Object.values(version ?? {}), ...(updated ? [updated] : [])];
  if (repeats(roles)) yield `a column of table ${name} has two roles`;
  const identity = [...key, ...owner].map((column) => boundColumn(layout, column));
  if (repeats(identity) || identity.some((each) => each === "table" || each === "column" || context.has(each))) {
    yield `a key or owner column of table ${name} has the name of another pair of the context`;
  }
  if (repeats(tokens.map((column) => boundColumn(layout, column)))) {
    yield `two token columns of table ${name} are bound to one name`;
  }
  if ([...layout.types.keys()].some((column) => ![...key, ...owner].includes(column))) {
    yield `types of table ${name} names a column that is neither key nor owner`;
  }
  if ([...layout.boundColumns.keys()].some((column) => ![...key, ...owner, ...tokens].includes(column))) {
    yield `bound_columns of table ${name} names a column that binds nothing`;
  }
}

/** @param {string[]} names */
function repeats(names) {
  return new Set(names).size !== names.length;
}
