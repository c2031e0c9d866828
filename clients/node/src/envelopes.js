/** The stored formats that this client reads and writes, to the byte (docs/formats.md). */

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto";

import { decodeBase64, textOf } from "./encoding.js";
import { Malformed, NotAuthentic } from "./errors.js";

/** @typedef {import("./binding.js").Binding} Binding */

export const V2_MARK = "kms:v2:";
export const V3_MARK = "kms:v3:";
/** How base64 of a text that begins with V2_MARK begins. */
export const TWICE_MARK = "a21zOnYyO";

export const MAX_PLAINTEXT_LEN = 1 << 20;
export const MAX_WRAPPED_LEN = 6144;

export const NONCE_LEN = 12;
export const TAG_LEN = 16;
const HEADER_LEN = 68;
const LABEL = Buffer.from("tokenseal bound envelope v3\0");
// A content key seals one message, so no nonce is needed to distinguish messages.
const ZERO_NONCE = Buffer.alloc(NONCE_LEN);
const NOTHING = Buffer.alloc(0);

/** @type {Map<string, number>} */
export const SUITES = new Map([
  ["aes-256-gcm", 0x0478],
  ["chacha20-poly1305", 0xf478],
]);

/**
 * Whether a text carries a mark that no token has by accident.
 *
 * @param {string} text
 */
export function isEnvelope(text) {
  return [V2_MARK, V3_MARK, TWICE_MARK].some((mark) => text.startsWith(mark));
}

/**
 * Parses `kms:v2:<wrapped data key>:<nonce || ciphertext || tag>`, or the same in base64 once more.
 *
 * @param {string} text
 */
export function parseV2(text) {
  const plain = text.startsWith(TWICE_MARK) ? textOf(decodeBase64(text)) : text;
  const colon = plain.indexOf(":", V2_MARK.length);
  if (!plain.startsWith(V2_MARK) || colon < 0) throw new Malformed("not a version 2 envelope");
  const wrapped = decodeBase64(plain.slice(V2_MARK.length, colon));
  const sealed = decodeBase64(plain.slice(colon + 1));
  if (wrapped.length < 1 || wrapped.length > MAX_WRAPPED_LEN) {
    throw new Malformed("the wrapped data key has an impossible length");
  }
  if (sealed.length < NONCE_LEN + TAG_LEN) throw new Malformed("a version 2 envelope is too short");
  return { wrapped, sealed };
}

/**
 * @param {{sealed: Buffer}} envelope
 * @param {Uint8Array} dataKey
 * @returns {Buffer}
 */
export function openV2({ sealed }, dataKey) {
  return decrypt("aes-256-gcm", dataKey, sealed.subarray(0, NONCE_LEN), sealed.subarray(NONCE_LEN), NOTHING);
}

/**
 * @param {Uint8Array} dataKey
 * @param {Uint8Array} wrapped
 * @param {Uint8Array} plaintext
 * @returns {string}
 */
export function sealV2(dataKey, wrapped, plaintext) {
  const nonce = randomBytes(NONCE_LEN);
  const sealed = Buffer.concat([nonce, encrypt("aes-256-gcm", dataKey, nonce, plaintext, NOTHING)]);
  return `${V2_MARK}${Buffer.from(wrapped).toString("base64")}:${sealed.toString("base64")}`;
}

/**
 * Parses the bound envelope: header, wrapped data key, payload.
 *
 * @param {string} text
 */
export function parseV3(text) {
  if (!text.startsWith(V3_MARK)) throw new Malformed("not a version 3 envelope");
  const bytes = decodeBase64(text.slice(V3_MARK.length), "base64url");
  if (bytes[0] !== 3) throw new Malformed("unknown envelope version");
  if (bytes.length < HEADER_LEN + 2) throw new Malformed("a version 3 envelope is too short");
  const cipher = cipherOf(bytes.readUInt16BE(1));
  if (cipher === undefined || bytes[3] !== 0) throw new Malformed("unknown suite or flag");
  const wrappedLen = bytes.readUInt16BE(HEADER_LEN);
  const payloadAt = HEADER_LEN + 2 + wrappedLen + 4;
  if (wrappedLen < 1 || wrappedLen > MAX_WRAPPED_LEN || bytes.length < payloadAt) {
    throw new Malformed("the wrapped data key has an impossible length");
  }
  const payload = bytes.subarray(payloadAt);
  const claimed = bytes.readUInt32BE(payloadAt - 4);
  if (claimed !== payload.length || claimed < TAG_LEN || claimed > MAX_PLAINTEXT_LEN + TAG_LEN) {
    throw new Malformed("the payload has an impossible length");
  }
  const wrapped = bytes.subarray(HEADER_LEN + 2, payloadAt - 4);
  return { cipher, header: bytes.subarray(0, HEADER_LEN), wrapped, payload };
}

