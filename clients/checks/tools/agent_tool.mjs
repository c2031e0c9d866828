/** The Node client of the agent: the arguments are its socket and a job, the answer is a line of JSON. */

import { AgentClient, AgentError } from "../../node/src/index.js";

const row = (job) => ({ provider: "twitch", channel: job.channel });

async function status(call) {
  try {
    await call();
  } catch (error) {
    if (error instanceof AgentError) return [error.status, error.errorClass];
    throw error;
  }
  return [200, ""];
}

const marks = (sealed) => [sealed.encryption_version, sealed.encryption_method];

/** Every call that the agent has, once, and once where it must fail. */
async function exercise(agent, job) {
  const cell = { table: "oauth_tokens", column: "access_token", row: row(job) };
  const other = { ...cell, row: { provider: "twitch", channel: "other" } };
  const first = await agent.put(row(job), { access_token: "first", refresh_token: null });
  const second = await agent.put(row(job), { access_token: job.value }, { ifRevision: first.revision });
  const late = await status(() => agent.put(row(job), { access_token: "late" }, { ifRevision: first.revision }));
  const sealed = await agent.seal(job.value, cell);
  return {
    written: second.written,
    late,
    opened: await agent.open(sealed.text, { ...cell, version: 2 }),
    empty: [await agent.open("", { ...cell, version: 2 }), ...marks(await agent.seal("", cell))],
    moved: await status(() => agent.open(sealed.text, { ...other, version: 2 })),
    absent: await status(() => agent.get(other.row)),
    secret: await agent.secret("CRM_SMTP"),
    withheld: await status(() => agent.secret("KMS_MASTER_KEY")),
  };
}

async function read(agent, job) {
  return (await agent.get(row(job), { columns: ["access_token"] })).tokens.access_token;
}

/** Adds 1 so many times, while others do so too; returns how often another was faster. */
async function add(agent, job) {
  let retries = 0;
  for (let turn = 0; turn < job.times; ) {
    const found = await agent.get(row(job));
    const tokens = { access_token: String(Number(found.tokens.access_token) + 1) };
    const [code] = await status(() => agent.put(row(job), tokens, { ifRevision: found.revision }));
    if (code === 200) turn += 1;
    else if (code === 409) retries += 1;
    else throw new Error(`put ended with ${code}`);
  }
  return retries;
}

async function measure(agent, job) {
  const taken = [];
  for (let turn = 0; turn < job.times; turn += 1) {
    const start = performance.now();
    await agent.get(row(job));
    taken.push((performance.now() - start) * 1000);
  }
  return taken;
}

async function remove(agent, job) {
  return [(await agent.delete(row(job))).deleted, await status(() => agent.get(row(job)))];
}

const operations = { exercise, read, add, measure, delete: remove };
const job = JSON.parse(process.argv[3]);
const agent = new AgentClient(process.argv[2]);
console.log(JSON.stringify(await operations[job.op](agent, job)));
agent.close();
