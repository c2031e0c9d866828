/** The compiler accepts the code of a TypeScript service, and refuses invalid code. */

import { AgentClient, KeyServiceError, Profile, Sealer, fromDatabase } from "../index.js";

const sealer = new Sealer({ kms: {}, keyId: "alias/tokens", profile: Profile.load("vod-tender"), allowedKeys: [] });
const cell = { table: "oauth_tokens", column: "access_token", row: { provider: "twitch", channel: "me" }, version: 2 };

export async function read(text: string, nullable: string | null): Promise<string> {
  const opened: string = await sealer.open(text, cell);
  const perhaps: string | null = await sealer.open(nullable, { ...cell, owner: { tenant: null }, keyId: null });
  const sealed = await sealer.seal(opened, { ...cell, row: { at: fromDatabase("2026-11-22 01:38:28+00") } });
  const { sql, params } = await sealer.update({ table: "t", old: {}, set: { a: sealed, b: null, c: "x" } });
  return [opened, perhaps, sealed.text, sql, params.length].join();
}

export async function throughTheAgent(): Promise<string> {
  const agent = new AgentClient("/run/tokenseal/agent.sock");
  await agent.put({ id: 7 }, { email: "x" }, { ifRevision: "r" });
  const sealed = await agent.seal("x", { ...cell, row: { id: 7n }, owner: { tenant: null } });
  return [sealed.encryption_version, sealed.encryption_method ?? "", await agent.secret("db#password")].join();
}

export function kind(error: unknown): string {
  return error instanceof KeyServiceError ? error.kind : "other";
}

// @ts-expect-error a key has one text
void new AgentClient().get({ id: [7] });
// @ts-expect-error a value must be text
void sealer.seal(5, cell);
// @ts-expect-error a format must be known
new Sealer({ kms: {}, envelopeFormat: "v4" });
