/**
 * The part of TOML 1.1 that profiles are written in: everything but floats, dates and numbers in other bases. As for the
 * programs, a line break in a text stays as it is in the file.
 */

import { ConfigurationError } from "./errors.js";

/** @typedef {string | boolean | number | TomlTable | TomlValue[]} TomlValue */
/** @typedef {Map<string, any>} TomlTable */

const BARE_KEY = /^[A-Za-z0-9_-]+/;
const INTEGER = /^[+-]?(0|[1-9](?:_?[0-9])*)(?![0-9A-Za-z_.:+-])/;
/** Control characters that no comment and no text has. */
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;
/** @type {Record<string, string>} */
const ESCAPES = { b: "\b", t: "\t", n: "\n", f: "\f", r: "\r", e: "\x1b", '"': '"', "\\": "\\" };
/** @type {Record<string, number>} How many digits of a character's number follow. */
const NUMBERED = { x: 2, u: 4, U: 8 };

/**
 * Parses a document into nested maps.
 *
 * @param {string} text
 * @returns {TomlTable}
 */
export function parseToml(text) {
  return new Parser(text.replace(/^\ufeff/, "")).document();
}

class Parser {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
    /** Tables that a header or an inline table has closed to further definition. @type {Set<TomlTable>} */
    this.closed = new Set();
    /** Arrays that were written as values, to which no header may add. @type {Set<unknown>} */
    this.values = new Set();
  }

  /** @returns {TomlTable} */
  document() {
    const root = new Map();
    let table = root;
    for (this.blank(); this.at < this.text.length; this.blank()) {
      if (this.peek("[")) {
        table = this.header(root);
      } else {
        this.pair(table);
      }
      this.endOfLine();
    }
    return root;
  }

  /**
   * @param {TomlTable} root
   * @returns {TomlTable}
   */
  header(root) {
    const isArray = this.peek("[[");
    this.expect(isArray ? "[[" : "[");
    const path = this.key();
    this.expect(isArray ? "]]" : "]");
    const last = /** @type {string} */ (path.pop());
    const parent = this.descend(root, path, true);
    const table = new Map();
    const present = parent.get(last);
    if (isArray) {
      if (present === undefined) parent.set(last, [table]);
      else if (Array.isArray(present) && !this.values.has(present)) present.push(table);
      else throw this.error("a name is defined twice");
      return table;
    }
    if (present === undefined) {
      parent.set(last, table);
      this.closed.add(table);
      return table;
    }
    if (!(present instanceof Map) || this.closed.has(present) || this.values.has(present)) throw this.error("a table is defined twice");
    this.closed.add(present);
    return present;
  }

  /** @param {TomlTable} table */
  pair(table) {
    const path = this.key();
    this.expect("=");
    const last = /** @type {string} */ (path.pop());
    const parent = this.descend(table, path, false);
    if (parent.has(last)) throw this.error("a name is defined twice");
    parent.set(last, this.value());
  }

  /**
   * @param {TomlTable} table
   * @param {string[]} path
   * @param {boolean} throughArrays
   * @returns {TomlTable}
   */
  descend(table, path, throughArrays) {
    for (const name of path) {
      let next = table.get(name);
      if (next === undefined) table.set(name, (next = new Map()));
      else if (throughArrays && Array.isArray(next) && !this.values.has(next)) next = next.at(-1);
      else if (!throughArrays && this.closed.has(next)) throw this.error("a table is defined twice");
      if (!(next instanceof Map) || this.values.has(next)) throw this.error("a name is defined twice");
      table = next;
    }
    return table;
  }

  /** @returns {string[]} */
  key() {
    const path = [];
    do {
      this.space();
      const bare = BARE_KEY.exec(this.text.slice(this.at))?.[0];
      if (bare !== undefined) {
        this.at += bare.length;
        path.push(bare);
      } else if (this.peek('"') && !this.peek('"""')) {
        path.push(this.basic());
      } else if (this.peek("'") && !this.peek("'''")) {
        path.push(this.literal());
      } else {
        throw this.error("expected a name");
      }
      this.space();
    } while (this.take("."));
    return path;
  }

  /** @returns {TomlValue} */
  value() {
    this.space();
    if (this.peek('"""')) return this.multiline('"""');
    if (this.peek("'''")) return this.multiline("'''");
    if (this.peek('"')) return this.basic();
    if (this.peek("'")) return this.literal();
    if (this.peek("[")) return this.array();
    if (this.peek("{")) return this.inlineTable();
    const word = /^(true|false)(?![A-Za-z0-9_-])/.exec(this.text.slice(this.at, this.at + 6))?.[1];
    if (word !== undefined) {
      this.at += word.length;
      return word === "true";
    }
    const integer = INTEGER.exec(this.text.slice(this.at, this.at + 40))?.[0];
    if (integer === undefined) throw this.error("expected a text, a list, a table, true, false or a whole number");
    this.at += integer.length;
    return Number(integer.replaceAll("_", ""));
  }

  /** @returns {TomlValue[]} */
  array() {
    this.expect("[");
    /** @type {TomlValue[]} */
    const values = [];
    this.values.add(values);
    for (this.blank(); !this.take("]"); this.blank()) {
      values.push(this.value());
      this.blank();
      if (!this.take(",") && !this.peek("]")) throw this.error("expected , or ]");
    }
    return values;
  }

  /** @returns {TomlTable} */
  inlineTable() {
    this.expect("{");
    const table = new Map();
    for (this.blank(); !this.take("}"); this.blank()) {
      this.pair(table);
      this.blank();
      if (!this.take(",") && !this.peek("}")) throw this.error("expected , or }");
    }
    this.values.add(table);
    return table;
  }

  /** @returns {string} */
  literal() {
    const end = this.text.indexOf("'", this.at + 1);
    const text = this.text.slice(this.at + 1, end);
    if (end < 0 || CONTROL.test(text)) throw this.error("a text has no end");
    this.at = end + 1;
    return text;
  }

  /** @returns {string} */
  basic() {
    this.at += 1;
    let text = "";
    for (;;) {
      const character = this.text[this.at];
      if (character === undefined || CONTROL.test(character)) throw this.error("a text has no end");
      this.at += 1;
      if (character === '"') return text;
      text += character === "\\" ? this.escape() : character;
    }
  }

  /** @returns {string} */
  escape() {
    const character = this.text[this.at++] ?? "";
    const simple = ESCAPES[character];
    if (simple !== undefined) return simple;
    const length = NUMBERED[character] ?? 0;
    const digits = this.text.slice(this.at, this.at + length);
    const code = /^[0-9A-Fa-f]+$/.test(digits) && digits.length === length ? parseInt(digits, 16) : -1;
    if (length === 0 || code < 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
      throw this.error("a text has an unknown escape");
    }
    this.at += length;
    return String.fromCodePoint(code);
  }

  /**
   * @param {string} quotes
   * @returns {string}
   */
  multiline(quotes) {
    this.at += 3;
    this.lineBreak();
    let text = "";
    for (;;) {
      if (this.peek(quotes)) {
        this.at += 3;
        // Up to two more quotes belong to the text.
        for (let more = 0; more < 2 && this.take(quotes.slice(0, 1)); more += 1) text += quotes.slice(0, 1);
        return text;
      }
      const ended = this.lineBreak();
      if (ended !== "") {
        text += ended;
        continue;
      }
      const character = this.text[this.at];
      if (character === undefined || CONTROL.test(character)) throw this.error("a text has no end");
      this.at += 1;
      if (character === "\\" && quotes === '"""') {
        const folded = /^[ \t]*\r?\n(?:[ \t]|\r?\n)*/.exec(this.text.slice(this.at))?.[0];
        if (folded === undefined) text += this.escape();
        else this.at += folded.length;
      } else {
        text += character;
      }
    }
  }

  /** Passes over white space, line breaks and comments. */
  blank() {
    for (;;) {
      this.space();
      if (this.peek("#")) this.comment();
      else if (this.lineBreak() === "") return;
    }
  }

  comment() {
    const comment = /^[^\n]*?(?=\r?\n|$(?![\s\S]))/.exec(this.text.slice(this.at))?.[0] ?? "";
    if (CONTROL.test(comment)) throw this.error("a comment has a control character");
    this.at += comment.length;
  }

  /** Passes over a line break, and returns it. */
  lineBreak() {
    for (const ended of ["\n", "\r\n"]) if (this.take(ended)) return ended;
    return "";
  }

  endOfLine() {
    this.space();
    if (this.peek("#")) this.comment();
    if (this.at < this.text.length && this.lineBreak() === "") throw this.error("expected the end of the line");
  }

  space() {
    while (this.text[this.at] === " " || this.text[this.at] === "\t") this.at += 1;
  }

  /** @param {string} token */
  peek(token) {
    return this.text.startsWith(token, this.at);
  }

  /** @param {string} token */
  take(token) {
    const found = this.peek(token);
    if (found) this.at += token.length;
    return found;
  }

  /** @param {string} token */
  expect(token) {
    this.space();
    if (!this.take(token)) throw this.error(`expected ${token}`);
  }

  /**
   * Names the line, and never its text: another file may have been named, such as one of secrets.
   *
   * @param {string} what
   */
  error(what) {
    const line = this.text.slice(0, this.at).split("\n").length;
    return new ConfigurationError(`profile is not valid TOML: line ${line}: ${what}`);
  }
}
