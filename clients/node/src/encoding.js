/** Strict text encodings: one spelling for every value, anything else refused. */

import { Malformed, Refused } from "./errors.js";

/** Longest canonical encoding of a context or a binding, in bytes. */
export const MAX_CONTEXT_LEN = 8192;

/** The white space of Unicode, as the programs know it; `\s` is another set in each language. */
export const SPACE = "\\x09-\\x0d\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const WHITE = new RegExp(`[${SPACE}]`);

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Decodes standard base64 with padding (RFC 4648, section 4), or base64url without padding (section 5).
 *
 * @param {string} text
 * @param {"base64" | "base64url"} alphabet
 * @returns {Buffer}
 */
export function decodeBase64(text, alphabet = "base64") {
  const decoded = Buffer.from(text, alphabet);
  // Node skips unknown characters, so only the text that the bytes encode to is accepted.
  if (decoded.toString(alphabet) !== text) throw new Malformed(`${alphabet} is not canonical`);
  return decoded;
}

/**
 * A text without the white space around it. By index, because a pattern would begin again at each space inside.
 *
 * @param {string} text
 * @param {RegExp} white Matches one character to leave out.
 */
export function trimmed(text, white = WHITE) {
  let [start, end] = [0, text.length];
  while (start < end && white.test(text.charAt(start))) start += 1;
  while (end > start && white.test(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/**
 * Encodes text as UTF-8; a lone surrogate is no text that a database can hold.
 *
 * @param {string} text
 * @param {string} what
 * @returns {Buffer}
 */
export function utf8(text, what) {
  if (!text.isWellFormed()) throw new Refused(`${what} is not Unicode text`);
  return Buffer.from(text, "utf8");
}

/**
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function textOf(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new Malformed("opened value is not UTF-8 text");
  }
}

/** @param {number} number */
function u16(number) {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(number);
  return bytes;
}

/**
 * @param {string} text
 * @param {string} what
 * @returns {Buffer}
 */
export function lengthPrefixed(text, what) {
  const encoded = utf8(text, what);
  if (encoded.length > MAX_CONTEXT_LEN) throw new Refused(`${what} is over ${MAX_CONTEXT_LEN} bytes long`);
  return Buffer.concat([u16(encoded.length), encoded]);
}

/**
 * `u16 count || name || value || …`, ordered by the names' UTF-8 bytes; a repeated or empty name is refused.
 *
 * @param {ReadonlyArray<readonly [string, string]>} pairs
 * @returns {Buffer}
 */
export function canonicalPairs(pairs) {
  const ordered = pairs.map(([name, value]) => ({ bytes: utf8(name, "a column's name"), name, value }));
  ordered.sort((one, other) => Buffer.compare(one.bytes, other.bytes));
  /** @type {Buffer[]} */
  const parts = [u16(ordered.length)];
  for (const [at, { name, value }] of ordered.entries()) {
    if (name === "") throw new Refused("the row's identity or the context has a pair without a name");
    if (at > 0 && ordered[at - 1]?.name === name) {
      throw new Refused(`the row's identity or the context names ${JSON.stringify(name)} twice`);
    }
    parts.push(lengthPrefixed(name, "a column's name"), lengthPrefixed(value, `the value of ${JSON.stringify(name)}`));
  }
  return bounded(Buffer.concat(parts));
}

/**
 * @template {Uint8Array} T
 * @param {T} encoded
 * @returns {T}
 */
export function bounded(encoded) {
  if (encoded.length > MAX_CONTEXT_LEN) {
    throw new Refused(`the row's identity or the context is over ${MAX_CONTEXT_LEN} bytes long`);
  }
  return encoded;
}
