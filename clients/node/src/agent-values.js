/** Values on their way to the agent: each in the one spelling that names its row, or refused without repeating it. */

import { AgentError, Malformed, Refused } from "./errors.js";
import { FromDatabase } from "./row-keys.js";

/** @typedef {Record<string, unknown>} Values */

const SMALLEST = -(2n ** 63n);
const LARGEST = 2n ** 63n - 1n;
/** Bytes of a request that the agent reads (docs/agent.md). A longer one ends the connection before it answers. */
const MAX_REQUEST = 2 << 20;
const MEMBERS = ["table", "column", "row", "owner", "version"];

/**
 * Key or owner columns: text, whole numbers, `fromDatabase(text)`, and `null` for the NULL of an owner.
 *
 * @param {string} what
 * @param {unknown} given
 * @returns {Values}
 */
export function keys(what, given) {
  return mapped(what, given, keyOf);
}

/**
 * Plain columns: as keys, and booleans and dates.
 *
 * @param {unknown} given
 * @returns {Values}
 */
export function plainValues(given) {
  return mapped("plain", given, (column, value) => {
    if (typeof value === "boolean") return value;
    return keyOf(column, value instanceof Date && !Number.isNaN(value.getTime()) ? value.toISOString() : value);
  });
}

/**
 * Tokens by column: text, or `null` for NULL.
 *
 * @param {unknown} given
 * @returns {Values}
 */
export function tokenValues(given) {
  return mapped("tokens", given, (column, value) =>
    value === null ? null : textOf(value, `the token for column ${JSON.stringify(column)}`),
  );
}

/**
 * Text as it is. A lone surrogate is refused: no database holds it.
 *
 * @param {unknown} value
 * @param {string} what
 * @returns {string}
 */
export function textOf(value, what) {
  if (typeof value !== "string") throw new Refused(`${what} is not text`);
  if (!value.isWellFormed()) throw new Refused(`${what} is not Unicode text`);
  return value;
}

/**
 * A revision or a lease. One that is empty is none that the agent gave, and must not make a write unconditional.
 *
 * @param {unknown} value
 * @param {string} what
 * @returns {string | undefined}
 */
export function opaqueOf(value, what) {
  if (value === undefined) return undefined;
  if (value === "" || value === null) throw new Refused(`${what} is empty: leave it out for a write without it`);
  return textOf(value, what);
}

/**
 * One cell of a batch; `content` is `text` to open, or `value` to seal.
 *
 * @param {unknown} given
 * @param {"text" | "value"} content
 * @returns {Values}
 */
export function itemOf(given, content) {
  const item = objectOf("an item of a batch", given);
  for (const name of Object.keys(item)) {
    if (!MEMBERS.includes(name) && name !== content && item[name] !== undefined) {
      throw new Refused(`an item of a batch has a member that is not one of it: ${JSON.stringify(name)}`);
    }
  }
  /** @type {Values} */
  const sent = {};
  for (const name of ["table", "column", content]) {
    if (item[name] !== undefined) sent[name] = textOf(item[name], `${name} of an item`);
  }
  for (const name of ["row", "owner"]) {
    if (item[name] !== undefined && item[name] !== null) sent[name] = keys(name, item[name]);
  }
  if (item["version"] !== undefined && item["version"] !== null) sent["version"] = versionOf(item["version"]);
  return sent;
}

/**
 * A request's body. Its error carries nothing of the values.
 *
 * @param {Values} body
 * @returns {Buffer}
 */
export function payloadOf(body) {
  let text;
  try {
    text = JSON.stringify(body, checked);
  } catch (error) {
    if (error instanceof Refused) throw error;
  }
  if (text === undefined) throw new Refused("the request to the agent cannot be written as JSON");
  const payload = Buffer.from(text);
  if (payload.length > MAX_REQUEST) {
    throw new AgentError(413, "body_too_long", `the request is over the agent's ${MAX_REQUEST} bytes`);
  }
  return payload;
}

/**
 * JSON would write another number, or null, for a number that is not whole and exact.
 *
 * @param {string} _name
 * @param {unknown} value
 */
function checked(_name, value) {
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new Refused("a number of the request is not a whole number that is exact");
  }
  if (typeof value === "string" && !value.isWellFormed()) throw new Refused("a text of the request is not Unicode text");
  return value;
}

/**
 * @param {string} what
 * @param {unknown} given
 * @returns {Values}
 */
function objectOf(what, given) {
  if (typeof given !== "object" || given === null || Array.isArray(given)) throw new Refused(`${what} is not an object`);
  return /** @type {Values} */ (given);
}

/**
 * @param {string} what
 * @param {unknown} given
 * @param {(column: string, value: unknown) => unknown} one
 * @returns {Values}
 */
function mapped(what, given, one) {
  const entries = Object.entries(objectOf(what, given));
  return Object.fromEntries(entries.map(([column, value]) => [textOf(column, "a column's name"), one(column, value)]));
}

/**
 * @param {string} column
 * @param {unknown} given
 * @returns {string | number | null}
 */
function keyOf(column, given) {
  const name = `column ${JSON.stringify(column)}`;
  if (given instanceof FromDatabase) return textOf(given.text, `the value of ${name}`);
  const value = given;
  if (value === null) return null;
  if (typeof value === "string") return textOf(value, `the value of ${name}`);
  if (typeof value === "number") {
    if (Number.isSafeInteger(value)) return value;
    throw new Refused(`${name}: the number may have lost digits: pass a bigint or text`);
  }
  if (typeof value === "bigint") {
    if (value >= SMALLEST && value <= LARGEST) return value.toString();
    throw new Refused(`${name}: the value is not an integer of 64 bits`);
  }
  throw new Refused(`${name}: a value of this kind has no one text: pass text, a whole number or fromDatabase(text)`);
}

/**
 * @param {unknown} value
 * @returns {number}
 */
function versionOf(value) {
  const at = ["number", "bigint", "string"].includes(typeof value) ? ["0", "1", "2"].indexOf(String(value)) : -1;
  if (at < 0) throw new Malformed("the row's encryption version is unknown");
  return at;
}
