/** How a text is taken, by its mark and its row: the same table in every language, and in the agent. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ConfigurationError, Malformed, Profile, Refused, Sealer } from "../src/index.js";
import { ARN, MemoryKms, VOD_CELL, vod } from "./support.js";

const FORMS = JSON.parse(readFileSync(new URL("../../shared/forms.json", import.meta.url), "utf8"));
const TABLE = { name: "words", key: ["id"], tokens: ["token"] };
const CELL = { table: "words", column: "token", row: { id: "a" } };

function words(more = {}) {
  const profile = Profile.fromObject({ name: "words", context: { Application: "words" }, tables: [TABLE], ...more });
  return new Sealer({ kms: new MemoryKms(), keyId: ARN, profile, legacy: (text) => `legacy ${text}` });
}

test("a text is taken for the same in every language", async () => {
  assert.ok(FORMS.texts.length > 40);
  for (const { text, unmarked, version_0: row } of FORMS.texts) {
    const sealer = words();
    if (unmarked === "refused") await assert.rejects(sealer.open(text, CELL), Malformed, text);
    else assert.equal(await sealer.open(text, CELL), `legacy ${text}`);
    for (const [opener, cell, opens] of [[sealer, CELL, unmarked === "plaintext"], [vod(new MemoryKms()), VOD_CELL, row === "plaintext"]]) {
      if (opens) assert.equal(await opener.open(text, { ...cell, version: 0 }), text);
      else await assert.rejects(opener.open(text, { ...cell, version: 0 }), Malformed, text);
    }
  }
  await assert.rejects(words().open(FORMS.deep, { ...CELL, version: 0 }), Malformed);
});

test("a version must be that of the text in a table without version columns", async () => {
  const sealer = words();
  const { text: envelope } = await sealer.seal("value", CELL);
  for (const version of [2, 2n, "2"]) assert.equal(await sealer.open(envelope, { ...CELL, version }), "value");
  for (const [text, version] of [[envelope, 0], [envelope, 1], ["plain", 1], ["plain", 2], [envelope, null]]) {
    await assert.rejects(sealer.open(text, { ...CELL, version }), Malformed);
  }
  const direct = words({ unmarked: "direct-aes" });
  await assert.rejects(direct.open("plain", { ...CELL, version: 0 }), Malformed);
  await assert.rejects(direct.open("plain", { ...CELL, version: 1 }), Refused);
});

test("a key without a type that may have two spellings is refused", async () => {
  const spaces = [
    ...Array.from({ length: 5 }, (_, at) => 9 + at), ...Array.from({ length: 5 }, (_, at) => 0x1c + at), 0x85, 0xa0, 0x1680,
    ...Array.from({ length: 11 }, (_, at) => 0x2000 + at), 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff,
  ];
  const keys = [...spaces.map((space) => `a${String.fromCharCode(space)}`), "9".repeat(19), "0".repeat(40), "-9223372036854775809"];
  for (const id of keys) await assert.rejects(words().seal("v", { ...CELL, row: { id } }), Refused, JSON.stringify(id));
});

test("an unknown floor is refused under every other setting", () => {
  process.env.READ_FLOOR = "bogus";
  try {
    for (const binding of ["accept-unbound", "require", "off"]) {
      for (const plaintextPolicy of ["allow", "allow-read", "forbid"]) {
        assert.throws(() => vod(new MemoryKms(), { binding, plaintextPolicy }), ConfigurationError);
      }
    }
  } finally {
    delete process.env.READ_FLOOR;
  }
});
