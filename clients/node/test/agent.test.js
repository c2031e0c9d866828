/** The agent's client sends requests as in the agent's contract, and turns its answers into values or errors. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { createServer } from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { AgentClient, AgentError, ConfigurationError, Malformed, Refused, fromDatabase } from "../src/index.js";
import { CANARY } from "./support.js";

/** Every member that some route requires. */
const ANSWER = {
  tokens: {}, plain: {}, revision: "r1", written: "kms-envelope", deleted: true, lease: "l1", expires: "2026-11-29T00:00:00Z",
  released: false,
};
const ROW = { provider: "twitch", channel: "me" };
const CELL = { table: "oauth_tokens", column: "access_token", row: ROW };

/** Answers one status and body to everything, and keeps the requests. */
async function stub(context) {
  const socket = join(mkdtempSync(join(tmpdir(), "tokenseal-")), "agent.sock");
  const state = { status: 200, answer: ANSWER, headers: {}, requests: [], latency: 0, socket, connections: [] };
  state.closeIdle = () => server.closeIdleConnections();
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    state.requests.push({ path: request.url, headers: request.headers, body: JSON.parse(body) });
    await new Promise((resolve) => setTimeout(resolve, state.latency));
    response.writeHead(state.status, state.headers);
    response.end(typeof state.answer === "string" ? state.answer : JSON.stringify(state.answer));
  });
  server.keepAliveTimeout = 60_000; // longer than any test, so that only the client closes idle connections
  server.on("connection", (connection) => state.connections.push(connection));
  await new Promise((resolve) => server.listen(socket, resolve));
  const client = new AgentClient(`unix:${socket}`);
  context.after(() => {
    client.close();
    server.closeAllConnections();
    server.close();
  });
  return { state, client };
}

