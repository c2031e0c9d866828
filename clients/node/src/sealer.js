/** The sealer: seals a value for a cell of a table and opens it there, under the rules of the Rust store. */

import { createHash } from "node:crypto";

import { Binding } from "./binding.js";
import { DataKeyCache } from "./cache.js";
import { detect, isBrokenEnvelope, onlyBeginsLikeOne } from "./detection.js";
import { canonicalPairs, textOf, utf8 } from "./encoding.js";
import {
  MAX_PLAINTEXT_LEN, SUITES, V3_MARK, isEnvelope, openDirect, openV2, openV3, parseV2, parseV3, sealV2, sealV3,
} from "./envelopes.js";
import { ConfigurationError, Malformed, NotAuthentic, Refused, TokensealError } from "./errors.js";
import { Kms } from "./kms.js";
import { boundColumn } from "./profile.js";
import { canonical } from "./row-keys.js";
import * as settings from "./settings.js";
import { StatementBuilder } from "./statement.js";

/** @typedef {import("./profile.js").Table} Table */
/** @typedef {import("./binding.js").Context} Context */
/** @typedef {import("../index.d.ts").Cell} Cell */
/** @typedef {import("../index.d.ts").Sealed} Sealed */

const METHOD = "kms-envelope";
/** The forms of the versions 0, 1 and 2. */
const FORMS = ["plaintext", "direct", "envelope"];

/** Seals and opens values under AWS KMS data keys. */
export class Sealer {
  #kms;
  #format;
  #binding;
  #plaintext;
  #floor;
  #directKey;
  #legacy;
  #suite;
  #cache;
  #baseContext;

