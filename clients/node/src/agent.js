/** A client of `tokenseal-agent`: HTTP and JSON over the agent's Unix socket, or over loopback with a token. */

import { Agent, request } from "node:http";

import { errorOf, isItem, notAnAnswer, parsed, rowIn, saying, textIn, unreachable, withTexts } from "./agent-answers.js";
import { itemOf, keys, opaqueOf, payloadOf, plainValues, textOf, tokenValues } from "./agent-values.js";
import { AgentError, ConfigurationError, Malformed, Refused } from "./errors.js";

export const DEFAULT_SOCKET = "/run/tokenseal/agent.sock";

const MAX_ANSWER = 64 << 20;
/** Milliseconds that a connection is kept idle: less than the agent keeps it, so that no write meets a closed one. */
const MAX_IDLE = 10_000;
/** Milliseconds that `fresh` may take at least: the agent waits up to 60 s for another caller's refresh. */
const REFRESH_WITHIN = 75_000;
const MAX_TIMEOUT = 86_400_000;

/** Connections to the agent, kept open between calls. */
export class AgentClient {
  /** @type {Record<string, string>} */
  #headers = { "X-Tokenseal": "1", "Content-Type": "application/json" };
  #target;
  #timeout;
  #agent = connections();
  #isClosed = false;
  /** @type {Map<Agent, number>} How many calls use the connections. */
  #running = new Map();

  /**
   * @param {string} socket A path, `unix:/path`, or `127.0.0.1:PORT`, which needs a token.
   * @param {{token?: string, timeout?: number}} options `timeout` in milliseconds.
   */
  constructor(socket = DEFAULT_SOCKET, { token, timeout = 30_000 } = {}) {
    this.#target = targetOf(socket, token);
    if (typeof timeout !== "number" || !(timeout > 0 && timeout <= MAX_TIMEOUT)) {
      throw new ConfigurationError(`timeout must be above 0 and at most ${MAX_TIMEOUT} milliseconds`);
    }
    this.#timeout = timeout;
    if (token !== undefined) {
      if (typeof token !== "string" || !/^[!-~]{1,4096}$/.test(token)) {
        throw new ConfigurationError("the agent's token has characters that no header can carry");
      }
      this.#headers["Authorization"] = `Bearer ${token}`;
    }
  }

