/** The example of the README runs on PostgreSQL and an emulation of AWS KMS. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as tokenseal from "../src/index.js";
import { MOTO } from "./support.js";

const URL_OF_POSTGRES = process.env.TOKENSEAL_TEST_POSTGRES_URL;
const README = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const [sdk, pg] = await Promise.all([import("@aws-sdk/client-kms"), import("pg")].map((each) => each.catch(() => undefined)));
const isThere = MOTO !== undefined && URL_OF_POSTGRES !== undefined && sdk !== undefined && pg !== undefined;
const skip = isThere ? false : "moto, PostgreSQL or their packages are not there";

test("the example reads and writes a row", { skip }, async (context) => {
  const schema = `clients_node_${process.pid}`;
  const admin = new pg.default.Client({ connectionString: URL_OF_POSTGRES });
  await admin.connect();
  context.after(async () => {
    await admin.query(`DROP SCHEMA ${schema} CASCADE`);
    await admin.end();
  });
  await admin.query(`CREATE SCHEMA ${schema}`);
  await admin.query(`SET search_path = ${schema}`);
  await admin.query(
    "CREATE TABLE oauth_tokens (provider text, channel text, access_token text, refresh_token text, expires_at timestamptz," +
      " updated_at timestamptz, encryption_version integer, encryption_method text, encryption_key_id text," +
      " PRIMARY KEY (provider, channel))",
  );
  await admin.query("INSERT INTO oauth_tokens (provider, channel, access_token) VALUES ('twitch', 'me', 'old')");
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_KMS: MOTO,
    AWS_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: "testing",
    AWS_SECRET_ACCESS_KEY: "testing",
    DATABASE_URL: URL_OF_POSTGRES,
    PGOPTIONS: `-c search_path=${schema}`,
  });
  const kms = new sdk.KMS({});
  const { Aliases: aliases } = await kms.listAliases({ Limit: 1000 });
  if (!aliases.some(({ AliasName }) => AliasName === "alias/tokens")) {
    const { KeyMetadata } = await kms.createKey({});
    await kms.createAlias({ AliasName: "alias/tokens", TargetKeyId: KeyMetadata.KeyId });
  }
  const code = /```js\n([^]*?)```/.exec(README)[1].replace('"tokenseal"', JSON.stringify(new URL("../src/index.js", import.meta.url)));
  const resolved = code
    .replace('"@aws-sdk/client-kms"', JSON.stringify(import.meta.resolve("@aws-sdk/client-kms")))
    .replace('"pg"', JSON.stringify(import.meta.resolve("pg")));
  const ran = await import(`data:text/javascript,${encodeURIComponent(`${resolved}\nexport { sealer, token };`)}`);
  assert.equal(ran.token, "old");
  const { rows } = await admin.query("SELECT * FROM oauth_tokens");
  const cell = { table: "oauth_tokens", column: "refresh_token", row: { provider: "twitch", channel: "me" } };
  assert.equal(await ran.sealer.open(rows[0].refresh_token, { ...cell, version: rows[0].encryption_version }), "a new refresh token");
});

test("the README names every public name", () => {
  const unnamed = Object.keys(tokenseal).filter((name) => name !== "FromDatabase" && !README.includes(name));
  assert.deepEqual(unnamed, []);
});