/** Until the agent has so many requests. */
async function received({ requests }, count) {
  while (requests.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Until the client has closed a connection; an error if it stays open, before the client's own limit for idle ones closes it. */
async function closed(connection) {
  if (!connection.closed) await once(connection, "close", { signal: AbortSignal.timeout(5_000) });
}

test("each call has its route, its body and the header", async (context) => {
  const { state, client } = await stub(context);
  const calls = [
    [() => client.get(ROW, { columns: ["a"] }), "get", { row: ROW, columns: ["a"] }],
    [
      () => client.put(ROW, { a: "x", b: null }, { table: "t", ifRevision: "r" }), "put",
      { row: ROW, tokens: { a: "x", b: null }, table: "t", if_revision: "r" },
    ],
    [() => client.delete(ROW), "delete", { row: ROW }],
    [() => client.fresh(ROW, { validFor: 60 }), "fresh", { row: ROW, valid_for: 60 }],
    [() => client.lease(ROW, { seconds: 5 }), "lease", { row: ROW, seconds: 5 }],
    [() => client.release(ROW, { lease: "l" }), "release", { row: ROW, lease: "l" }],
  ];
  for (const [call, route, body] of calls) {
    assert.deepEqual(await call(), ANSWER);
    const sent = state.requests.at(-1);
    assert.deepEqual([sent.path, sent.body, sent.headers["x-tokenseal"]], [`/v1/tokens/${route}`, body, "1"]);
  }
});

test("an answer without a member of its route is no success", async (context) => {
  const { state, client } = await stub(context);
  const unexpected = { status: 0, errorClass: "unexpected" };
  const calls = [
    [() => client.get(ROW), ["tokens", "plain", "revision"]],
    [() => client.fresh(ROW, { validFor: 60 }), ["tokens", "plain", "revision"]],
    [() => client.put(ROW, { a: "x" }), ["written", "revision"]],
    [() => client.delete(ROW), ["deleted"]],
    [() => client.lease(ROW, { seconds: 5 }), ["lease", "expires"]],
    [() => client.release(ROW, { lease: "l" }), ["released"]],
  ];
  for (const [call, needed] of calls) {
    for (const name of needed) {
      for (const odd of [undefined, null, "", 7, [CANARY]]) {
        state.answer = { ...ANSWER, [name]: odd };
        await assert.rejects(call, unexpected, `${name} ${odd}`);
      }
    }
    state.answer = { tokens: { a: 7 }, plain: {}, revision: "r", deleted: false };
    await assert.rejects(call, unexpected);
  }
  for (const item of [{}, { value: null }, { value: 7, text: 7, encryption_version: 2, encryption_method: null }]) {
    state.answer = { items: [item] };
    await assert.rejects(client.openMany([{ text: "x" }]), unexpected);
    await assert.rejects(client.sealMany([{ value: "x" }]), unexpected);
  }
});

test("an empty revision or lease is refused before anything is sent", async (context) => {
  const { state, client } = await stub(context);
  for (const empty of ["", null, 7]) {
    const calls = [
      () => client.put(ROW, { a: "x" }, { ifRevision: empty }), () => client.put(ROW, { a: "x" }, { lease: empty }),
      () => client.delete(ROW, { ifRevision: empty }), () => client.release(ROW, { lease: empty }), () => client.release(ROW, {}),
    ];
    for (const call of calls) await assert.rejects(call, Refused);
  }
  assert.deepEqual(state.requests, []);
});

test("rows are found by a value", async (context) => {
  const { state, client } = await stub(context);
  state.answer = { rows: [{ id: "7" }] };
  assert.deepEqual(await client.find("email", "ada@example.org", { table: "users" }), [{ id: "7" }]);
  const sent = state.requests.at(-1);
  assert.deepEqual([sent.path, sent.body], ["/v1/tokens/find", { column: "email", value: "ada@example.org", table: "users" }]);
  state.answer = { rows: CANARY };
  await assert.rejects(client.find("email", "x"), (error) => error instanceof AgentError && !error.message.includes(CANARY));
});

test("a refresh is waited for longer than other calls", async (context) => {
  const { state } = await stub(context);
  const client = new AgentClient(state.socket, { timeout: 200 });
  context.after(() => client.close());
  state.latency = 400;
  assert.deepEqual(await client.fresh(ROW, { validFor: 60 }), ANSWER);
  await assert.rejects(client.get(ROW), { status: 0 });
});

test("one bad item spoils no other", async (context) => {
  const { state, client } = await stub(context);
  const bad = { error: { class: "context_mismatch_or_corrupt", message: "no" } };
  state.answer = { items: [{ value: "x" }, bad] };
  assert.deepEqual((await client.openMany([{ text: "a" }, { text: "b" }]))[0], { value: "x" });
  await assert.rejects(client.openMany([]), AgentError);
  state.answer = { items: [bad] };
  await assert.rejects(client.open("kms:v2:a", CELL), { status: 422, errorClass: "context_mismatch_or_corrupt" });
});

test("a secret is read with the token in the header", async (context) => {
  const { state } = await stub(context);
  state.answer = { value: "s", version: "1", from: "cache" };
  const client = new AgentClient(state.socket, { token: "t".repeat(40) });
  assert.equal(await client.secret("db#password", { stage: "AWSPREVIOUS" }), "s");
  client.close();
  assert.equal(state.requests[0].headers.authorization, `Bearer ${"t".repeat(40)}`);
});

test("each error keeps its status, class and hint", async (context) => {
  const { state, client } = await stub(context);
  state.headers = { "Retry-After": "7" };
  state.answer = { error: { class: "c", message: "m", hint: "h", correlation_id: "i" }, needs_consent: true };
  for (const status of [400, 401, 403, 404, 409, 413, 422, 423, 429, 503]) {
    state.status = status;
    const expected = { status, errorClass: "c", hint: "h", correlationId: "i", retryAfter: 7, needsConsent: true, message: "m" };
    await assert.rejects(client.get(ROW), expected);
  }
});

test("an answer that is none of the agent is an error without its text", async (context) => {
  const { state, client } = await stub(context);
  for (const answer of ["", "[]", "{", '{"items": 1}', CANARY]) {
    state.answer = answer;
    const isSilent = (error) => error.status === 0 && error.errorClass === "unexpected" && !error.message.includes(CANARY);
    await assert.rejects(client.open("x", CELL), isSilent);
  }
});

const WHOLE = `HTTP/1.1 200 OK\r\nContent-Length: ${JSON.stringify(ANSWER).length}\r\n\r\n${JSON.stringify(ANSWER)}`;

/** Answers each request with the next of its texts, each byte after a pause, and closes after one that is not whole. */
async function raw(context, answers, pause = 0) {
  const socket = join(mkdtempSync(join(tmpdir(), "tokenseal-")), "raw.sock");
  const state = { socket, requests: 0 };
  const server = net.createServer((connection) => {
    connection.on("error", () => undefined);
    connection.on("data", async (data) => {
      if (!data.toString().includes("POST ")) return;
      const answer = answers[Math.min(state.requests, answers.length - 1)];
      state.requests += 1;
      for (const piece of pause > 0 ? answer : [answer]) {
        if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
        connection.write(piece);
      }
      if (answer !== WHOLE) connection.end();
    });
  });
  await new Promise((resolve) => server.listen(socket, resolve));
  context.after(() => server.close());
  return state;
}

test("an answer that breaks off is no answer and is not asked for again", async (context) => {
  const state = await raw(context, [WHOLE, WHOLE.slice(0, -2)]);
  const client = new AgentClient(state.socket);
  context.after(() => client.close());
  assert.deepEqual(await client.get(ROW), ANSWER);
  await assert.rejects(client.get(ROW), { status: 0, errorClass: "unavailable" });
  assert.equal(state.requests, 2);
});

test("a read is sent once more where a used connection ends without an answer, and a write is not", async (context) => {
  const state = await raw(context, [WHOLE, "", WHOLE, ""]);
  const client = new AgentClient(state.socket);
  context.after(() => client.close());
  for (let turn = 0; turn < 2; turn += 1) assert.deepEqual(await client.get(ROW), ANSWER);
  assert.equal(state.requests, 3);
  await assert.rejects(client.put(ROW, { a: "x" }), { status: 0 });
  assert.equal(state.requests, 4);
});

test("each read is sent once more, and no other call is", async (context) => {
  const calls = {
    get: [3, (client) => client.get(ROW)],
    find: [3, (client) => client.find("c", "x")],
    open: [3, (client) => client.open("x", CELL)],
    openMany: [3, (client) => client.openMany([{ text: "x" }])],
    seal: [3, (client) => client.seal("x", CELL)],
    sealMany: [3, (client) => client.sealMany([{ value: "x" }])],
    secret: [3, (client) => client.secret("name")],
    put: [2, (client) => client.put(ROW, { a: "x" })],
    delete: [2, (client) => client.delete(ROW)],
    fresh: [2, (client) => client.fresh(ROW, { validFor: 60 })],
    lease: [2, (client) => client.lease(ROW, { seconds: 5 })],
    release: [2, (client) => client.release(ROW, { lease: "l" })],
  };
  for (const [name, [requests, call]] of Object.entries(calls)) {
    const state = await raw(context, [WHOLE, ""]);
    const client = new AgentClient(state.socket);
    context.after(() => client.close());
    await client.get(ROW);
    await assert.rejects(call(client), { status: 0, errorClass: "unavailable" }, name);
    assert.equal(state.requests, requests, name);
  }
});

test("a call ends by its time however slowly the answer comes, and is not repeated", async (context) => {
  const state = await raw(context, [WHOLE], 50);
  const client = new AgentClient(state.socket, { timeout: 300 });
  context.after(() => client.close());
  const began = performance.now();
  await assert.rejects(client.get(ROW), { status: 0, errorClass: "unavailable" });
  assert.ok(performance.now() - began < 50 * WHOLE.length);
  assert.equal(state.requests, 1);
});

test("a read on a used connection is not repeated after its time", async (context) => {
  const { state } = await stub(context);
  const client = new AgentClient(state.socket, { timeout: 200 });
  context.after(() => client.close());
  await client.get(ROW);
  state.latency = 600;
  await assert.rejects(client.get(ROW), { status: 0 });
  assert.equal(state.requests.length, 2);
});

test("a client that is closed lets its running calls end, and opens again", async (context) => {
  const { state, client } = await stub(context);
  state.latency = 100;
  const running = client.get(ROW);
  await received(state, 1);
  client.close();
  assert.deepEqual(await running, ANSWER);
  await closed(state.connections[0]);
  assert.deepEqual(await client.get(ROW), ANSWER);
});

test("a client that is opened again while a call runs closes that call's connection with it, and no other", async (context) => {
  const { state, client } = await stub(context);
  state.latency = 100;
  const running = client.get(ROW);
  await received(state, 1);
  client.close();
  state.latency = 0;
  await client.get(ROW);
  await running;
  await closed(state.connections[0]);
  await client.get(ROW);
  assert.equal(state.connections.length, 2);
});

test("a client that is closed while no call runs closes its connections", async (context) => {
  const { state, client } = await stub(context);
  await client.get(ROW);
  client.close();
  await closed(state.connections[0]);
});

test("the error of a single value has the status of its kind", async (context) => {
  const { state, client } = await stub(context);
  const errors = [
    [{ class: "malformed", status: 400 }, 400], [{ class: "of_a_later_agent", status: 404 }, 404], [{ class: "malformed" }, 400],
    [{ class: "not_found" }, 404], [{ class: "policy" }, 403], [{ class: "missing_key" }, 422],
    [{ class: "missing_key", status: true }, 422], [{ class: "missing_key", status: 200 }, 422],
  ];
  for (const [error, status] of errors) {
    state.answer = { items: [{ error: { ...error, message: "m" } }] };
    await assert.rejects(client.open("x", CELL), { status });
    await assert.rejects(client.seal("x", CELL), { status });
  }
});

test("a lease of another says when it ends", async (context) => {
  const { state, client } = await stub(context);
  state.status = 423;
  state.answer = { error: { class: "leased", message: "m" }, expires: "2026-11-29T00:00:00Z" };
  await assert.rejects(client.lease(ROW, { seconds: 5 }), { status: 423, expires: "2026-11-29T00:00:00Z" });
});

test("a request that is longer than the agent reads is not sent", async (context) => {
  const { state, client } = await stub(context);
  await assert.rejects(client.put(ROW, { a: "x".repeat(2 << 20) }), { status: 413, errorClass: "body_too_long" });
  assert.deepEqual(state.requests, []);
});

test("a write after the agent closed an idle connection takes another", async (context) => {
  const { state, client } = await stub(context);
  for (let turn = 0; turn < 3; turn += 1) {
    await client.put(ROW, { a: "x" });
    state.closeIdle();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(state.requests.length, 3);
});

test("an agent that is not there is an error, and other hosts are refused", async () => {
  await assert.rejects(new AgentClient("/nonexistent/agent.sock").get(ROW), { status: 0 });
  assert.throws(() => new AgentClient("10.0.0.1:80", { token: "t" }), ConfigurationError);
  assert.throws(() => new AgentClient("127.0.0.1:80"), ConfigurationError);
  assert.throws(() => new AgentClient("/x", { token: "line\nbreak" }), ConfigurationError);
});

const SEALED = { text: "kms:v2:…", encryption_key_id: "arn", encryption_version: 2, encryption_method: "kms-envelope" };

test("a sealed value says how it is stored", async (context) => {
  const { state, client } = await stub(context);
  const plaintext = { text: "x", encryption_key_id: null, encryption_version: 0, encryption_method: null };
  for (const sealed of [SEALED, plaintext]) {
    state.answer = { items: [sealed] };
    assert.deepEqual(await client.seal("x", CELL), sealed);
  }
  assert.deepEqual(state.requests.at(-1).body, { items: [{ ...CELL, value: "x" }] });
  for (const lacks of ["text", "encryption_version", "encryption_method"]) {
    for (const value of [undefined, true]) {
      state.answer = { items: [{ ...SEALED, [lacks]: value }] };
      await assert.rejects(client.seal("x", CELL), AgentError, lacks);
    }
  }
  state.answer = { items: [{ text: "x", error: null }] };
  await assert.rejects(client.seal("x", CELL), AgentError);
});

test("keys are sent as they are", async (context) => {
  const { state, client } = await stub(context);
  const given = [
    [7, 7], [2 ** 53 - 1, 2 ** 53 - 1], [9007199254740993n, "9007199254740993"], ["9007199254740993", "9007199254740993"],
    [fromDatabase("1.50"), "1.50"], [null, null],
  ];
  for (const [value, sent] of given) {
    state.answer = { ...ANSWER, items: [{ value: "x" }] };
    await client.get({ id: value });
    assert.deepEqual(state.requests.at(-1).body, { row: { id: sent } });
    await client.open("", { table: "t", column: "c", row: { id: value }, owner: { tenant: value }, version: 2n });
    const item = { table: "t", column: "c", row: { id: sent }, owner: { tenant: sent }, version: 2, text: "" };
    assert.deepEqual(state.requests.at(-1).body, { items: [item] });
  }
});

test("keys that have no one text are refused before anything is sent", async (context) => {
  const { state, client } = await stub(context);
  const isSilent = (error) => error instanceof Refused && error.cause === undefined && !error.stack.includes(CANARY);
  const odd = [
    2 ** 53, JSON.parse("9007199254740993"), 1.5, NaN, 2n ** 63n, true, undefined, new Date(0), Buffer.from("7"), [7], {},
    Symbol("7"), `${CANARY}\ud800`, fromDatabase(7), fromDatabase(null),
  ];
  for (const value of odd) {
    const row = { id: value };
    const calls = [
      () => client.get(row), () => client.put(row, { a: "x" }), () => client.put(ROW, { a: value }), () => client.delete(row),
      () => client.fresh(row, { validFor: 1 }), () => client.lease(row, { seconds: 1 }), () => client.release(row, { lease: "l" }),
      () => client.open("x", { ...CELL, row }), () => client.seal("x", { ...CELL, owner: row }), () => client.find("c", value),
    ];
    if (value !== true && !(value instanceof Date)) calls.push(() => client.put(ROW, { a: "x" }, { plain: row }));
    if (value !== undefined) calls.push(() => client.open(value, CELL), () => client.seal(value, CELL));
    for (const call of calls) await assert.rejects(call, isSilent);
  }
  const bad = [
    () => client.get(ROW, { columns: [1n] }), () => client.get(ROW, { table: "\ud800" }), () => client.get(null),
    () => client.put(ROW, CANARY), () => client.put(ROW, { a: CANARY }, { ifRevision: 1n }), () => client.fresh(ROW, { validFor: 0.5 }),
    () => client.put(ROW, { a: CANARY }, { plain: [1] }),
  ];
  for (const call of bad) await assert.rejects(call, isSilent);
  await assert.rejects(client.open("x", { ...CELL, version: 3 }), Malformed);
  assert.deepEqual(state.requests, []);
});

test("an item that cannot be sent spoils no other", async (context) => {
  const { state, client } = await stub(context);
  state.answer = { items: [{ value: "first" }, { value: "last" }] };
  const bad = [{ text: "\ud800" }, { text: null }, { version: 3 }, { row: { id: 1.5 } }, { value: "x" }, null];
  const results = await client.openMany([{ text: "a" }, ...bad, { text: "b", version: "2" }]);
  assert.deepEqual(results.map(({ value }) => value), ["first", ...bad.map(() => undefined), "last"]);
  assert.ok(results.slice(1, -1).every(({ error }) => error.class === "malformed"));
  assert.deepEqual(state.requests[0].body, { items: [{ text: "a" }, { text: "b", version: 2 }] });
  assert.equal((await client.sealMany([{ value: 7 }]))[0].error.class, "malformed");
  assert.equal(state.requests.length, 1);
});

test("plain values and dates are sent in one spelling", async (context) => {
  const { state, client } = await stub(context);
  await client.put(ROW, { a: null }, { plain: { b: new Date(0), c: true, d: 7n, e: null } });
  assert.deepEqual(state.requests[0].body.plain, { b: "1970-01-01T00:00:00.000Z", c: true, d: "7", e: null });
});

test("an address that cannot be one is refused", () => {
  for (const socket of ["", "a\0b", 7, "127.0.0.1:99999", "127.0.0.1:0"]) {
    assert.throws(() => new AgentClient(socket, { token: "t" }), ConfigurationError);
  }
  assert.throws(() => new AgentClient("/x", { timeout: -1 }), ConfigurationError);
});
