/** Names of AWS KMS keys: which are allowed, and whether two name the same key. */

import { ConfigurationError, Unsupported } from "./errors.js";

const ARN = /^arn:([a-z-]+):kms:([a-z0-9-]+):([0-9]{12}):((?:key|alias)\/.+)$/;
const ALIAS = /^alias\/[A-Za-z0-9/_-]+$/;
const ID = /^[A-Za-z0-9-]{1,128}$/;

/**
 * @param {string} text
 * @returns {{partition: string, region: string, account: string, resource: string} | undefined}
 */
export function parseArn(text) {
  const [, partition = "", region = "", account = "", resource = ""] = ARN.exec(text) ?? [];
  return resource === "" ? undefined : { partition, region, account, resource };
}

/**
 * A configured key: an alias, an ARN of a key or alias, or a bare key id.
 *
 * @param {string} key
 * @returns {string}
 */
export function checkConfigured(key) {
  const name = parseArn(key)?.resource.replace(/^key\//, "") ?? key;
  if (ALIAS.test(name) || ID.test(name)) return key;
  if (/^(keyring|vault):/.test(key)) {
    throw new Unsupported("this client works with AWS KMS: keyrings and Vault are reached through the agent");
  }
  if (key.includes(",")) throw new Unsupported("this client takes one key: several Regions are reached through the agent");
  // Not repeated: it may be a secret that was put into the wrong variable.
  throw new ConfigurationError("a key must be alias/<name>, the ARN of a KMS key or alias, or a key id");
}

/**
 * `alias/…` out of an alias's name or ARN.
 *
 * @param {string} text
 * @returns {string | undefined}
 */
export function aliasName(text) {
  const name = parseArn(text)?.resource ?? text;
  return name.startsWith("alias/") ? name : undefined;
}

/**
 * The id out of a key's ARN, or a text that can be an id.
 *
 * @param {string} text
 * @returns {string | undefined}
 */
export function keyIdOf(text) {
  const arn = parseArn(text);
  const id = arn === undefined ? text : arn.resource.startsWith("key/") ? arn.resource.slice(4) : "";
  return ID.test(id) ? id : undefined;
}

/**
 * @param {string} own
 * @param {string} claim
 */
export function sameAlias(own, claim) {
  if (aliasName(own) === undefined) return false;
  if (own.startsWith("arn:") && claim.startsWith("arn:")) return own === claim;
  return aliasName(own) === aliasName(claim);
}

/**
 * Whether two key ARNs, two ids, or one of each name the same key; replicas of a multi-Region key do.
 *
 * @param {string} own
 * @param {string} claim
 */
export function sameKey(own, claim) {
  if (own.startsWith("arn:") && claim.startsWith("arn:")) return own === claim || areReplicas(own, claim);
  return keyIdOf(own) !== undefined && keyIdOf(own) === keyIdOf(claim);
}

/**
 * @param {string} one
 * @param {string} other
 */
function areReplicas(one, other) {
  const [mine, theirs] = [parseArn(one), parseArn(other)];
  if (mine === undefined || theirs === undefined || !mine.resource.startsWith("key/mrk-")) return false;
  return mine.partition === theirs.partition && mine.account === theirs.account && mine.resource === theirs.resource;
}
