/** Row keys as the text that the database stores, because a value is bound to it. */

import { Refused } from "./errors.js";

const TEXT = new Set(["text", "varchar", "character varying"]);
const SIZED_TEXT = /^(varchar|character varying)\([0-9]+\)$/;
const INTEGERS = new Set(["integer", "int", "bigint", "smallint", "int2", "int4", "int8"]);

const INTEGER = /^[+-]?[0-9]{1,39}$/;
// As PostgreSQL reads them: a hyphen may follow each group of four digits, and braces may surround the whole.
const UUID = /^(?:([0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}|\{([0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}\})$/;
/** What any of the clients' languages, or a database, takes for white space. */
const SPACE = "[\\x09-\\x0d\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff]";
const AMBIGUOUS = [
  new RegExp(`^${SPACE}|${SPACE}$`), // padded text
  /^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$/, // numbers
  /^\\x[0-9a-fA-F]*$/, // bytea
  /^[0-9]{4}-[0-9]{2}-[0-9]{2}/, // dates and times
];
const SMALLEST = -(2n ** 63n);
const LARGEST = 2n ** 63n - 1n;

/** Text that was read back from the database (`CAST(column AS text)`), and so is canonical for any type. */
export class FromDatabase {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    Object.freeze(this);
  }
}

/**
 * @param {string} text
 * @returns {FromDatabase}
 */
export function fromDatabase(text) {
  return new FromDatabase(text);
}

/**
 * The text that the database has for a value of a column; `declared` is the profile's type of the column.
 *
 * @param {string} column
 * @param {string | undefined} declared
 * @param {unknown} value
 * @returns {string}
 */
export function canonical(column, declared, value) {
  if (value instanceof FromDatabase) return textOrRefusal(column, value.text);
  if (declared === undefined) return undeclared(column, value);
  const type = declared.trim().toLowerCase();
  if ((TEXT.has(type) || SIZED_TEXT.test(type)) && typeof value === "string") return value;
  if (INTEGERS.has(type)) return integer(column, value);
  if (type === "uuid") return uuid(column, value);
  throw refusal(column, `a value of this kind has no canonical text for the type ${JSON.stringify(declared)}`);
}

/**
 * @param {string} column
 * @param {unknown} value
 * @returns {string}
 */
function textOrRefusal(column, value) {
  if (typeof value !== "string") throw refusal(column, "the value is not text");
  return value;
}

/**
 * @param {string} column
 * @param {unknown} value
 * @returns {string}
 */
function integer(column, value) {
  const number = toBigInt(value);
  if (number === undefined || number < SMALLEST || number > LARGEST) {
    throw refusal(column, "the value is not an integer of 64 bits");
  }
  return number.toString();
}

/**
 * @param {unknown} value
 * @returns {bigint | undefined}
 */
function toBigInt(value) {
  if (typeof value === "bigint") return value;
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : undefined;
  if (typeof value !== "string" || !INTEGER.test(value)) return undefined;
  const magnitude = BigInt(value.replace(/^[+-]/, ""));
  return value.startsWith("-") ? -magnitude : magnitude;
}

/**
 * @param {string} column
 * @param {unknown} value
 * @returns {string}
 */
function uuid(column, value) {
  if (typeof value !== "string" || !UUID.test(value)) throw refusal(column, "the value is not a UUID");
  const digits = value.replace(/[{}-]/g, "").toLowerCase();
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/**
 * Without a declared type only what has one spelling in every type is taken.
 *
 * @param {string} column
 * @param {unknown} value
 * @returns {string}
 */
function undeclared(column, value) {
  if (typeof value === "number" || typeof value === "bigint") return integer(column, value);
  if (typeof value !== "string") throw refusal(column, "values of this kind have no canonical text");
  if (UUID.test(value) && uuid(column, value) !== value) {
    throw refusal(column, "the value may be a UUID in another spelling than the database's");
  }
  const whole = toBigInt(value);
  const isCanonicalInteger = whole?.toString() === value && whole >= SMALLEST && whole <= LARGEST;
  if (!isCanonicalInteger && AMBIGUOUS.some((pattern) => pattern.test(value))) {
    throw refusal(column, "the value may have another spelling in the database");
  }
  return value;
}

/**
 * @param {string} column
 * @param {string} why
 * @returns {Refused}
 */
function refusal(column, why) {
  const hint = `declare types = { ${column} = … } in the profile, or pass fromDatabase(text)`;
  return new Refused(`column ${JSON.stringify(column)}: ${why}; ${hint}`);
}
