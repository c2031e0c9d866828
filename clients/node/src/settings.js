/** Settings: every variable that this client reads, with the names and meanings that the programs give them. */

import { readFileSync, statSync } from "node:fs";

import { parseDuration } from "./duration.js";
import { decodeBase64, trimmed } from "./encoding.js";
import { ConfigurationError } from "./errors.js";
import { FLOORS, Profile } from "./profile.js";

/** @typedef {readonly [string, ...string[]]} Choices */

/** @type {Choices} */
export const ENVELOPE_FORMATS = ["v2", "v3"];
/** @type {Choices} */
export const BINDINGS = ["accept-unbound", "require", "off"];
/** @type {Choices} */
export const PLAINTEXT_POLICIES = ["allow", "allow-read", "forbid"];

const MAX_FILE_LEN = 65_536;
const MAX_TTL = 86_400_000;

/**
 * A variable, or the content of the file that `<name>_FILE` names; an empty one counts as not set.
 *
 * @param {string} name
 * @returns {string | undefined}
 */
export function variable(name) {
  const value = trimmed(process.env[name] ?? "");
  const path = trimmed(process.env[`${name}_FILE`] ?? "");
  if (value !== "" && path !== "") {
    throw new ConfigurationError(`${name} and ${name}_FILE are both set: unset one of them`);
  }
  return (path === "" ? value : fileContent(name, path)) || undefined;
}

/**
 * @param {string} name
 * @param {string} path
 * @returns {string}
 */
function fileContent(name, path) {
  let text;
  try {
    const status = statSync(path);
    if (status.isFile() && status.size <= MAX_FILE_LEN) {
      text = new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
    }
  } catch {
    // Reported below; the system has no more to say.
  }
  if (text === undefined) {
    throw new ConfigurationError(`${name}_FILE does not name a readable text file of at most ${MAX_FILE_LEN} bytes`);
  }
  text = text.replace(/\r?\n$/, "");
  if (trimmed(text) === "") throw new ConfigurationError(`${name}_FILE names a file that is empty`);
  return text;
}

/**
 * The caller's value, or the variable, or the first choice.
 *
 * @param {string | undefined} given
 * @param {string} name
 * @param {Choices} choices
 * @returns {string}
 */
export function choice(given, name, choices) {
  const value = given ?? variable(name) ?? choices[0];
  if (!choices.includes(value)) throw new ConfigurationError(`${name} must be one of ${choices.join(", ")}`);
  return value;
}

/** @param {string | undefined} given */
export function keyId(given) {
  const value = given || variable("KMS_KEY_ID") || variable("TOKEN_ENCRYPTION_KEY_ID");
  if (!value) throw new ConfigurationError("no key is configured: pass keyId, or set KMS_KEY_ID");
  return value;
}

/**
 * @param {Iterable<string> | undefined} given
 * @returns {string[]}
 */
export function allowedKeys(given) {
  if (typeof given === "string") throw new ConfigurationError("allowedKeys must be a list of keys, not one text");
  const keys = given === undefined ? (variable("KMS_ALLOWED_KEYS") ?? "").split(",") : [...given];
  return keys.map((key) => key.trim()).filter((key) => key !== "");
}

/**
 * @param {Profile | string | undefined} given
 * @returns {Profile}
 */
export function profile(given) {
  const loaded = given instanceof Profile ? given : Profile.load(given ?? variable("TOKEN_PROFILE") ?? "vod-tender");
  const pairs = variable("ENCRYPTION_CONTEXT");
  // It replaces the profile's pairs, as it does for the programs.
  return pairs === undefined || loaded.contextIsGiven ? loaded : loaded.withContext(contextPairs(pairs));
}

/**
 * @param {string | undefined} given
 * @param {string} ofProfile
 */
export function floor(given, ofProfile) {
  const value = given ?? variable("READ_FLOOR");
  return value === undefined ? ofProfile : choice(value, "READ_FLOOR", FLOORS);
}

/**
 * @param {string | undefined} given
 * @returns {Buffer | undefined}
 */
export function directKey(given) {
  const text = given ?? variable("ENCRYPTION_KEY");
  if (text === undefined) return undefined;
  let key;
  try {
    key = decodeBase64(text.trim());
  } catch {
    throw new ConfigurationError("ENCRYPTION_KEY is not standard base64 with padding");
  }
  if (key.length !== 32) {
    throw new ConfigurationError(`ENCRYPTION_KEY is ${key.length} bytes long; expected base64 of exactly 32 bytes`);
  }
  return key;
}

/**
 * @param {number | undefined} given Milliseconds.
 * @param {string} name
 * @param {number} standard
 * @returns {number}
 */
export function milliseconds(given, name, standard) {
  if (given !== undefined) {
    if (!(given >= 0 && given <= MAX_TTL)) throw new ConfigurationError(`${name} must be between 0 and ${MAX_TTL} ms`);
    return given;
  }
  const text = variable(name);
  if (text === undefined) return standard;
  const parsed = parseDuration(text);
  if (parsed === undefined) throw new ConfigurationError(`${name} must be a duration such as 30s, 5m or 1h 30m`);
  return parsed;
}

/**
 * @param {number | undefined} given
 * @param {string} name
 * @param {number} standard
 * @returns {number}
 */
export function count(given, name, standard) {
  const text = given === undefined ? variable(name) : String(given);
  if (text === undefined) return standard;
  // As the programs read it: 64 bits, and a sign that changes nothing.
  if (!/^\+?[0-9]{1,30}$/.test(text) || BigInt(text.replace("+", "")) >= 2n ** 64n) {
    throw new ConfigurationError(`${name} must be a whole number`);
  }
  return Number(text);
}

/** @param {string} text */
function contextPairs(text) {
  const pairs = new Map();
  for (const pair of text.split(",").map((part) => part.trim()).filter((part) => part !== "")) {
    const at = pair.indexOf("=");
    const [name, value] = [pair.slice(0, Math.max(at, 0)).trim(), pair.slice(at + 1).trim()];
    if (name === "" || value === "") throw new ConfigurationError("ENCRYPTION_CONTEXT must be name=value,name=value");
    if (pairs.has(name)) throw new ConfigurationError(`ENCRYPTION_CONTEXT: ${JSON.stringify(name)} is given twice`);
    pairs.set(name, value);
  }
  return pairs;
}
