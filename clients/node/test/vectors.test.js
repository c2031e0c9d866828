/** Every vector of the project opens or is refused as it says. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Binding } from "../src/binding.js";
import { sealV3 } from "../src/envelopes.js";
import { Malformed, NotAuthentic, Profile, Refused, Sealer } from "../src/index.js";
import { ARN, CRM_CELL, FixedKms, KmsFailure, VOD_CELL, crm, given, vectorFile, vod } from "./support.js";

const BOUND = vectorFile("bound.json").vectors;
const FORMATS = vectorFile("formats.json").vectors;
const CANONICAL = vectorFile("canonical.json");
const b64 = (text) => Buffer.from(text, "base64");

/** A sealer whose profile is the vector's table, and the vector's cell. */
function sealerFor({ binding, data_key: dataKey }) {
  const columns = [...binding.key, ...binding.owner].map(([name]) => name);
  const [row, owner] = [Object.fromEntries(binding.key), Object.fromEntries(binding.owner)];
  const table = {
    name: binding.table,
    key: binding.key.map(([name]) => name),
    owner: binding.owner.map(([name]) => name),
    tokens: [binding.column],
    types: Object.fromEntries(columns.map((name) => [name, "text"])),
  };
  const profile = Profile.fromObject({ name: "vectors", context: { Application: "test" }, tables: [table] });
  const cell = { table: binding.table, column: binding.column, row, owner };
  return { sealer: new Sealer({ kms: new FixedKms(b64(dataKey)), keyId: ARN, profile }), cell };
}

for (const vector of BOUND) {
  test(`bound vector ${vector.name} opens or is refused as it says`, async () => {
    const { sealer, cell } = sealerFor(vector);
    if (vector.name.startsWith("fail_")) {
      const expected = { malformed: Malformed, not_authentic: NotAuthentic }[vector.error];
      const isMarked = vector.stored.startsWith("kms:v3:");
      await assert.rejects(sealer.open(vector.stored, cell), (error) =>
        isMarked ? error instanceof expected : error instanceof expected || error instanceof Refused,
      );
      return;
    }
    const plaintext = b64(vector.plaintext);
    if (!plaintext.equals(Buffer.from(plaintext.toString()))) {
      await assert.rejects(sealer.open(vector.stored, cell), Malformed);
    } else {
      assert.equal(await sealer.open(vector.stored, cell), plaintext.toString());
      assert.equal(await sealer.open(vector.stored, { ...cell, version: 2 }), plaintext.toString());
    }
    const { table, column, key, owner } = vector.binding;
    const binding = new Binding(table, column, key, owner);
    assert.equal(binding.canonical().toString("hex"), vector.canonical_binding);
    const keys = [b64(vector.data_key), b64(vector.wrapped_data_key)];
    const stored = sealV3(Number(vector.suite), ...keys, binding, plaintext, b64(vector.message_id));
    assert.equal(stored, vector.stored);
  });
}

for (const [at, vector] of FORMATS.entries()) {
  test(`format vector ${at} of ${vector.format} is read as its row says`, async () => {
    const { stored } = vector;
    if (vector.format.startsWith("kms-v2")) {
      for (const plain of [false, true]) {
        const sealer = vod(new FixedKms(b64(vector.data_key), plain));
        assert.equal(await sealer.open(stored, VOD_CELL), vector.plaintext);
        assert.equal(await sealer.open(stored, { ...VOD_CELL, version: 2 }), vector.plaintext);
      }
      return;
    }
    const kms = new FixedKms(Buffer.alloc(32));
    await assert.rejects(vod(kms).open(stored, { ...VOD_CELL, version: 2 }), Malformed);
    if (vector.format === "direct-aes") {
      const sealer = vod(kms, { encryptionKey: vector.encryption_key });
      assert.equal(await sealer.open(stored, { ...VOD_CELL, version: 1 }), vector.plaintext);
      await assert.rejects(sealer.open(stored, VOD_CELL), Refused);
      return;
    }
    for (const version of [0, null]) await assert.rejects(vod(kms).open(stored, { ...VOD_CELL, version }), Malformed);
    await assert.rejects(crm(kms).open(stored, CRM_CELL), Refused);
    const legacy = async (text, cell) => `${cell.row.id} ${cell.owner.tenant_id} ${text.length}`;
    assert.equal(await crm(kms, { legacy }).open(stored, CRM_CELL), `7 acme ${stored.length}`);
  });
}

const profile = Profile.fromObject(CANONICAL.profile);
for (const vector of CANONICAL.vectors) {
  test(`canonical vector ${vector.name}: keys become the text that the database stores`, async () => {
    const contexts = [];
    const kms = new FixedKms(Buffer.alloc(32));
    kms.decrypt = async ({ EncryptionContext }) => {
      contexts.push(EncryptionContext);
      throw Object.assign(new Error(), { name: "InvalidCiphertextException", $fault: "client" });
    };
    const sealer = new Sealer({ kms, keyId: ARN, profile });
    const cell = { table: vector.table, column: vector.column, row: given(vector.row), owner: given(vector.owner) };
    const anEnvelope = FORMATS.find(({ format }) => format === "kms-v2").stored;
    if (vector.name.startsWith("fail_")) {
      await assert.rejects(sealer.open(anEnvelope, cell), Refused);
      await assert.rejects(sealer.seal("x", cell), Refused);
      return;
    }
    await assert.rejects(sealer.open(anEnvelope, cell), NotAuthentic);
    assert.deepEqual(contexts, [vector.bound_context, vector.plain_context]);
    const table = profile.table(vector.table);
    const name = (column) => table.boundColumns.get(column) ?? column;
    const pairs = (columns, values) => columns.map((column) => [name(column), values[column] ?? ""]);
    const [key, owner] = [pairs(table.key, vector.canonical_row), pairs(table.owner, vector.canonical_owner)];
    const binding = new Binding(table.boundAs, name(vector.column), key, owner);
    assert.equal(binding.canonical().toString("hex"), vector.canonical_binding);
  });
}

for (const vector of vectorFile("envelope_v2.json").vectors) {
  test(`version 2 vector ${vector.name} opens under its context or is refused as it says`, async () => {
    const asked = [];
    const kms = new FixedKms(b64(vector.data_key));
    const decrypt = kms.decrypt.bind(kms);
    kms.decrypt = async (input) => {
      asked.push(input.EncryptionContext);
      const isOther = JSON.stringify(Object.entries(input.EncryptionContext).sort()) !== JSON.stringify(Object.entries(vector.context ?? {}).sort());
      if (vector.context !== undefined && isOther) throw new KmsFailure("InvalidCiphertextException");
      return decrypt(input);
    };
    const channel = vector.name === "an_empty_key_value_leaves_the_context" ? "" : "my-channel";
    const opening = vod(kms).open(vector.stored, { ...VOD_CELL, row: { provider: "twitch", channel }, version: 2 });
    if (vector.name === "not_text") return assert.rejects(opening, Malformed);
    if (vector.name.startsWith("fail_")) {
      return assert.rejects(opening, { malformed: Malformed, not_authentic: NotAuthentic }[vector.error]);
    }
    assert.equal(await opening, b64(vector.plaintext).toString());
    assert.deepEqual(asked.at(-1), vector.context);
  });
}
