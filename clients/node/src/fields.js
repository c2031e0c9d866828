/** Reading the fields of a parsed profile: each has a kind, and none is overlooked. */

import { ConfigurationError } from "./errors.js";

/** The fields of one object, taken out one by one. */
export class Fields {
  #rest;
  #what;

  /**
   * @param {unknown} parsed
   * @param {string} what
   */
  constructor(parsed, what) {
    const rest = entries(parsed);
    if (rest === undefined) throw new ConfigurationError(`${what} is not a table of fields`);
    // JSON has null for a field that is not given.
    this.#rest = new Map([...rest].filter(([, value]) => value !== null && value !== undefined));
    this.#what = what;
  }

  /**
   * @param {string} name
   * @returns {unknown}
   */
  optional(name) {
    const value = this.#rest.get(name);
    this.#rest.delete(name);
    return value ?? undefined;
  }

  /** @param {string} name */
  has(name) {
    return (this.#rest.get(name) ?? undefined) !== undefined;
  }

  /**
   * @param {string} name
   * @returns {string}
   */
  text(name) {
    const value = this.optional(name);
    if (typeof value !== "string" || value === "") throw this.#wrong(name, "text");
    return value;
  }

  /**
   * @param {string} name
   * @returns {string | undefined}
   */
  optionalText(name) {
    return this.has(name) ? this.text(name) : undefined;
  }

  /**
   * One of some words; the first, if the field is missing.
   *
   * @param {string} name
   * @param {readonly [string, ...string[]]} choices
   * @returns {string}
   */
  choice(name, choices) {
    const value = this.optionalText(name);
    if (value !== undefined && !choices.includes(value)) throw this.#wrong(name, `one of ${choices.join(", ")}`);
    return value ?? choices[0];
  }

  /**
   * @param {string} name
   * @returns {unknown[]}
   */
  items(name) {
    const value = this.optional(name);
    if (!Array.isArray(value)) throw this.#wrong(name, "a list");
    return value;
  }

  /**
   * @param {string} name
   * @returns {unknown[]}
   */
  optionalItems(name) {
    return this.has(name) ? this.items(name) : [];
  }

  /**
   * @param {string} name
   * @returns {string[]}
   */
  texts(name) {
    return this.items(name).map((value) => {
      if (typeof value !== "string" || value === "") throw this.#wrong(name, "a list of names");
      return value;
    });
  }

  /**
   * @param {string} name
   * @returns {string[]}
   */
  optionalTexts(name) {
    return this.has(name) ? this.texts(name) : [];
  }

  /**
   * @param {string} name
   * @returns {Map<string, string>}
   */
  textsByName(name) {
    const found = entries(this.optional(name));
    if (found === undefined) throw this.#wrong(name, "a table of texts");
    const texts = new Map();
    for (const [key, text] of found) {
      if (typeof text !== "string" || key === "") throw this.#wrong(name, "a table of texts");
      texts.set(key, text);
    }
    return texts;
  }

  /**
   * @param {string} name
   * @returns {Map<string, string>}
   */
  optionalTextsByName(name) {
    return this.has(name) ? this.textsByName(name) : new Map();
  }

  /** Refuses the remaining fields. */
  finish() {
    for (const name of this.#rest.keys()) {
      throw new ConfigurationError(`${this.#what} has a field ${JSON.stringify(name)} that this version does not know`);
    }
  }

  /**
   * @param {string} name
   * @param {string} expected
   */
  #wrong(name, expected) {
    return new ConfigurationError(`field ${JSON.stringify(name)} of ${this.#what} must be ${expected}`);
  }
}

/**
 * @param {unknown} parsed
 * @returns {Map<string, unknown> | undefined}
 */
function entries(parsed) {
  if (parsed instanceof Map) return new Map(parsed);
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return undefined;
  return new Map(Object.entries(parsed));
}
