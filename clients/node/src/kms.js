/** AWS KMS through the client that the caller hands in: every call names the key that must be used. */

import { createRequire } from "node:module";
import { join } from "node:path";

import { MAX_WRAPPED_LEN } from "./envelopes.js";
import { ConfigurationError, KeyServiceError, Refused } from "./errors.js";
import { aliasName, checkConfigured, keyIdOf, parseArn, sameAlias, sameKey } from "./key-names.js";

/** @typedef {import("./binding.js").Context} Context */
/** @typedef {(input: Record<string, unknown>) => Promise<Record<string, any>>} Call */
/** @typedef {{generateDataKey: Call, decrypt: Call, describeKey: Call}} Calls */

/**
 * How long an alias is taken to name the same key, and how old an answer must be before a claim that fits nothing has
 * the alias resolved again, in milliseconds ("Controlling access to aliases", AWS KMS Developer Guide: up to five
 * minutes).
 */
const ALIAS_TTL = 300_000;
const MIN_AGE = 10_000;

/** Error codes of the AWS KMS API reference, and those that the SDKs retry as throttling. */
const CODES = {
  denied: [
    "AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired", "UnrecognizedClientException",
    "InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException", "InvalidSignatureException",
    "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken",
    "MissingAuthenticationTokenException", "RequestExpired",
  ],
  not_found: ["NotFoundException"],
  disabled: ["DisabledException"],
  pending_deletion: ["KMSInvalidStateException"],
  wrong_key: ["IncorrectKeyException"],
  throttled: [
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
    "TooManyRequestsException", "LimitExceededException", "RequestLimitExceeded", "SlowDown",
  ],
  timeout: ["DependencyTimeoutException", "RequestTimeout", "RequestTimeoutException"],
  unavailable: [
    "KMSInternalException", "KeyUnavailableException", "InternalFailure", "InternalError", "ServiceUnavailable",
    "ServiceUnavailableException",
  ],
};
/** @type {Map<string, string>} */
const KINDS = new Map(Object.entries(CODES).flatMap(([kind, codes]) => codes.map((code) => [code, kind])));
const ABOUT_THE_KEY = ["wrong_key", "denied", "not_found", "disabled", "pending_deletion"];
const COMMANDS = { generateDataKey: "GenerateDataKeyCommand", decrypt: "DecryptCommand", describeKey: "DescribeKeyCommand" };

/** A KMS client, the key that wraps and the keys that may have wrapped. */
export class Kms {
  /** @type {Map<string, {at: number, arn: string}>} */
  #aliases = new Map();
  #keys;
  #calls;

  /**
   * @param {unknown} client
   * @param {string} key
   * @param {string[]} allowed
   */
  constructor(client, key, allowed) {
    this.#keys = [...new Set([key, ...allowed].map(checkConfigured))];
    this.#calls = callsOf(client);
  }