  /** @param {import("../index.d.ts").SealerOptions} options */
  constructor({
    kms, keyId, profile, allowedKeys, envelopeFormat, binding, plaintextPolicy, floor, suite = "aes-256-gcm",
    encryptionKey, cacheTtl, cacheMax, legacy,
  }) {
    /** @type {import("./profile.js").Profile} */
    this.profile = settings.profile(/** @type {any} */ (profile));
    this.#kms = new Kms(kms, settings.keyId(keyId), settings.allowedKeys(allowedKeys));
    this.#format = settings.choice(envelopeFormat, "ENVELOPE_FORMAT", settings.ENVELOPE_FORMATS);
    this.#binding = settings.choice(binding, "BINDING", settings.BINDINGS);
    this.#plaintext = settings.choice(plaintextPolicy, "PLAINTEXT_POLICY", settings.PLAINTEXT_POLICIES);
    // Nothing weaker than a bound envelope is left to read under the strictest settings, under any floor.
    const isStrict = this.#binding === "require" && this.#plaintext === "forbid";
    const configured = settings.floor(floor, this.profile.floor);
    this.#floor = isStrict ? "bound" : configured;
    this.#directKey = settings.directKey(encryptionKey);
    this.#legacy = legacy;
    this.#baseContext = new Binding("-", "-", [], []).plainContext(this.profile.context);
    this.#cache = new DataKeyCache(
      settings.milliseconds(cacheTtl, "DEK_CACHE_TTL", 300_000),
      settings.count(cacheMax, "DEK_CACHE_MAX", 10_000),
    );
    const suiteNumber = SUITES.get(suite);
    if (suiteNumber === undefined) throw new ConfigurationError(`suite must be one of ${[...SUITES.keys()].join(", ")}`);
    this.#suite = suiteNumber;
    if (this.#binding === "off" && (this.#format === "v3" || this.#floor === "bound")) {
      throw new ConfigurationError("BINDING=off writes unbound values: not with ENVELOPE_FORMAT=v3 or the floor 'bound'");
    }
  }

  /**
   * Opens the text of a cell; NULL stays `null` and the empty string stays empty.
   *
   * @param {string | null} text
   * @param {Cell} cell
   * @returns {Promise<string | null>}
   */
  async open(text, cell) {
    const { layout, binding } = this.#cell(cell);
    if (text === null || text === "") return text;
    if (typeof text !== "string") throw new Refused("a stored value is text or null");
    utf8(text, "the stored text");
    const form = this.#form(layout, text, cell.version);
    if (form === "envelope") return this.#openEnvelope(text, cell.keyId, binding);
    if (this.#floor !== "any") throw new Refused(`the value is below the floor '${this.#floor}': it is no envelope`);
    if (form === "direct") return this.#openDirect(text);
    if (form === "other") return this.#openLegacy(text, layout, cell.column, binding);
    if (this.#plaintext === "forbid") throw new Refused("the value is plaintext, and plaintext is forbidden");
    return cell.version === undefined ? this.#openLegacy(text, layout, cell.column, binding) : text;
  }

  /**
   * Seals a value for a cell under a data key of its own. Nothing weaker is ever returned in its place.
   *
   * @param {string} value
   * @param {Cell} cell
   * @returns {Promise<Sealed>}
   */
  async seal(value, cell) {
    const { binding } = this.#cell(cell);
    if (typeof value !== "string") throw new Refused("a value to seal must be text");
    const plaintext = utf8(value, "the value");
    if (plaintext.length > MAX_PLAINTEXT_LEN) throw new Refused(`the value is over ${MAX_PLAINTEXT_LEN} bytes long`);
    if (value === "") return { text: "", keyId: null, version: 2, method: METHOD };
    const { context: base } = this.profile;
    let key, text;
    if (this.#format === "v3") {
      key = await this.#kms.generate(this.#baseContext);
      text = sealV3(this.#suite, key.plaintext, key.wrapped, binding, plaintext);
    } else {
      key = await this.#kms.generate(this.#binding === "off" ? binding.plainContext(base) : binding.boundContext(base));
      text = sealV2(key.plaintext, key.wrapped, plaintext);
    }
    key.plaintext.fill(0);
    return { text, keyId: key.keyId, version: 2, method: METHOD };
  }

  /**
   * The `UPDATE … WHERE` that writes values into a row if it is unchanged since it was read (compare-and-swap).
   *
   * @param {import("../index.d.ts").UpdateOptions} options
   * @returns {Promise<{sql: string, params: unknown[]}>}
   */
  async update({ table, old, set, plain = {}, dialect = "postgres", placeholder }) {
    const layout = this.#table(table);
    const builder = new StatementBuilder(layout, old, dialect, placeholder);
    const cell = (/** @type {string} */ column) => ({
      table, column, row: /** @type {any} */ (builder.row()), owner: /** @type {any} */ (builder.owner()),
    });
    return builder.build(
      set,
      plain,
      (column, value) => this.seal(value, cell(column)),
      async (column, text) => {
        const marks = { version: /** @type {any} */ (builder.version()), keyId: builder.keyId() };
        return /** @type {string} */ (await this.open(text, { ...cell(column), ...marks }));
      },
    );
  }

  /** Forgets every unwrapped data key. */
  clearCache() {
    this.#cache.clear();
  }

  /** @param {string} name */
  #table(name) {
    const table = this.profile.table(name);
    if (table === undefined) throw new Refused(`the profile has no table ${JSON.stringify(name)}`);
    return table;
  }

  /** @param {Cell} cell */
  #cell({ table, column, row, owner }) {
    const layout = this.#table(table);
    if (!layout.tokens.includes(column)) {
      throw new Refused(`table ${JSON.stringify(table)} has no token column ${JSON.stringify(column)} in the profile`);
    }
    const key = identity(layout, "row", layout.key, row);
    const owners = identity(layout, "owner", layout.owner, owner ?? {});
    const binding = new Binding(layout.boundAs, boundColumn(layout, column), key, owners);
    binding.canonical(); // for its limits
    return { layout, binding };
  }

  /**
   * How a text is stored: by its row's version where that is given, else by its mark.
   *
   * @param {Table} layout
   * @param {string} text
   * @param {Cell["version"]} version
   * @returns {"envelope" | "other" | "plaintext" | "direct"}
   */
  #form(layout, text, version) {
    if (layout.version === undefined) {
      const form = this.#formByMark(text);
      if (version === undefined || form === FORMS[versionNumber(version)]) return form;
    } else if (version === undefined) {
      if (detect(text) === "envelope") return "envelope";
      const name = JSON.stringify(layout.name);
      throw new Refused(`table ${name} has version columns: pass the row's version to read this value`);
    } else {
      const form = formByVersion(text, versionNumber(version));
      if (form !== undefined) return form;
    }
    throw new Malformed("the text contradicts the row's encryption version");
  }

  /** @param {string} text */
  #formByMark(text) {
    const isDirect = this.profile.unmarked === "direct-aes";
    if (!isDirect && onlyBeginsLikeOne(text)) return "plaintext";
    const form = detect(text);
    return form === "plaintext" && isDirect ? "direct" : form;
  }

  /**
   * @param {string} text
   * @param {string | null | undefined} keyId
   * @param {Binding} binding
   */
  async #openEnvelope(text, keyId, binding) {
    const pins = await this.#kms.pins(keyId);
    if (text.startsWith(V3_MARK)) {
      const envelope = parseV3(text);
      return textOf(openV3(envelope, await this.#unwrap(envelope.wrapped, pins, this.#baseContext), binding));
    }
    const envelope = parseV2(text);
    const { context: base } = this.profile;
    const contexts = [
      { context: binding.boundContext(base), isBound: true },
      { context: binding.plainContext(base), isBound: false },
    ];
    if (this.#binding === "off") contexts.reverse();
    const { key, isBound } = await this.#unwrapEither(envelope.wrapped, pins, contexts);
    if (!isBound && (this.#binding === "require" || this.#floor === "bound")) {
      throw new Refused("the value is not bound to its row, and unbound values are refused");
    }
    return textOf(openV2(envelope, key));
  }

  /**
   * @param {Uint8Array} wrapped
   * @param {string[]} pins
   * @param {Context} context
   */
  #unwrap(wrapped, pins, context) {
    return this.#cache.fetch(cacheName(wrapped, pins, context), async () => {
      const key = await this.#kms.unwrap(wrapped, pins, context);
      if (key === undefined) throw new NotAuthentic();
      return key;
    });
  }

  /**
   * @param {Uint8Array} wrapped
   * @param {string[]} pins
   * @param {{context: Context, isBound: boolean}[]} contexts
   */
  async #unwrapEither(wrapped, pins, contexts) {
    // Both are looked up in memory first, so that an unbound value that is read twice costs no failed call.
    for (const { context, isBound } of contexts) {
      const key = this.#cache.get(cacheName(wrapped, pins, context));
      if (key !== undefined) return { key, isBound };
    }
    for (const [at, { context, isBound }] of contexts.entries()) {
      try {
        return { key: await this.#unwrap(wrapped, pins, context), isBound };
      } catch (error) {
        if (!(error instanceof NotAuthentic) || at === contexts.length - 1) throw error;
      }
    }
    throw new NotAuthentic();
  }

  /** @param {string} text */
  #openDirect(text) {
    if (this.#directKey === undefined) throw new Refused("reading direct AES values needs ENCRYPTION_KEY");
    return textOf(openDirect(this.#directKey, text));
  }

  /**
   * @param {string} text
   * @param {Table} layout
   * @param {string} column
   * @param {Binding} binding
   */
  async #openLegacy(text, layout, column, binding) {
    if (this.#legacy === undefined) {
      throw new Refused(
        `the value of column ${JSON.stringify(column)} is no envelope, and no version column says how it is stored: ` +
          "pass version, give the sealer a legacy callback, or read through the agent",
      );
    }
    const row = Object.fromEntries(layout.key.map((name, at) => [name, binding.key[at]?.[1] ?? ""]));
    const owner = Object.fromEntries(layout.owner.map((name, at) => [name, binding.owner[at]?.[1] || null]));
    let opened;
    try {
      opened = await this.#legacy(text, { table: layout.name, column, row, owner });
    } catch (error) {
      if (error instanceof TokensealError) throw error;
      // Its text may hold the value.
      throw new NotAuthentic("the legacy callback did not open the value");
    }
    if (typeof opened !== "string") throw new Malformed("the legacy callback returned something that is not text");
    return opened;
  }
}

