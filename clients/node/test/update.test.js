/** The statement that writes a row is a compare-and-swap over everything that its values are bound to. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Profile, Refused, Sealer, fromDatabase } from "../src/index.js";
import { ARN, CANARY, CRM, MemoryKms, OTHER_ARN, vectorFile, vod } from "./support.js";

const DIRECT = vectorFile("formats.json").vectors.find(({ format }) => format === "direct-aes");
const VOD_OLD = {
  provider: "twitch", channel: "me", access_token: "a", refresh_token: "r",
  encryption_version: 0, encryption_method: null, encryption_key_id: null,
};
const CRM_OLD = { id: 7, tenant_id: null, email: "old", phone: null };

/** The row after a statement for SQLite, whose SET has one placeholder for each column. */
function applied(old, { sql, params }) {
  const columns = [...sql.split(" WHERE ")[0].matchAll(/"([a-z_]+)" = \?/g)].map(([, column]) => column);
  return { ...old, ...Object.fromEntries(columns.map((column, at) => [column, params[at]])) };
}

async function opened(sealer, row, column) {
  const { provider, channel, encryption_version: version, encryption_key_id: keyId } = row;
  return sealer.open(row[column], { table: "oauth_tokens", column, row: { provider, channel }, version, keyId });
}

const update = (sealer, old, set, more = {}) => sealer.update({ table: "oauth_tokens", old, set, dialect: "sqlite", ...more });

test("a token that stays moves to the new version with the one that is set", async () => {
  const stored = [
    { refresh_token: "r", encryption_version: 0 },
    { refresh_token: "r", encryption_version: null },
    { refresh_token: DIRECT.stored, encryption_version: 1, encryption_method: "direct-aes", encryption_key_id: "default" },
  ];
  for (const marks of stored) {
    const sealer = vod(new MemoryKms(), { encryptionKey: DIRECT.encryption_key });
    const old = { ...VOD_OLD, ...marks };
    const row = applied(old, await update(sealer, old, { access_token: "new" }, { plain: { scope: "chat" } }));
    assert.deepEqual([row.encryption_version, row.encryption_method, row.encryption_key_id], [2, "kms-envelope", ARN]);
    assert.equal(row.scope, "chat");
    assert.equal(await opened(sealer, row, "access_token"), "new");
    assert.equal(await opened(sealer, row, "refresh_token"), marks.encryption_version === 1 ? "x" : "r");
  }
});

test("a token that stays keeps its text under the same version and key, and is sealed again under another", async () => {
  const kms = new MemoryKms();
  const first = applied(VOD_OLD, await update(vod(kms), VOD_OLD, { access_token: "one" }));
  const second = applied(first, await update(vod(kms), first, { access_token: "two" }));
  assert.equal(second.refresh_token, first.refresh_token);
  assert.equal(await opened(vod(kms), second, "access_token"), "two");
  const empty = applied(second, await update(vod(kms), second, { access_token: null }));
  assert.deepEqual([empty.access_token, empty.encryption_key_id], [null, ARN]);
  const mover = new Sealer({ kms, keyId: OTHER_ARN, profile: "vod-tender", allowedKeys: [ARN] });
  const moved = applied(second, await update(mover, second, { access_token: "b" }));
  const alone = new Sealer({ kms, keyId: OTHER_ARN, profile: "vod-tender" });
  assert.equal(await opened(alone, moved, "refresh_token"), "r");
});

test("the condition names the key, the owner, every token and the version as they were read", async () => {
  const { sql, params } = await update(vod(new MemoryKms()), VOD_OLD, { access_token: "new" });
  assert.match(sql, /WHERE "provider" = \? AND "channel" = \? AND "access_token" IS \? AND "refresh_token" IS \? AND "encryption_version" IS \?$/);
  assert.deepEqual(params.slice(-5), ["twitch", "me", "a", "r", 0]);
});

test("a broken token that would have to move stops the write", async () => {
  await assert.rejects(update(vod(new MemoryKms()), { ...VOD_OLD, refresh_token: "kms:v2:" + "A".repeat(30) }, { access_token: "n" }));
});

test("a statement that would break a row is refused", async () => {
  const sealer = new Sealer({ kms: new MemoryKms(), keyId: ARN, profile: CRM });
  const whole = { table: "customers", old: CRM_OLD, set: { email: "x" } };
  await sealer.update(whole);
  const changes = [
    { set: {} }, { set: { id: "x" } }, { set: { email: undefined } }, { plain: { phone: "x" } }, { table: "x" },
    { dialect: "oracle" }, { placeholder: ":1" }, { old: { ...CRM_OLD, phone: undefined } },
    ...Object.keys(CRM_OLD).map((column) => {
      const { [column]: _, ...old } = CRM_OLD;
      return { old };
    }),
  ];
  for (const change of changes) await assert.rejects(sealer.update({ ...whole, ...change }), Refused, JSON.stringify(change));
  for (const extra of [{ index: [{ column: "email", into: "i" }] }, { record: { column: "metadata" } }]) {
    const table = { name: "t", key: ["id"], tokens: ["email"], ...extra };
    const profile = Profile.fromObject({ name: "p", context: { a: "b" }, tables: [table] });
    const strict = new Sealer({ kms: new MemoryKms(), keyId: ARN, profile });
    await assert.rejects(strict.update({ table: "t", old: { id: 1, email: null }, set: { email: "x" } }), Refused);
  }
});

