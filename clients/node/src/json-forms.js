/** The envelopes of other programs that are JSON objects (docs/formats.md): well-formed, or damaged. */

import { MAX_CONTEXT_LEN, decodeBase64 } from "./encoding.js";
import { MAX_PLAINTEXT_LEN, NONCE_LEN, TAG_LEN } from "./envelopes.js";

export const PULSEPLAN = ["ciphertext", "algorithm", "encryption_context", "key_id", "encrypted_at"];
export const NODE = ["alg", "keyId", "iv", "tag", "aad", "timestamp", "ciphertext"];
const LABELLED = ["v", "alg", "purpose", "keyId", "messageId", "commitment", "tag", "ciphertext", "aad", "timestamp"];

const MAX_KEY_CIPHERTEXT_LEN = 6144;
const MAX_KEY_ID_LEN = 256;
const HASH_LEN = 32;
const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})?$/;
/** A whole number of 64 bits without a sign, as it is spelled: the parser would round it. */
const NUMBER = (/** @type {string} */ name) => new RegExp(`"${name}" *: *(0|[1-9][0-9]{0,19}) *[,}]`);

/**
 * Whether an object is one of these envelopes, in a spelling in which the programs write it.
 *
 * @param {string} text
 */
export function isWellFormedJson(text) {
  if (!text.startsWith("{") || !text.endsWith("}") || /[\0-\x1f]/.test(text) || hasUpperEscape(text)) return false;
  let fields;
  try {
    fields = JSON.parse(text);
  } catch {
    return false;
  }
  const names = Object.keys(fields);
  const are = (/** @type {string[]} */ wanted) => names.length === wanted.length && wanted.every((name) => names.includes(name));
  // JSON.stringify escapes half a pair of surrogates; a backslash of the text itself is written as two.
  if (/(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F]/.test(JSON.stringify(fields))) return false;
  if (are(PULSEPLAN)) return membersOf(text) === 5 + Object.keys(fields["encryption_context"] ?? {}).length && isPulseplan(fields);
  if (are([...NODE, "v"])) return membersOf(text) === 8 && isNode(fields, text, 1, "aes-256-gcm") && lengthOf(fields["iv"]) === NONCE_LEN;
  if (!are(LABELLED) || !isNode(fields, text, 2, "aes-256-gcm-hkdf-sha512-commit")) return false;
  // This version has one spelling.
  const spelled = JSON.stringify(Object.fromEntries(LABELLED.map((name) => [name, fields[name]])));
  const isSpelled = spelled.replace(/"timestamp":[^}]*\}$/, "") === text.replace(/"timestamp":[^}]*\}$/, "");
  return isSpelled && typeof fields["purpose"] === "string" && [fields["messageId"], fields["commitment"]].every((each) => lengthOf(each) === HASH_LEN);
}

/** @param {string} text */
function hasUpperEscape(text) {
  for (const [, escape = ""] of text.matchAll(/\\(u.{4}|.)/g)) {
    if (escape.startsWith("u") && escape !== escape.toLowerCase()) return true;
  }
  return false;
}

/**
 * How many members the objects of a valid text have, repeated ones counted: the parser keeps the last of them alone. By
 * index: a pattern for strings would keep each of their characters to go back to.
 *
 * @param {string} text
 */
function membersOf(text) {
  let [members, isInString] = [0, false];
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === '"') isInString = !isInString;
    else if (text[at] === ":" && !isInString) members += 1;
  }
  return members;
}

/** @param {Record<string, any>} fields */
function isPulseplan(fields) {
  const { algorithm, key_id: keyId, encrypted_at: time, encryption_context: context, ciphertext } = fields;
  if (algorithm !== "KMS" || typeof keyId !== "string" || keyId === "" || typeof time !== "string" || !TIME.test(time)) return false;
  if (typeof context !== "object" || context === null || Array.isArray(context)) return false;
  const pairs = Object.entries(context);
  if (!pairs.every(([name, value]) => name !== "" && typeof value === "string" && value !== "")) return false;
  const size = pairs.reduce((sum, pair) => sum + 4 + Buffer.byteLength(pair.join("")), 2);
  const sealed = lengthOf(ciphertext);
  return size <= MAX_CONTEXT_LEN && sealed >= 1 && sealed <= MAX_KEY_CIPHERTEXT_LEN;
}

/**
 * @param {Record<string, any>} fields
 * @param {string} text
 * @param {number} version
 * @param {string} algorithm
 */
function isNode(fields, text, version, algorithm) {
  const { v, alg, keyId, tag, aad, ciphertext } = fields;
  if (v !== version || alg !== algorithm || typeof keyId !== "string" || !NUMBER("v").test(text)) return false;
  const [name, sealed] = [Buffer.byteLength(keyId), lengthOf(ciphertext)];
  const time = NUMBER("timestamp").exec(text)?.[1];
  const isHead = name >= 1 && name <= MAX_KEY_ID_LEN && time !== undefined && BigInt(time) < 2n ** 64n;
  const isBody = lengthOf(tag) === TAG_LEN && sealed >= 0 && sealed <= MAX_PLAINTEXT_LEN && (aad === null || lengthOf(aad) >= 0);
  return isHead && typeof fields["timestamp"] === "number" && isBody;
}

/**
 * The length of what a field holds in base64; -1 where it holds none.
 *
 * @param {unknown} text
 */
function lengthOf(text) {
  try {
    return typeof text === "string" ? decodeBase64(text).length : -1;
  } catch {
    return -1;
  }
}