/** @param {NonNullable<Cell["version"]> | null} version */
function versionNumber(version) {
  if (version === null) return 0;
  const text = typeof version === "boolean" ? "" : String(version);
  if (["0", "1", "2"].includes(text)) return Number(text);
  throw new Malformed("the row's encryption version is unknown");
}

/**
 * How a text is stored in a row of a version; undefined where they contradict each other.
 *
 * @param {string} text
 * @param {number} version
 * @returns {"envelope" | "other" | "plaintext" | "direct" | undefined}
 */
function formByVersion(text, version) {
  const isStrong = isEnvelope(text);
  if (version === 2) return isStrong ? detect(text) : undefined;
  if (version === 1) return isStrong ? undefined : "direct";
  try {
    return detect(text) === "plaintext" ? "plaintext" : undefined;
  } catch {
    // A mark on a text that is nothing of the kind: the column is believed.
    return isBrokenEnvelope(text) ? undefined : "plaintext";
  }
}

/**
 * Names and canonical texts of the key or the owner columns: all of them, and no others.
 *
 * @param {Table} layout
 * @param {"row" | "owner"} what
 * @param {string[]} columns
 * @param {Record<string, unknown>} given
 * @returns {[string, string][]}
 */
function identity(layout, what, columns, given) {
  const names = Object.keys(given ?? {});
  if (names.length !== columns.length || !columns.every((column) => Object.hasOwn(given, column))) {
    const expected = columns.join(", ") || "none";
    throw new Refused(`${what} of table ${JSON.stringify(layout.name)} must give exactly these columns: ${expected}`);
  }
  return columns.map((column) => {
    const value = given[column];
    if (value === null && what === "owner") return [boundColumn(layout, column), ""];
    if (value === null || value === undefined) {
      throw new Refused(`column ${JSON.stringify(column)} has no value, and only an owner may be NULL (null)`);
    }
    return [boundColumn(layout, column), canonical(column, layout.types.get(column), value)];
  });
}

/**
 * Everything that decides whether a data key may be used, so that a hit never skips a check.
 *
 * @param {Uint8Array} wrapped
 * @param {string[]} pins
 * @param {Context} context
 */
function cacheName(wrapped, pins, context) {
  const digest = createHash("sha256");
  for (const part of [wrapped, canonicalPairs(Object.entries(context)), ...pins.map((pin) => Buffer.from(pin))]) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    digest.update(length).update(part);
  }
  return digest.digest("base64");
}