  /**
   * @param {Context} context
   * @returns {Promise<{plaintext: Uint8Array, wrapped: Uint8Array, keyId: string}>}
   */
  async generate(context) {
    const key = /** @type {string} */ (this.#keys[0]);
    const input = { KeyId: key, KeySpec: "AES_256", ...encryptionContext(context) };
    const answer = await call("GenerateDataKey", this.#calls.generateDataKey, input);
    const { Plaintext: plaintext, CiphertextBlob: wrapped, KeyId: keyId } = answer ?? {};
    if (!(plaintext instanceof Uint8Array) || !(wrapped instanceof Uint8Array) || typeof keyId !== "string") {
      throw notAnAnswer("GenerateDataKey");
    }
    if (plaintext.length !== 32 || plaintext.every((byte) => byte === 0)) throw notAnAnswer("GenerateDataKey");
    if (wrapped.length < 1 || wrapped.length > MAX_WRAPPED_LEN) throw notAnAnswer("GenerateDataKey");
    this.#checkAnswer(key, keyId);
    return { plaintext, wrapped, keyId };
  }

  /**
   * The keys to try for a wrapped data key that claims one: each is named in the call, so KMS refuses others.
   *
   * @param {string | null | undefined} claim
   * @returns {Promise<string[]>}
   */
  async pins(claim) {
    if (!claim) return this.#keys;
    if (aliasName(claim) !== undefined) {
      const mine = this.#keys.find((key) => sameAlias(key, claim));
      if (mine === undefined) throw foreign();
      return [mine, ...this.#keys.filter((key) => key !== mine)];
    }
    if (keyIdOf(claim) === undefined) throw foreign();
    const own = this.#keys.find((key) => aliasName(key) === undefined && sameKey(key, claim));
    if (own !== undefined) return [own];
    for (const oldest of [ALIAS_TTL, MIN_AGE]) {
      for (const alias of this.#keys.filter((key) => aliasName(key) !== undefined)) {
        const arn = await this.#resolved(alias, oldest);
        if (sameKey(arn, claim)) return [arn];
      }
    }
    throw foreign();
  }

  /**
   * The data key; none where the context is another one or the bytes are damaged.
   *
   * @param {Uint8Array} wrapped
   * @param {string[]} pins
   * @param {Context} context
   * @returns {Promise<Uint8Array | undefined>}
   */
  async unwrap(wrapped, pins, context) {
    /** @type {KeyServiceError | undefined} */
    let failure;
    for (const pin of pins) {
      try {
        const input = { KeyId: pin, CiphertextBlob: wrapped, ...encryptionContext(context) };
        const answer = await call("Decrypt", this.#calls.decrypt, input);
        if (answer === undefined) return undefined;
        const { Plaintext: plaintext, KeyId: keyId } = answer;
        if (!(plaintext instanceof Uint8Array) || typeof keyId !== "string") throw notAnAnswer("Decrypt");
        this.#checkAnswer(pin, keyId);
        return plaintext.length === 32 ? plaintext : undefined;
      } catch (error) {
        if (!(error instanceof KeyServiceError) || !ABOUT_THE_KEY.includes(error.kind)) throw error;
        if (failure === undefined || failure.kind === "wrong_key") failure = error;
      }
    }
    throw failure ?? new KeyServiceError("misconfigured", "no AWS KMS key is configured");
  }

  /**
   * The key of an answer is the one that was asked for; otherwise something else may be answering.
   *
   * @param {string} asked
   * @param {string} answered
   */
  #checkAnswer(asked, answered) {
    const arn = parseArn(answered);
    if (arn === undefined || !arn.resource.startsWith("key/")) throw notAnAnswer("the call");
    const own = parseArn(asked);
    const isOther =
      aliasName(asked) === undefined
        ? !sameKey(asked, answered)
        : own !== undefined &&
          (own.partition !== arn.partition || own.region !== arn.region || own.account !== arn.account);
    if (isOther) throw new KeyServiceError("wrong_key", "AWS KMS answered for another key than the one asked for");
    if (aliasName(asked) !== undefined) this.#aliases.set(asked, { at: performance.now(), arn: answered });
  }

  /**
   * @param {string} alias
   * @param {number} oldest
   * @returns {Promise<string>}
   */
  async #resolved(alias, oldest) {
    const known = this.#aliases.get(alias);
    if (known !== undefined && performance.now() - known.at < oldest) return known.arn;
    let answer;
    try {
      answer = await call("DescribeKey", this.#calls.describeKey, { KeyId: alias });
    } catch (error) {
      // An alias rarely moves: while KMS is out of reach, the last answer is better than none.
      if (known !== undefined && error instanceof KeyServiceError && error.isRetryable) return known.arn;
      throw error;
    }
    const arn = answer?.["KeyMetadata"]?.Arn;
    if (typeof arn !== "string" || parseArn(arn) === undefined) throw notAnAnswer("DescribeKey");
    this.#aliases.set(alias, { at: performance.now(), arn });
    return arn;
  }
}

/**
 * The three calls of an AWS SDK client: of `KMS` as methods, of `KMSClient` through the SDK's command classes.
 *
 * @param {any} client
 * @returns {Calls}
 */
function callsOf(client) {
  const has = (/** @type {string} */ name) => typeof client?.[name] === "function";
  if (has("generateDataKey") && has("decrypt") && has("describeKey")) {
    return {
      generateDataKey: (input) => client.generateDataKey(input),
      decrypt: (input) => client.decrypt(input),
      describeKey: (input) => client.describeKey(input),
    };
  }
  if (!has("send")) throw new ConfigurationError("kms must be a client of @aws-sdk/client-kms: new KMS({ … })");
  /** @type {Promise<any> | undefined} */
  let sdk;
  const send = (/** @type {keyof Calls} */ name) => async (/** @type {Record<string, unknown>} */ input) => {
    sdk ??= loadSdk();
    const Command = (await sdk)[COMMANDS[name]];
    return client.send(new Command(input));
  };
  return { generateDataKey: send("generateDataKey"), decrypt: send("decrypt"), describeKey: send("describeKey") };
}

/** The caller's SDK: next to this package, or where the program runs. */
async function loadSdk() {
  const name = "@aws-sdk/client-kms";
  try {
    return await import(name);
  } catch {
    try {
      return createRequire(join(process.cwd(), "package.json"))(name);
    } catch {
      throw new ConfigurationError(`${name} cannot be loaded: install it, or pass new KMS({ … }) instead of a KMSClient`);
    }
  }
}

/**
 * The answer; none where KMS does not open the data key.
 *
 * @param {string} operation
 * @param {Call} send
 * @param {Record<string, unknown>} input
 * @returns {Promise<Record<string, any> | undefined>}
 */
async function call(operation, send, input) {
  try {
    return (await send(input)) ?? {};
  } catch (error) {
    if (error instanceof ConfigurationError) throw error;
    const code = codeOf(error);
    if (code === "InvalidCiphertextException") return undefined;
    const kind = kindOf(error, code);
    // The SDK's own words are left out: they may hold the raw answer, and the answer a plaintext key.
    throw new KeyServiceError(kind, `AWS KMS: ${operation} failed: ${kind}${code === "" ? "" : ` (${code})`}`);
  }
}

/** @param {any} error */
function codeOf(error) {
  const isAnswer = error?.$metadata?.httpStatusCode !== undefined || error?.$fault !== undefined;
  return isAnswer && typeof error.name === "string" && /^[A-Za-z]{1,64}$/.test(error.name) ? error.name : "";
}

/**
 * @param {any} error
 * @param {string} code
 * @returns {string}
 */
function kindOf(error, code) {
  const known = KINDS.get(code);
  if (known !== undefined) return known;
  const status = error?.$metadata?.httpStatusCode;
  if (status === 429) return "throttled";
  if (status === 408 || status === 504) return "timeout";
  if (status >= 500) return "unavailable";
  if (status === 401 || status === 403) return "denied";
  if (typeof status === "number") return code === "" || code === "Error" || code === "SyntaxError" ? "unavailable" : "invalid_request";
  const name = typeof error?.name === "string" ? error.name : "";
  if (name === "TimeoutError" || error?.code === "ETIMEDOUT") return "timeout";
  const isMisconfigured = name === "CredentialsProviderError" || /^Region is missing/.test(String(error?.message));
  return isMisconfigured ? "misconfigured" : "unavailable";
}

/** @param {Context} context */
function encryptionContext(context) {
  return Object.keys(context).length === 0 ? {} : { EncryptionContext: context };
}

function foreign() {
  return new Refused(
    "the value was wrapped under a key that is not allowed; add the key to allowedKeys (KMS_ALLOWED_KEYS) if it is " +
      "yours, for example after an alias was pointed at another key",
  );
}

/** @param {string} operation */
function notAnAnswer(operation) {
  return new KeyServiceError("unavailable", `the answer to ${operation} is not one of AWS KMS`);
}