  /**
   * Reads a row: `tokens`, `plain`, the version columns and `revision`.
   *
   * @param {Record<string, unknown>} row
   * @param {{table?: string, columns?: string[]}} options
   */
  async get(row, { table, columns } = {}) {
    return rowIn(await this.#call("/v1/tokens/get", { row: keys("row", row), table, columns }));
  }

  /**
   * Writes tokens into a row; with `ifRevision` only while the row is unchanged (status 409 otherwise).
   *
   * @param {Record<string, unknown>} row
   * @param {Record<string, string | null>} tokens
   * @param {{table?: string, plain?: Record<string, unknown>, ifRevision?: string, lease?: string}} options
   */
  async put(row, tokens, { table, plain, ifRevision, lease } = {}) {
    const written = { row: keys("row", row), tokens: tokenValues(tokens) };
    const conditions = { if_revision: opaqueOf(ifRevision, "ifRevision"), lease: opaqueOf(lease, "lease") };
    const body = { ...written, table, plain: plain === undefined ? undefined : plainValues(plain), ...conditions };
    return withTexts(await this.#call("/v1/tokens/put", body, false), "written", "revision");
  }

  /**
   * Deletes a row.
   *
   * @param {Record<string, unknown>} row
   * @param {{table?: string, ifRevision?: string}} options
   */
  async delete(row, { table, ifRevision } = {}) {
    const body = { row: keys("row", row), table, if_revision: opaqueOf(ifRevision, "ifRevision") };
    return saying(await this.#call("/v1/tokens/delete", body, false), "deleted", true);
  }

  /**
   * Reads a row whose access token is valid for so many seconds; the agent refreshes it where it must.
   *
   * @param {Record<string, unknown>} row
   * @param {{validFor: number, table?: string}} options
   */
  async fresh(row, { validFor, table }) {
    const body = { row: keys("row", row), table, valid_for: validFor };
    return rowIn(await this.#call("/v1/tokens/fresh", body, false, REFRESH_WITHIN));
  }

  /**
   * Finds the rows whose token has this value, by the blind index over its column; returns their keys.
   *
   * @param {string} column
   * @param {string} value
   * @param {{table?: string}} options
   * @returns {Promise<Record<string, string>[]>}
   */
  async find(column, value, { table } = {}) {
    const sought = { column, value: textOf(value, "the value"), table };
    const rows = (await this.#call("/v1/tokens/find", sought))["rows"];
    if (!Array.isArray(rows) || !rows.every((row) => typeof row === "object" && row !== null)) throw notAnAnswer();
    return rows;
  }

  /**
   * Takes the right to refresh a row's token for so many seconds (status 423 while another has it).
   *
   * @param {Record<string, unknown>} row
   * @param {{seconds: number, table?: string}} options
   */
  async lease(row, { seconds, table }) {
    const answer = await this.#call("/v1/tokens/lease", { row: keys("row", row), table, seconds }, false);
    return withTexts(answer, "lease", "expires");
  }

  /**
   * Gives a lease back.
   *
   * @param {Record<string, unknown>} row
   * @param {{lease: string, table?: string}} options
   */
  async release(row, { lease, table }) {
    if (lease === undefined) throw new Refused("lease is not given");
    const body = { row: keys("row", row), table, lease: opaqueOf(lease, "lease") };
    return saying(await this.#call("/v1/tokens/release", body, false), "released", true, false);
  }

  /**
   * Opens one stored text.
   *
   * @param {string} text
   * @param {Record<string, unknown>} cell
   * @returns {Promise<string>}
   */
  async open(text, cell) {
    return textIn((await this.#batch("/v1/open", [itemOf({ ...cell, text }, "text")]))[0], "value");
  }

  /**
   * Seals one value; the answer has `text`, `encryption_version`, `encryption_method` and `encryption_key_id`. The agent may be
   * configured to write another form than an envelope: all four belong into the row in one statement.
   *
   * @param {string} value
   * @param {Record<string, unknown>} cell
   */
  async seal(value, cell) {
    const sealed = (await this.#batch("/v1/seal", [itemOf({ ...cell, value }, "value")]))[0];
    textIn(sealed, "text");
    return sealed;
  }

  /**
   * Opens a batch, in order; an item that does not open has `error` and spoils no other.
   *
   * @param {Record<string, unknown>[]} items
   */
  async openMany(items) {
    return this.#each("/v1/open", items, "text");
  }

  /**
   * Seals a batch, in order; an item that is not sealed has `error` and spoils no other.
   *
   * @param {Record<string, unknown>[]} items
   */
  async sealMany(items) {
    return this.#each("/v1/seal", items, "value");
  }

  /**
   * Reads a secret's value.
   *
   * @param {string} name
   * @param {{stage?: string}} options
   * @returns {Promise<string>}
   */
  async secret(name, { stage } = {}) {
    return textIn(await this.#call("/v1/secrets/get", { name, stage }), "value");
  }

  /** Closes every connection that is not in use, and the others when their calls have ended. */
  close() {
    this.#isClosed = true;
    if (!this.#running.has(this.#agent)) this.#agent.destroy();
  }

  #open() {
    this.#agent = connections();
    this.#isClosed = false;
  }

  /**
   * A batch in which an item that cannot be sent is its own error, too.
   *
   * @param {string} path
   * @param {Record<string, unknown>[]} items
   * @param {"text" | "value"} content
   * @returns {Promise<any[]>}
   */
  async #each(path, items, content) {
    /** @type {Record<string, unknown>[]} */
    const sent = [];
    const places = [...items].map((given) => {
      try {
        return { at: sent.push(itemOf(given, content)) - 1, refusal: undefined };
      } catch (error) {
        if (!(error instanceof Refused || error instanceof Malformed)) throw error;
        return { at: -1, refusal: { error: { class: "malformed", message: error.message, status: 400 } } };
      }
    });
    const answered = sent.length > 0 || places.length === 0 ? await this.#batch(path, sent) : [];
    return places.map(({ at, refusal }) => refusal ?? answered[at]);
  }

  /**
   * @param {string} path
   * @param {Record<string, unknown>[]} items
   * @returns {Promise<any[]>}
   */
  async #batch(path, items) {
    const answered = (await this.#call(path, { items }))["items"];
    if (!Array.isArray(answered) || answered.length !== items.length) throw notAnAnswer();
    if (!answered.every((item) => typeof item === "object" && item !== null)) throw notAnAnswer();
    if (!answered.every((item) => isItem(item, path === "/v1/seal"))) throw notAnAnswer();
    return answered;
  }

  /**
   * @param {string} path
   * @param {Record<string, unknown>} body
   * @param {boolean} isRead
   * @param {number} within
   * @returns {Promise<Record<string, any>>}
   */
  async #call(path, body, isRead = true, within = 0) {
    const payload = payloadOf(body);
    const deadline = performance.now() + Math.max(within, this.#timeout);
    try {
      return await this.#exchange(path, payload, deadline);
    } catch (error) {
      // The agent closes connections that were idle: a read is sent once more, a write is not.
      if (!isRead || !(error instanceof StaleConnection)) throw error;
    }
    return this.#exchange(path, payload, deadline);
  }

  /**
   * @param {string} path
   * @param {Buffer} payload
   * @param {number} deadline The moment by which the whole call ends.
   * @returns {Promise<Record<string, any>>}
   */
  #exchange(path, payload, deadline) {
    if (this.#isClosed) this.#open();
    const agent = this.#agent;
    this.#running.set(agent, (this.#running.get(agent) ?? 0) + 1);
    return this.#answer(agent, path, payload, deadline).finally(() => this.#ended(agent));
  }

  /**
   * Ends the connections of a closed client with its last call.
   *
   * @param {Agent} agent
   */
  #ended(agent) {
    const left = (this.#running.get(agent) ?? 1) - 1;
    if (left > 0) this.#running.set(agent, left);
    else this.#running.delete(agent);
    if (left === 0 && (agent !== this.#agent || this.#isClosed)) agent.destroy();
  }

  /**
   * @param {Agent} agent
   * @param {string} path
   * @param {Buffer} payload
   * @param {number} deadline
   * @returns {Promise<Record<string, any>>}
   */
  #answer(agent, path, payload, deadline) {
    return new Promise((resolve, reject) => {
      const headers = { ...this.#headers, "Content-Length": String(payload.length) };
      const options = { ...this.#target, agent, path, method: "POST", headers };
      const fail = () => reject(unreachable());
      const sending = request(options, (response) => {
        /** @type {Buffer[]} */
        const parts = [];
        let length = 0;
        response.on("data", (part) => {
          parts.push(part);
          length += part.length;
          if (length > MAX_ANSWER) response.destroy();
        });
        response.on("error", fail);
        response.on("close", () => (response.complete ? undefined : fail()));
        response.on("end", () => {
          const answer = parsed(Buffer.concat(parts));
          if (response.statusCode !== 200) {
            reject(errorOf(response.statusCode ?? 0, answer ?? {}, response.headers["retry-after"]));
          } else if (answer === undefined) reject(notAnAnswer());
          else resolve(answer);
        });
      });
      // One for the whole call: a timeout of the socket begins again with each byte.
      const late = setTimeout(() => {
        fail(); // before the error of the destroyed request, which could be taken for a stale connection's
        sending.destroy();
      }, Math.max(deadline - performance.now(), 0));
      sending.on("close", () => clearTimeout(late));
      sending.on("error", () => (sending.reusedSocket ? reject(new StaleConnection()) : fail()));
      sending.end(payload);
    });
  }
}

function connections() {
  return new Agent({ keepAlive: true, maxSockets: 64, timeout: MAX_IDLE });
}

/** A connection that the agent had closed. */
class StaleConnection extends AgentError {
  constructor() {
    super(0, "unavailable", "the agent cannot be reached");
    this.name = "AgentError";
  }
}

/**
 * @param {string} socket
 * @param {string | undefined} token
 * @returns {{socketPath: string} | {host: string, port: number}}
 */
function targetOf(socket, token) {
  const address = typeof socket === "string" ? socket.replace(/^unix:/, "") : "";
  if (address === "" || address.includes("\0")) throw new ConfigurationError("the agent's socket is not a path");
  const [, host = "", port = ""] = /^([^/]+):([0-9]{1,5})$/.exec(address) ?? [];
  if (host === "") return { socketPath: address };
  const name = host.replace(/^\[(.*)\]$/, "$1");
  if (!["127.0.0.1", "::1", "localhost"].includes(name)) {
    throw new ConfigurationError("the agent is reached over a Unix socket or a loopback address alone");
  }
  if (Number(port) < 1 || Number(port) > 65_535) {
    throw new ConfigurationError("the agent's address has a port that does not exist");
  }
  if (token === undefined) throw new ConfigurationError("the agent needs a token over TCP");
  return { host: name, port: Number(port) };
}