/**
 * @param {ReturnType<typeof parseV3>} envelope
 * @param {Uint8Array} dataKey
 * @param {Binding} binding
 * @returns {Buffer}
 */
export function openV3({ cipher, header, payload }, dataKey, binding) {
  const { contentKey, commitment } = derive(dataKey, header.readUInt16BE(1), header.subarray(4, 36));
  // Before anything is decrypted: under a key that the value does not commit to, no plaintext is ever made.
  if (!timingSafeEqual(commitment, header.subarray(36))) throw new NotAuthentic();
  return decrypt(cipher, contentKey, ZERO_NONCE, payload, Buffer.concat([LABEL, header, binding.canonical()]));
}

/**
 * @param {number} suite
 * @param {Uint8Array} dataKey
 * @param {Uint8Array} wrapped
 * @param {Binding} binding
 * @param {Uint8Array} plaintext
 * @param {Buffer} messageId
 * @returns {string}
 */
export function sealV3(suite, dataKey, wrapped, binding, plaintext, messageId = randomBytes(32)) {
  const { contentKey, commitment } = derive(dataKey, suite, messageId);
  const start = Buffer.alloc(4);
  start.writeUInt8(3, 0);
  start.writeUInt16BE(suite, 1);
  const header = Buffer.concat([start, messageId, commitment]);
  const aad = Buffer.concat([LABEL, header, binding.canonical()]);
  const payload = encrypt(/** @type {string} */ (cipherOf(suite)), contentKey, ZERO_NONCE, plaintext, aad);
  const lengths = [Buffer.alloc(2), Buffer.alloc(4)];
  lengths[0]?.writeUInt16BE(wrapped.length);
  lengths[1]?.writeUInt32BE(payload.length);
  const parts = [header, /** @type {Buffer} */ (lengths[0]), wrapped, /** @type {Buffer} */ (lengths[1]), payload];
  return V3_MARK + Buffer.concat(parts).toString("base64url");
}

/**
 * Opens direct AES: base64 of nonce, ciphertext and tag under the configured key.
 *
 * @param {Uint8Array} key
 * @param {string} text
 * @returns {Buffer}
 */
export function openDirect(key, text) {
  const sealed = decodeBase64(text);
  if (sealed.length < NONCE_LEN + TAG_LEN) throw new Malformed("a direct AES value is too short");
  return decrypt("aes-256-gcm", key, sealed.subarray(0, NONCE_LEN), sealed.subarray(NONCE_LEN), NOTHING);
}

/** @param {number} suite */
function cipherOf(suite) {
  return [...SUITES].find(([, number]) => number === suite)?.[0];
}

/**
 * @param {Uint8Array} dataKey
 * @param {number} suite
 * @param {Uint8Array} messageId
 */
function derive(dataKey, suite, messageId) {
  const number = Buffer.alloc(2);
  number.writeUInt16BE(suite);
  const expand = (/** @type {Uint8Array} */ info) => Buffer.from(hkdfSync("sha512", dataKey, messageId, info, 32));
  return {
    contentKey: expand(Buffer.concat([number, Buffer.from("DERIVEKEY")])),
    commitment: expand(Buffer.from("COMMITKEY")),
  };
}

/**
 * @param {string} cipher
 * @param {Uint8Array} key
 * @param {Uint8Array} nonce
 * @param {Uint8Array} plaintext
 * @param {Uint8Array} aad
 * @returns {Buffer}
 */
function encrypt(cipher, key, nonce, plaintext, aad) {
  const sealing = createCipheriv(/** @type {"aes-256-gcm"} */ (cipher), key, nonce, { authTagLength: TAG_LEN });
  sealing.setAAD(aad, { plaintextLength: plaintext.length });
  return Buffer.concat([sealing.update(plaintext), sealing.final(), sealing.getAuthTag()]);
}

/**
 * @param {string} cipher
 * @param {Uint8Array} key
 * @param {Uint8Array} nonce
 * @param {Buffer} sealed
 * @param {Uint8Array} aad
 * @returns {Buffer}
 */
function decrypt(cipher, key, nonce, sealed, aad) {
  const at = sealed.length - TAG_LEN;
  const opening = createDecipheriv(/** @type {"aes-256-gcm"} */ (cipher), key, nonce, { authTagLength: TAG_LEN });
  opening.setAuthTag(sealed.subarray(at));
  opening.setAAD(aad, { plaintextLength: at });
  try {
    return Buffer.concat([opening.update(sealed.subarray(0, at)), opening.final()]);
  } catch {
    throw new NotAuthentic();
  }
}
