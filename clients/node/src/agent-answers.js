/** Answers of the agent, as values or errors. */

import { AgentError } from "./errors.js";

/** @type {Map<unknown, number>} */
const STATUS_OF_CLASS = new Map([["malformed", 400], ["policy", 403], ["not_found", 404], ["too_many", 429]]);

/**
 * @param {Buffer} data
 * @returns {Record<string, any> | undefined}
 */
export function parsed(data) {
  try {
    const answer = JSON.parse(data.toString("utf8"));
    return typeof answer === "object" && answer !== null && !Array.isArray(answer) ? answer : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {Record<string, any> | undefined} item
 * @param {string} name
 * @returns {string}
 */
export function textIn(item, name) {
  if (typeof item?.["error"] === "object" && item["error"] !== null) throw errorOf(itemStatus(item["error"]), item, undefined);
  const value = item?.[name];
  if (typeof value !== "string") throw notAnAnswer();
  return value;
}

/**
 * The status of an item's error; agents before this version send no status; it follows from the class.
 *
 * @param {Record<string, unknown>} error
 * @returns {number}
 */
function itemStatus({ status, class: kind }) {
  if (typeof status === "number" && Number.isInteger(status) && status >= 400 && status <= 599) return status;
  return STATUS_OF_CLASS.get(kind) ?? 422;
}

/**
 * An answer that does not say how the text is stored is refused: under a wrong version the value would be lost.
 *
 * @param {Record<string, unknown>} item
 */
function saysHowItIsStored(item) {
  const { error, encryption_version: version, encryption_method: method } = item;
  const failed = typeof error === "object" && error !== null;
  return failed || (Number.isInteger(version) && (method === null || typeof method === "string"));
}

/**
 * An item of a batch with an error, or with its value or text.
 *
 * @param {Record<string, unknown>} item
 * @param {boolean} isSealed
 */
export function isItem(item, isSealed) {
  const failed = typeof item["error"] === "object" && item["error"] !== null;
  return failed || (typeof item[isSealed ? "text" : "value"] === "string" && (!isSealed || saysHowItIsStored(item)));
}

/**
 * A row with its tokens, its plain columns and its revision.
 *
 * @param {Record<string, any>} answer
 */
export function rowIn(answer) {
  const { tokens, plain } = answer;
  const areObjects = [tokens, plain].every((each) => typeof each === "object" && each !== null && !Array.isArray(each));
  if (!areObjects || !Object.values(tokens).every((token) => token === null || typeof token === "string")) throw notAnAnswer();
  return withTexts(answer, "revision");
}

/**
 * An answer with these texts, none of them empty: an empty revision or lease would be no condition.
 *
 * @param {Record<string, any>} answer
 * @param {string[]} names
 */
export function withTexts(answer, ...names) {
  if (!names.every((name) => typeof answer[name] === "string" && answer[name] !== "")) throw notAnAnswer();
  return answer;
}

/**
 * An answer that says yes or no, as far as its route has both.
 *
 * @param {Record<string, any>} answer
 * @param {string} name
 * @param {boolean[]} choices
 */
export function saying(answer, name, ...choices) {
  if (!choices.includes(answer[name])) throw notAnAnswer();
  return answer;
}

/**
 * @param {number} status
 * @param {Record<string, any>} answer
 * @param {string | undefined} retryAfter
 */
export function errorOf(status, answer, retryAfter) {
  const error = answer["error"] ?? {};
  const text = (/** @type {string} */ name) => (typeof error[name] === "string" ? error[name] : undefined);
  const details = {
    hint: text("hint"),
    correlationId: text("correlation_id"),
    retryAfter: retryAfter !== undefined && /^[0-9]{1,6}$/.test(retryAfter) ? Number(retryAfter) : undefined,
    needsConsent: answer["needs_consent"] === true || error["needs_consent"] === true,
  };
  const expires = typeof answer["expires"] === "string" ? answer["expires"] : undefined;
  const message = text("message") ?? `the agent answered with status ${status}`;
  return new AgentError(status, text("class") ?? "unexpected", message, { ...details, expires });
}

export function unreachable() {
  return new AgentError(0, "unavailable", "the agent cannot be reached");
}

export function notAnAnswer() {
  return new AgentError(0, "unexpected", "the answer is not one of the agent");
}
