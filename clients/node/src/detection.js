/** Detection: whether a text claims to be of a format other than plaintext, by its marks (docs/formats.md). */

import { isUtf8 } from "node:buffer";

import { decodeBase64, trimmed } from "./encoding.js";
import {
  MAX_PLAINTEXT_LEN, MAX_WRAPPED_LEN, NONCE_LEN, TAG_LEN, TWICE_MARK, V2_MARK, V3_MARK, isEnvelope, parseV2, parseV3,
} from "./envelopes.js";
import { Malformed } from "./errors.js";
import { NODE, PULSEPLAN, isWellFormedJson } from "./json-forms.js";

const LOCAL = /^(v[1-9][0-9]*:)?[0-9a-f]{32}:[0-9a-f]{32}:(?:[0-9a-f]{2})+$/;
const LOCAL_MARK = /^(v[0-9+-]+:|[0-9a-fA-F]{32}:|[0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+$)/;
/** As many characters of an alphabet of base64 as no text has by accident. */
const ENCODED = /[A-Za-z0-9+/=_-]{24}/;
/** Deeper nesting is a text that some languages' parsers read and others do not: all clients refuse it. */
const MAX_DEPTH = 128;
const INVISIBLE = /[\s\u0000-\u0020\u007f-\u00a0\ufeff]/;

/**
 * `envelope`, `other` (a form that this client does not open) or `plaintext`. Throws `Malformed` where the text carries
 * a mark, or a damaged one, and is not well-formed.
 *
 * @param {string} text
 * @returns {"envelope" | "other" | "plaintext"}
 */
export function detect(text) {
  const bare = trimmed(text, INVISIBLE);
  if (bare !== text && (claim(bare) !== "plaintext" || isDamaged(bare))) {
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

/**
 * Whether a text with the mark of an envelope was one: then it is damaged, and no token that begins like one.
 *
 * @param {string} text
 */
export function isBrokenEnvelope(text) {
  return isEnvelope(text) && ENCODED.test(text);
}

/**
 * Whether a text is a token that begins with `kms:`: nothing in it was an envelope, and it names no version.
 *
 * @param {string} text
 */
export function onlyBeginsLikeOne(text) {
  const isMarked = [V2_MARK, V3_MARK, "kms:{"].some((mark) => text.startsWith(mark));
  const namesAVersion = /^[vV][0-9]+$/.test(text.split(":")[1] ?? "");
  return beginsAsEnvelope(text) && !isMarked && !ENCODED.test(text) && !namesAVersion && trimmed(text, INVISIBLE) === text;
}

/** @param {string} text */
function beginsAsEnvelope(text) {
  return /^[kK][mM][sS]:/.test(text);
}

/** @param {string} text */
function claim(text) {
  if (isEnvelope(text)) return "envelope";
  if (beginsAsEnvelope(text) || /^(djF8|ZGV2f)/.test(text) || LOCAL_MARK.test(text)) return "other";
  if (!text.startsWith("{")) return "plaintext";
  const names = fieldNames(text);
  return names === undefined || fieldsClaim(names) ? "other" : "plaintext";
}

/** @param {Set<string>} names */
function fieldsClaim(names) {
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
 * The names in a JSON object; none for any other text, and for one that is nested too deeply.
 *
 * @param {string} text
 * @returns {Set<string> | undefined}
 */
function fieldNames(text) {
  if (isNestedTooDeeply(text)) return undefined;
  try {
    const parsed = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)
      ? new Set(Object.keys(parsed))
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * By index: a pattern for strings would keep each of their characters to go back to, and a long text has too many.
 *
 * @param {string} text
 */
function isNestedTooDeeply(text) {
  let [depth, isInString] = [0, false];
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') isInString = !isInString;
    else if (isInString) at += character === "\\" ? 1 : 0;
    else if (character === "[" || character === "{") depth += 1;
    else if (character === "]" || character === "}") depth -= 1;
    if (depth > MAX_DEPTH) return true;
  }
  return false;
}

/** @param {string} text */
function isWellFormed(text) {
  if (text.startsWith("djF8")) return isAutonomous(text);
  if (text.startsWith("ZGV2f")) return isDevelopment(text);
  if (LOCAL_MARK.test(text)) return LOCAL.test(text);
  const json = text.startsWith("kms:") ? text.slice(4) : text;
  return fieldNames(json) !== undefined && isWellFormedJson(json);
}

/** @param {string} text */
function isAutonomous(text) {
  const inner = decoded(text).toString("latin1").split("|");
  if (inner.length !== 4 || inner[0] !== "v1") return false;
  const [wrapped = 0, nonce = 0, sealed = 0] = inner.slice(1).map((part) => decoded(part).length);
  const isKey = wrapped >= 1 && wrapped <= MAX_WRAPPED_LEN;
  return isKey && nonce === NONCE_LEN && sealed >= TAG_LEN && sealed <= MAX_PLAINTEXT_LEN + TAG_LEN;
}

/**
 * A Fernet token: version, time, IV, blocks, MAC.
 *
 * @param {string} text
 */
function isDevelopment(text) {
  const inner = decoded(text).toString("latin1");
  const token = inner.slice(4);
  if (!inner.startsWith("dev|") || /[+/]/.test(token)) return false;
  const bytes = decoded(token.replaceAll("-", "+").replaceAll("_", "/"));
  const blocks = bytes.length - 1 - 8 - 16 - 32;
  return bytes[0] === 0x80 && blocks > 0 && blocks % 16 === 0;
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeBase64(text);
  } catch {
    return Buffer.alloc(0);
  }
}

/**
 * Whether a text without a mark would be an envelope if its mark were mended: then it is a ciphertext.
 *
 * @param {string} text
 */
function isDamaged(text) {
  if (text.startsWith("{")) return false;
  const bytes = Buffer.from(text, "utf8");
  if ([V2_MARK, V3_MARK, 'kms:{"', TWICE_MARK].some((mark) => differsInOneByte(bytes, mark))) return true;
  if (isDamagedLocal(bytes.toString("latin1"))) return true;
  const names = fieldNames(mended(bytes, "{"));
  const isJson = names !== undefined && fieldsClaim(names);
  return isJson || isAutonomous(mended(bytes, "djF8")) || isDevelopment(mended(bytes, "ZGV2f"));
}

/**
 * @param {Buffer} bytes
 * @param {string} mark
 */
function mended(bytes, mark) {
  const rest = bytes.subarray(mark.length);
  return isUtf8(rest) ? mark + rest.toString("utf8") : mark;
}

/**
 * @param {Buffer} bytes
 * @param {string} mark
 */
function differsInOneByte(bytes, mark) {
  return bytes.length >= mark.length && [...Buffer.from(mark)].filter((byte, at) => bytes[at] !== byte).length === 1;
}

/**
 * `iv:tag:ciphertext`, with or without a version: one character of the IV or the separator after it is wrong.
 *
 * @param {string} bytes One character for each byte.
 */
function isDamagedLocal(bytes) {
  // The tag is the last 32 digits before the last colon, however many digits there are.
  const at = bytes.lastIndexOf(":") - 32;
  if (at < 0 || !/^[0-9a-fA-F]{32}:[0-9a-fA-F]+$/.test(bytes.slice(at))) return false;
  const [iv, separator] = [bytes.slice(Math.max(at - 33, 0), at - 1), bytes[at - 1]];
  const wrong = [...iv].filter((character) => !/[0-9a-fA-F]/.test(character)).length + (separator === ":" ? 0 : 1);
  return iv.length === 32 && wrong <= 1;
}
