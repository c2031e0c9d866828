/** Forms that are read under each setting, and the spelling of settings: the same tables in every language. */

import assert from "node:assert/strict";
import { createCipheriv, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ConfigurationError, Refused, Sealer } from "../src/index.js";
import { milliseconds } from "../src/settings.js";
import { ARN, CANARY, MemoryKms, VOD_CELL, vod } from "./support.js";

const shared = (name) => JSON.parse(readFileSync(new URL(`../../shared/${name}`, import.meta.url), "utf8"));
const KEY = randomBytes(32);
const ID = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
const PULSEPLAN_CELL = { table: "oauth_tokens", column: "access_token", row: { id: ID }, owner: { user_id: ID } };
const LOCAL = `${"0".repeat(32)}:${"0".repeat(32)}:00`;

async function stored(kms, form) {
  if (form === "plaintext") return { text: CANARY, version: 0 };
  if (form === "direct") {
    const nonce = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", KEY, nonce);
    const sealed = Buffer.concat([nonce, cipher.update(CANARY), cipher.final(), cipher.getAuthTag()]);
    return { text: sealed.toString("base64"), version: 1 };
  }
  const options = { v3: { envelopeFormat: "v3" }, "v2-unbound": { binding: "off" } }[form];
  return vod(kms, options).seal(CANARY, VOD_CELL);
}

test("the floor decides which forms open, in every language", async () => {
  const { forms, settings } = shared("floors.json");
  for (const setting of settings) {
    for (const form of forms) {
      const kms = new MemoryKms();
      const given = { floor: setting.floor, binding: setting.binding, plaintextPolicy: setting.plaintext };
      const options = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
      const opened = async () => {
        if (form === "legacy") {
          return new Sealer({ kms, keyId: ARN, profile: "pulseplan", legacy: () => CANARY, ...options }).open(LOCAL, PULSEPLAN_CELL);
        }
        const { text, version } = await stored(kms, form);
        return vod(kms, { encryptionKey: KEY.toString("base64"), ...options }).open(text, { ...VOD_CELL, version });
      };
      if (setting.opens.includes(form)) assert.equal(await opened(), CANARY, `${form} under ${JSON.stringify(setting)}`);
      else await assert.rejects(opened, Refused, `${form} under ${JSON.stringify(setting)}`);
    }
  }
});

test("durations are spelled as in the programs", (context) => {
  context.after(() => delete process.env.DEK_CACHE_TTL);
  for (const [text, expected] of Object.entries(shared("durations.json").spans)) {
    process.env.DEK_CACHE_TTL = text;
    if (expected === null) assert.throws(() => milliseconds(undefined, "DEK_CACHE_TTL", 1), ConfigurationError, text);
    else assert.equal(milliseconds(undefined, "DEK_CACHE_TTL", 1), expected, text);
  }
});
