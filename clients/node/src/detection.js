/** Detection: whether a text claims to be of a format other than plaintext, by its marks (docs/formats.md). */

import { decodeBase64 } from "./encoding.js";
import { TWICE_MARK, V2_MARK, V3_MARK, isEnvelope, parseV2, parseV3 } from "./envelopes.js";
import { Malformed } from "./errors.js";

const LOCAL = /^(v[1-9][0-9]*:)?[0-9a-f]{32}:[0-9a-f]{32}:([0-9a-f]{2})+$/;
const LOCAL_MARK = /^(v[0-9+-]+:|[0-9a-fA-F]{32}:|[0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+$)/;
const PULSEPLAN = ["ciphertext", "algorithm", "encryption_context", "key_id", "encrypted_at"];
const NODE = ["alg", "keyId", "iv", "tag", "aad", "timestamp", "ciphertext"];
const INVISIBLE = "[\\s\\u0000-\\u0020\\u007f-\\u00a0\\ufeff]";
const SURROUNDED = new RegExp(`^${INVISIBLE}+|${INVISIBLE}+$`, "g");

/**
 * `envelope`, `other` (a form that this client does not open) or `plaintext`. Throws `Malformed` where the text carries
 * a mark, or a damaged one, and is not well-formed.
 *
 * @param {string} text
 * @returns {"envelope" | "other" | "plaintext"}
 */
export function detect(text) {
  const trimmed = text.replace(SURROUNDED, "");
  if (trimmed !== text && (claim(trimmed) !== "plaintext" || isDamaged(trimmed))) {
    throw new Malformed("white space or control characters surround an envelope");
  }
  const claimed = claim(text);
  if (claimed === "envelope") {
    if (text.startsWith(V3_MARK)) parseV3(text);
    else parseV2(text);
  } else if (claimed === "other" && !isWellFormed(text)) {
    throw new Malformed("the text carries the mark of a stored format and does not parse");
  } else if (claimed === "plaintext" && isDamaged(text)) {
    throw new Malformed("the text is an envelope but for a damaged mark");
  }
  return claimed;
}

/** @param {string} text */
function claim(text) {
  if (isEnvelope(text)) return "envelope";
  if (text.slice(0, 4).toLowerCase() === "kms:" || /^(djF8|ZGV2f)/.test(text) || LOCAL_MARK.test(text)) return "other";
  return text.startsWith("{") && jsonClaims(text) ? "other" : "plaintext";
}

/** @param {string} text */
function jsonClaims(text) {
  const names = fieldNames(text);
  if (names === undefined) return true;
  const has = (/** @type {string[]} */ ...wanted) => wanted.every((name) => names.has(name));
  const count = (/** @type {string[]} */ known) => known.filter((name) => names.has(name)).length;
  return (
    has("ciphertext", "algorithm") ||
    has("ciphertext", "encryption_context") ||
    count(PULSEPLAN) >= 3 ||
    has("alg", "keyId") ||
    has("iv", "tag", "ciphertext") ||
    count(NODE) >= 4
  );
}

/**
 * @param {string} text
 * @returns {Set<string> | undefined}
 */
function fieldNames(text) {
  try {
    const parsed = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)
      ? new Set(Object.keys(parsed))
      : undefined;
  } catch {
    return undefined;
  }
}

/** @param {string} text */
function isWellFormed(text) {
  if (text.startsWith("djF8")) return hasInnerParts(text, "v1|", 4);
  if (text.startsWith("ZGV2f")) return hasInnerParts(text, "dev|gAAAA", 2);
  if (LOCAL_MARK.test(text)) return LOCAL.test(text);
  const names = fieldNames(text.startsWith("kms:") ? text.slice(4) : text);
  const are = (/** @type {string[]} */ wanted) => names?.size === wanted.length && wanted.every((name) => names.has(name));
  return are(PULSEPLAN) || are([...NODE, "v"]);
}

/**
 * @param {string} text
 * @param {string} start
 * @param {number} parts
 */
function hasInnerParts(text, start, parts) {
  try {
    const inner = decodeBase64(text).toString("latin1");
    return inner.startsWith(start) && inner.split("|").length === parts;
  } catch {
    return false;
  }
}

/**
 * One wrong byte in the mark of an envelope: to call such a text plaintext would hand out a ciphertext.
 *
 * @param {string} text
 */
function isDamaged(text) {
  return [V2_MARK, V3_MARK, 'kms:{"', TWICE_MARK].some(
    (mark) => text.length >= mark.length && [...mark].filter((character, at) => text[at] !== character).length === 1,
  );
}
