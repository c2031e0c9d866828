/** The Node client, driven by lines of JSON: a job per line on standard input, an answer per line on standard output. */

import { createDecipheriv } from "node:crypto";
import { createInterface } from "node:readline";

import { AgentClient, AgentError, KeyServiceError, Profile, Sealer, TokensealError } from "../../node/src/index.js";

const sdk = await import(process.env.KMS_PACKAGE);
const kms = new sdk.KMS({
  endpoint: process.env.AWS_ENDPOINT_URL_KMS,
  region: "us-east-1",
  credentials: { accessKeyId: "testing", secretAccessKey: "testing" },
});
const sealers = new Map();

function sealerFor({ key, profile, allowed = [], format, suite }) {
  const name = JSON.stringify([key, profile, allowed, format, suite]);
  if (!sealers.has(name)) {
    const options = { kms, keyId: key, profile: Profile.load(profile), allowedKeys: allowed, envelopeFormat: format, suite };
    sealers.set(name, new Sealer(options));
  }
  return sealers.get(name);
}

async function run(job) {
  if (job.op.startsWith("agent")) {
    const agent = new AgentClient(job.socket);
    try {
      return await throughAgent(agent, job);
    } finally {
      agent.close();
    }
  }
  if (job.op === "by-hand") return { microseconds: await timed(() => byHand(job), job.times) };
  const sealer = sealerFor(job);
  if (job.op === "increment") return { retries: await increment(sealer, job) };
  const { table, column, row, owner } = job;
  if (job.op === "seal") {
    const { text, keyId, version, method } = await sealer.seal(job.value, { table, column, row, owner });
    return { text, key_id: keyId, version, method };
  }
  if (job.op === "measure") {
    return { microseconds: await timed(() => sealer.open(job.text, { table, column, row, owner }), job.times) };
  }
  return { value: await sealer.open(job.text, { table, column, row, owner, version: job.version, keyId: job.key_id }) };
}

/** The baseline: a service that calls the key service itself for each value. */
async function byHand({ text, key, context }) {
  const [wrapped, sealed] = text.slice("kms:v2:".length).split(":").map((part) => Buffer.from(part, "base64"));
  const { Plaintext } = await kms.decrypt({ CiphertextBlob: wrapped, KeyId: key, EncryptionContext: context });
  const decipher = createDecipheriv("aes-256-gcm", Plaintext, sealed.subarray(0, 12));
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]).toString();
}

/** How long each of so many reads took, in microseconds; the first is the one that asks the key service. */
async function timed(read, times) {
  const taken = [];
  for (let turn = 0; turn < times; turn += 1) {
    const start = performance.now();
    await read();
    taken.push((performance.now() - start) * 1000);
  }
  return taken;
}

async function throughAgent(agent, job) {
  if (job.op === "agent-measure") return { microseconds: await timed(() => agent.get(job.row), job.times) };
  if (job.op === "agent-increment") return { retries: await incrementThroughAgent(agent, job.channels) };
  if (["agent-fresh", "agent-get"].includes(job.op)) return { rows: await tokensOf(agent, job) };
  const cell = { table: job.table, column: job.column, row: job.row };
  if (job.op === "agent-seal") {
    const sealed = await agent.seal(job.value, cell);
    return { text: sealed.text, key_id: sealed.encryption_key_id };
  }
  return { value: await agent.open(job.text, { ...cell, version: 2 }) };
}

async function tokensOf(agent, job) {
  const rows = {};
  for (const channel of job.channels) {
    const row = { provider: "twitch", channel };
    const { tokens } = job.op === "agent-fresh" ? await agent.fresh(row, { validFor: job.valid_for }) : await agent.get(row);
    rows[channel] = { access: tokens.access_token, refresh: tokens.refresh_token };
  }
  return rows;
}

/** `increment` through the agent. */
async function incrementThroughAgent(agent, channels) {
  const left = [...channels];
  let retries = 0;
  while (left.length > 0) {
    const row = { provider: "twitch", channel: left[0] };
    try {
      const { tokens, revision } = await agent.get(row);
      await agent.put(row, { access_token: String(Number(tokens.access_token) + 1) }, { ifRevision: revision });
      left.shift();
    } catch (error) {
      if (!(error instanceof AgentError && [409, 503].includes(error.status))) throw error;
      retries += 1;
    }
  }
  return retries;
}

/** Adds one to the number in a row's token, again and again; returns how often another writer was faster. */
async function increment(sealer, { database, channels }) {
  const { default: pg } = await import(process.env.PG_PACKAGE);
  const client = new pg.Client({ connectionString: database });
  await client.connect();
  const left = [...channels];
  let retries = 0;
  while (left.length > 0) {
    const { rows: [row] } = await client.query("SELECT * FROM oauth_tokens WHERE channel = $1", [left[0]]);
    let statement;
    try {
      statement = await next(sealer, row);
    } catch (error) {
      if (error instanceof KeyServiceError && error.isRetryable) continue;
      throw error;
    }
    const { rowCount } = await client.query(statement.sql, statement.params);
    if (rowCount === 1) left.shift();
    else retries += 1;
  }
  await client.end();
  return retries;
}

async function next(sealer, row) {
  const text = await sealer.open(row.access_token, {
    table: "oauth_tokens",
    column: "access_token",
    row: { provider: row.provider, channel: row.channel },
    version: row.encryption_version,
    keyId: row.encryption_key_id,
  });
  return sealer.update({ table: "oauth_tokens", old: row, set: { access_token: String(Number(text) + 1) } });
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await run(JSON.parse(line));
  } catch (error) {
    if (!(error instanceof TokensealError)) throw error;
    answer = { error: error.name, kind: error.kind, status: error.status, needs_consent: error.needsConsent || undefined };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