test("each dialect has its own spelling", async () => {
  const sealer = new Sealer({ kms: new MemoryKms(), keyId: ARN, profile: CRM });
  const sql = async (options) => (await sealer.update({ table: "customers", old: CRM_OLD, set: { email: "x" }, ...options })).sql;
  assert.equal(
    await sql({}),
    'UPDATE "customers" SET "email" = $1 WHERE "id" = $2 AND "tenant_id" IS NOT DISTINCT FROM $3' +
      ' AND "email" IS NOT DISTINCT FROM $4 AND "phone" IS NOT DISTINCT FROM $5',
  );
  assert.match(await sql({ dialect: "mysql" }), /BINARY `email` <=> BINARY \?/);
  assert.match(await sql({ dialect: "sqlite" }), /"tenant_id" IS \?/);
});

test("a sealed value that is no envelope is not written as one", async () => {
  const sealer = vod(new MemoryKms());
  for (const sealed of [
    { text: CANARY, keyId: null, version: 0, method: "" }, { text: "AAAA", keyId: null, version: 1, method: "direct-aes" },
    { text: CANARY, keyId: ARN, version: 2, method: "kms-envelope" }, 7,
  ]) {
    const isSilent = (error) => error instanceof Refused && !error.message.includes(CANARY);
    await assert.rejects(update(sealer, VOD_OLD, { access_token: sealed }), isSilent);
  }
});

test("a token that stays and is no text stops the write", async () => {
  const sealer = vod(new MemoryKms());
  const plain = new Sealer({ kms: new MemoryKms(), keyId: ARN, profile: CRM });
  for (const stays of [7, 7n, true, false, 0, {}, ["t"], new Date(0), Buffer.from([0xff, 0xfe]), new Uint8Array([0xc3]), Symbol("t")]) {
    await assert.rejects(update(sealer, { ...VOD_OLD, refresh_token: stays }, { access_token: "n" }), Refused);
    await assert.rejects(plain.update({ table: "customers", old: { ...CRM_OLD, phone: stays }, set: { email: "x" } }), Refused);
  }
});

test("a token that a driver reads as bytes moves with the one that is set", async () => {
  const sealer = vod(new MemoryKms());
  for (const bytes of [Buffer.from("r\u00e9fresh"), new Uint8Array(Buffer.from("r\u00e9fresh"))]) {
    const old = { ...VOD_OLD, refresh_token: bytes };
    const statement = await update(sealer, old, { access_token: "n" });
    assert.equal(await opened(sealer, applied(old, statement), "refresh_token"), "r\u00e9fresh");
    assert.ok(statement.params.includes(bytes));
  }
});

test("text of the database is sent to the driver as text", async () => {
  const sealer = new Sealer({ kms: new MemoryKms(), keyId: ARN, profile: CRM });
  const old = { ...CRM_OLD, id: fromDatabase("7"), tenant_id: fromDatabase("acme") };
  const { params } = await sealer.update({ table: "customers", old, set: { email: "x" }, plain: { note: fromDatabase("2.50") } });
  for (const text of ["7", "acme", "2.50"]) assert.ok(params.includes(text), text);
});

const KEYS = [["char(8)", "ab"], ["numeric(6,2)", "2.50"]];
const POSTGRES = process.env.TOKENSEAL_TEST_POSTGRES_URL;

test("a row is named by text of the database", { skip: POSTGRES === undefined && "TOKENSEAL_TEST_POSTGRES_URL is not set" }, async () => {
  const { default: pg } = await import("pg");
  const client = new pg.Client({ connectionString: POSTGRES });
  await client.connect();
  try {
    for (const [type, stored] of KEYS) {
      const table = { name: "client_keys", key: ["k"], tokens: ["token"], types: { k: type } };
      const profile = Profile.fromObject({ name: "p", context: { a: "b" }, tables: [table] });
      const sealer = new Sealer({ kms: new MemoryKms(), keyId: ARN, profile, legacy: (text) => text });
      await client.query(`CREATE TEMPORARY TABLE client_keys (k ${type} PRIMARY KEY, token text)`);
      await client.query("INSERT INTO client_keys VALUES ($1, 'old')", [stored]);
      const { k, token } = (await client.query("SELECT CAST(k AS text), token FROM client_keys")).rows[0];
      const { sql, params } = await sealer.update({ table: "client_keys", old: { k: fromDatabase(k), token }, set: { token: "n" } });
      assert.equal((await client.query(sql, params)).rowCount, 1, type);
      const sealed = (await client.query("SELECT token FROM client_keys")).rows[0].token;
      assert.equal(await sealer.open(sealed, { table: "client_keys", column: "token", row: { k: fromDatabase(k) } }), "n");
      await client.query("DROP TABLE client_keys");
    }
  } finally {
    await client.end();
  }
});
