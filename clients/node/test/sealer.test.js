/** A value opens in its own cell, under the rules of the configuration, and nowhere else. */

import assert from "node:assert/strict";
import { createCipheriv, hkdfSync } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";

import { Binding } from "../src/binding.js";
import { openV3 } from "../src/envelopes.js";
import {
  ConfigurationError, KeyServiceError, Malformed, NotAuthentic, Profile, Refused, Sealer, TokensealError, Unsupported,
} from "../src/index.js";
import {
  ALIAS, ARN, CANARY, CRM_CELL, KmsFailure, MemoryKms, OTHER_ARN, VOD_CELL, crm, vectorFile, vod,
} from "./support.js";

const FORMS = [{}, { envelopeFormat: "v3" }, { envelopeFormat: "v3", suite: "chacha20-poly1305" }, { binding: "off" }];
const TEXTS = ["x", "gho_16C7e42F292c6912E7710c838347Ae178B4a", "tök€n-ünï-🔑\0 \"'\\", "\ufeffkms:v2:", "y".repeat(65_536)];
const DIRECT = vectorFile("formats.json").vectors.find(({ format }) => format === "direct-aes");
const KEY = Buffer.alloc(32, 7).toString("base64");

test("what is sealed opens, whatever the reader is configured to write", async () => {
  const kms = new MemoryKms();
  for (const options of FORMS) {
    for (const text of TEXTS) {
      const sealed = await vod(kms, options).seal(text, VOD_CELL);
      assert.deepEqual({ ...sealed, text: "" }, { text: "", keyId: ARN, version: 2, method: "kms-envelope" });
      for (const other of FORMS) {
        const cell = { ...VOD_CELL, version: 2, keyId: sealed.keyId };
        assert.equal(await vod(kms, other).open(sealed.text, cell), text);
      }
    }
  }
});

test("null and the empty string stay what they are and cost no call", async () => {
  const kms = new MemoryKms();
  assert.equal(await vod(kms).open(null, { ...VOD_CELL, version: 2 }), null);
  assert.equal(await vod(kms).open("", { ...VOD_CELL, version: 2 }), "");
  assert.deepEqual(await vod(kms).seal("", VOD_CELL), { text: "", keyId: null, version: 2, method: "kms-envelope" });
  assert.deepEqual(kms.calls, []);
});

test("a moved value does not open, even with a warm cache", async () => {
  const others = [{ row: { id: 8 } }, { owner: { tenant_id: "other" } }, { owner: { tenant_id: null } }, { column: "phone" }];
  for (const options of FORMS.slice(0, 3)) {
    const sealer = crm(new MemoryKms(), options);
    const { text } = await sealer.seal(CANARY, CRM_CELL);
    assert.equal(await sealer.open(text, CRM_CELL), CANARY);
    for (const other of others) await assert.rejects(sealer.open(text, { ...CRM_CELL, ...other }), NotAuthentic);
  }
});

test("every changed byte and every truncation is refused", async () => {
  for (const options of FORMS.slice(0, 3)) {
    const sealer = crm(new MemoryKms(), options);
    const { text } = await sealer.seal(CANARY, CRM_CELL);
    for (let at = 0; at < text.length; at += 1) {
      for (const replacement of ["A", "B", "=", " ", ""]) {
        const changed = text.slice(0, at) + replacement + text.slice(at + 1);
        if (changed !== text) await assert.rejects(sealer.open(changed, CRM_CELL), TokensealError);
      }
      if (at > 0) await assert.rejects(sealer.open(text.slice(0, at), CRM_CELL), TokensealError);
    }
  }
});

test("a text that contradicts its row's version is never returned", async () => {
  const sealer = vod(new MemoryKms(), { encryptionKey: KEY });
  const { text } = await sealer.seal("x", VOD_CELL);
  const direct = Buffer.alloc(60).toString("base64");
  for (const each of ["gho_plain", "v1|x", "kms:v9:AAAA", " kms:v2:AAAA", direct]) {
    await assert.rejects(sealer.open(each, { ...VOD_CELL, version: 2 }), Malformed);
  }
  for (const version of [0, 1, null, 0n]) await assert.rejects(sealer.open(text, { ...VOD_CELL, version }), Malformed);
  for (const version of [3, -1, "x", true, "02", NaN, {}]) {
    await assert.rejects(sealer.open("gho_plain", { ...VOD_CELL, version }), Malformed);
  }
});

test("plaintext is read only where the version column says so", async () => {
  for (const version of [0, null, "0", 0n]) {
    assert.equal(await vod(new MemoryKms()).open("gho_plain", { ...VOD_CELL, version }), "gho_plain");
    assert.equal(await vod(new MemoryKms()).open('{"broken', { ...VOD_CELL, version }), '{"broken');
  }
  await assert.rejects(vod(new MemoryKms()).open("gho_plain", VOD_CELL), Refused);
  await assert.rejects(crm(new MemoryKms()).open("plain@example.org", CRM_CELL), Refused);
});

test("policies mean what they mean in the programs", async () => {
  const kms = new MemoryKms();
  const bound = (await vod(kms).seal("x", VOD_CELL)).text;
  const plain = (await vod(kms, { binding: "off" }).seal("x", VOD_CELL)).text;
  const opens = async (text, version, options) => {
    try {
      const sealer = vod(kms, { encryptionKey: DIRECT.encryption_key, ...options });
      return (await sealer.open(text, { ...VOD_CELL, version })) === "x";
    } catch (error) {
      assert(error instanceof Refused, error);
      return false;
    }
  };
  assert(await opens("x", 0, { plaintextPolicy: "allow-read" }));
  assert(!(await opens("x", 0, { plaintextPolicy: "forbid" })));
  assert(await opens(plain, 2, {}));
  assert(!(await opens(plain, 2, { binding: "require" })));
  const values = [["x", 0], [DIRECT.stored, 1], [plain, 2], [bound, 2]];
  const floors = { any: [true, true, true, true], envelope: [false, false, true, true], bound: [false, false, false, true] };
  for (const [floor, expected] of Object.entries(floors)) {
    const got = [];
    for (const [text, version] of values) got.push(await opens(text, version, { floor }));
    assert.deepEqual(got, expected, floor);
  }
  await assert.rejects(crm(kms, { floor: "envelope", legacy: (text) => text }).open("old", CRM_CELL), Refused);
});

test("the environment configures what is not given", async (context) => {
  const file = join(mkdtempSync(join(tmpdir(), "tokenseal-")), "key");
  writeFileSync(file, `${KEY}\n`);
  const set = { ENVELOPE_FORMAT: "v3", KMS_KEY_ID: ARN, ENCRYPTION_CONTEXT: "Application=a,Purpose=b", ENCRYPTION_KEY_FILE: file };
  Object.assign(process.env, set);
  context.after(() => Object.keys(set).forEach((name) => delete process.env[name]));
  const kms = new MemoryKms();
  const sealer = new Sealer({ kms });
  assert.match((await sealer.seal("x", VOD_CELL)).text, /^kms:v3:/);
  assert.deepEqual([...sealer.profile.context], [["Application", "a"], ["Purpose", "b"]]);
  const given = Profile.load("vod-tender");
  assert.deepEqual([...new Sealer({ kms, profile: given }).profile.context], [["Application", "a"], ["Purpose", "b"]]);
  const chosen = given.withContext({ Application: "c" });
  assert.deepEqual([...new Sealer({ kms, profile: chosen }).profile.context], [["Application", "c"]]);
  assert.match((await new Sealer({ kms, envelopeFormat: "v2" }).seal("x", VOD_CELL)).text, /^kms:v2:/);
  const wrong = {
    ENVELOPE_FORMAT: "v4", BINDING: "maybe", PLAINTEXT_POLICY: "no", READ_FLOOR: "low", DEK_CACHE_TTL: "soon",
    ENCRYPTION_CONTEXT: "table=x", ENCRYPTION_KEY: KEY, KMS_KEY_ID: "keyring:k",
  };
  for (const [name, value] of Object.entries(wrong)) {
    const before = process.env[name];
    process.env[name] = value;
    assert.throws(() => new Sealer({ kms }), Refused, name);
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  }
});

test("numbers and files of secrets are taken as the programs take them", (context) => {
  context.after(() => ["DEK_CACHE_MAX", "ENCRYPTION_KEY_FILE"].forEach((name) => delete process.env[name]));
  const made = () => new Sealer({ kms: new MemoryKms(), keyId: ARN, profile: "vod-tender" });
  for (const text of ["5", "+5", "007", " 5 ", "9999999999", "18446744073709551615", "0"]) {
    process.env["DEK_CACHE_MAX"] = text;
    assert.ok(made(), text);
  }
  for (const text of ["-5", "++5", "+", "1_0", "5.0", "1e3", "18446744073709551616", "0x5", "\u0665"]) {
    process.env["DEK_CACHE_MAX"] = text;
    assert.throws(made, ConfigurationError, text);
  }
  delete process.env["DEK_CACHE_MAX"];
  const file = join(mkdtempSync(join(tmpdir(), "tokenseal-")), "key");
  process.env["ENCRYPTION_KEY_FILE"] = file;
  for (const content of ["", "\n", "\r\n", " ", " \n\n"]) {
    writeFileSync(file, content);
    assert.throws(made, { name: "ConfigurationError", message: /empty/ }, JSON.stringify(content));
  }
  process.env["ENCRYPTION_KEY_FILE"] = "";
  assert.ok(made());
});

test("unusable settings are refused", () => {
  const cases = [
    [{ envelopeFormat: "v1" }, ConfigurationError], [{ envelopeFormat: "v3", binding: "off" }, ConfigurationError],
    [{ binding: "off", floor: "bound" }, ConfigurationError], [{ suite: "rot13" }, ConfigurationError],
    [{ encryptionKey: "c2hvcnQ=" }, ConfigurationError], [{ keyId: "keyring:keys.json" }, Unsupported],
    [{ keyId: "vault:transit" }, Unsupported], [{ keyId: `${ARN},${OTHER_ARN}` }, Unsupported],
    [{ keyId: "arn:aws:s3:::bucket" }, ConfigurationError], [{ allowedKeys: ARN }, ConfigurationError],
    [{ kms: {} }, ConfigurationError],
  ];
  for (const [options, kind] of cases) {
    assert.throws(() => new Sealer({ kms: new MemoryKms(), keyId: ARN, profile: "vod-tender", ...options }), kind);
  }
});

test("a profile that could bind wrongly is refused", () => {
  const table = { name: "t", key: ["id"], tokens: ["a"] };
  const fields = { name: "p", context: { a: "b" }, tables: [table] };
  Profile.fromObject(fields);
  const changes = [
    { extra: 1 }, { name: "" }, { context: { id: "x" } }, { context: { table: "x" } }, { context: { a: 1 } }, { tables: [] },
    { floor: "high" }, { unmarked: "maybe" }, { tables: [{ ...table, key: [] }] }, { tables: [{ ...table, tokens: ["id"] }] },
    { tables: [{ ...table, bound_As: "x" }] }, { tables: [{ ...table, bound_columns: { b: "x" } }] },
    { tables: [{ ...table, tokens: ["a", "b"], bound_columns: { b: "a" } }] }, { tables: [table, table] },
    { tables: [{ ...table, types: { a: "text" } }] }, { tables: [table, { ...table, name: "u", bound_as: "t" }] },
  ];
  for (const change of changes) {
    assert.throws(() => Profile.fromObject({ ...fields, ...change }), ConfigurationError, JSON.stringify(change));
  }
});

test("a key that is not allowed is refused before any call, even with a warm cache", async () => {
  const kms = new MemoryKms();
  const foreign = await new Sealer({ kms, keyId: OTHER_ARN, profile: "vod-tender" }).seal(CANARY, VOD_CELL);
  const both = vod(kms, { allowedKeys: [OTHER_ARN] });
  assert.equal(await both.open(foreign.text, { ...VOD_CELL, keyId: OTHER_ARN }), CANARY);
  assert.equal(await both.open(foreign.text, VOD_CELL), CANARY);
  const strict = vod(kms);
  const { text } = await strict.seal(CANARY, VOD_CELL);
  await strict.open(text, { ...VOD_CELL, keyId: ARN });
  kms.calls.length = 0;
  await assert.rejects(strict.open(foreign.text, { ...VOD_CELL, keyId: OTHER_ARN }), Refused);
  await assert.rejects(strict.open(text, { ...VOD_CELL, keyId: OTHER_ARN }), Refused);
  assert.deepEqual(kms.calls, []);
  await assert.rejects(strict.open(foreign.text, VOD_CELL), (error) => error instanceof KeyServiceError && error.kind === "wrong_key");
});

test("an alias names its key and no other", async () => {
  const kms = new MemoryKms();
  const sealed = await new Sealer({ kms, keyId: ALIAS, profile: "vod-tender" }).seal("x", VOD_CELL);
  assert.equal(sealed.keyId, ARN);
  const fresh = new Sealer({ kms, keyId: ALIAS, profile: "vod-tender" });
  for (const keyId of [ARN, ALIAS, null]) assert.equal(await fresh.open(sealed.text, { ...VOD_CELL, keyId }), "x");
  await assert.rejects(fresh.open(sealed.text, { ...VOD_CELL, keyId: OTHER_ARN }), Refused);
});

test("an answer for another key, or none of KMS, is an error and seals nothing", async () => {
  const { text } = await vod(new MemoryKms()).seal("x", VOD_CELL);
  const answers = [{ KeyId: OTHER_ARN }, { KeyId: undefined }, { Plaintext: undefined }, { Plaintext: Buffer.alloc(32) }, { CiphertextBlob: Buffer.alloc(0) }];
  for (const answer of answers) {
    const kms = new MemoryKms();
    const generate = kms.generateDataKey.bind(kms);
    kms.generateDataKey = async (input) => ({ ...(await generate(input)), ...answer });
    await assert.rejects(vod(kms).seal("x", VOD_CELL), KeyServiceError);
  }
  const kms = new MemoryKms();
  const decrypt = kms.decrypt.bind(kms);
  kms.decrypt = async (input) => ({ ...(await decrypt(input)), KeyId: OTHER_ARN });
  kms.keys.set(ARN, kms.keys.get(ARN));
  await assert.rejects(vod(kms).open(text, VOD_CELL), KeyServiceError);
});

test("failures of the key service are distinguished and carry no text of it", async () => {
  const kinds = {
    AccessDeniedException: "denied", ExpiredTokenException: "denied", NotFoundException: "not_found",
    DisabledException: "disabled", KMSInvalidStateException: "pending_deletion", ThrottlingException: "throttled",
    KMSInternalException: "unavailable", DependencyTimeoutException: "timeout", ValidationException: "invalid_request",
  };
  const kms = new MemoryKms();
  const { text } = await vod(kms).seal(CANARY, VOD_CELL);
  for (const [code, kind] of Object.entries(kinds)) {
    kms.failure = new KmsFailure(code);
    for (const call of [() => vod(kms).seal(CANARY, VOD_CELL), () => vod(kms).open(text, VOD_CELL)]) {
      await assert.rejects(call, (error) => {
        assert.equal(error.kind, kind);
        assert.equal(error.isRetryable, ["throttled", "unavailable", "timeout"].includes(kind));
        return error instanceof KeyServiceError && !inspect(error).includes(CANARY);
      });
    }
  }
});

test("a refusal of an unknown kind is denied", async () => {
  for (const status of [401, 403]) {
    const kms = new MemoryKms();
    kms.failure = new KmsFailure("OfALaterServiceException", status);
    await assert.rejects(vod(kms).seal("x", VOD_CELL), { kind: "denied" });
  }
});

test("a field of a profile that is null is one that is not given", () => {
  const table = { name: "t", key: ["id"], tokens: ["a"], owner: null, version: null, types: null, later: null };
  const profile = Profile.fromObject({ name: "p", context: { a: "b" }, tables: [table], floor: null, later: null });
  assert.equal(profile.floor, "any");
});

test("the cache saves calls, is bounded and keeps no failure", async () => {
  const kms = new MemoryKms();
  const sealer = vod(kms, { cacheMax: 2 });
  const texts = [];
  for (const value of ["0", "1", "2"]) texts.push((await sealer.seal(value, VOD_CELL)).text);
  kms.calls.length = 0;
  for (let turn = 0; turn < 3; turn += 1) assert.equal(await sealer.open(texts[0], VOD_CELL), "0");
  assert.deepEqual(kms.calls, ["Decrypt"]);
  for (const text of [...texts, texts[0]]) await sealer.open(text, VOD_CELL);
  assert.equal(kms.calls.length, 4);
  kms.failure = new KmsFailure("ThrottlingException");
  assert.equal(await sealer.open(texts[0], VOD_CELL), "0");
  await assert.rejects(sealer.open(texts[1], VOD_CELL), KeyServiceError);
  kms.failure = undefined;
  assert.equal(await sealer.open(texts[1], VOD_CELL), "1");
});

test("many cold readers of one value make one call", async () => {
  const kms = new MemoryKms();
  const sealer = vod(kms);
  const { text } = await sealer.seal("x", VOD_CELL);
  const opened = await Promise.all(Array.from({ length: 1000 }, () => sealer.open(text, VOD_CELL)));
  assert(opened.every((value) => value === "x"));
  assert.equal(kms.calls.filter((call) => call === "Decrypt").length, 1);
});

test("no error carries a value, a key or a stored text", async () => {
  const legacy = (text) => {
    throw new Error(text);
  };
  const sealer = crm(new MemoryKms(), { legacy, encryptionKey: KEY });
  const { text } = await sealer.seal(CANARY, CRM_CELL);
  const attempts = [
    [`${text.slice(0, -4)}AAAA`, {}], [CANARY, {}], [CANARY, { version: 1 }], [CANARY, { version: 2 }],
    [CANARY, { row: { id: CANARY } }], [CANARY, { owner: { tenant_id: 5 } }], [`\ud800${CANARY}`, {}],
    [`kms:v2:${CANARY}`, {}], [`kms:v3:${CANARY}`, {}], [{ [CANARY]: 1 }, {}],
  ];
  for (const [stored, change] of attempts) {
    await assert.rejects(sealer.open(stored, { ...CRM_CELL, ...change }), (error) => {
      const shown = inspect(error, { depth: 9 });
      return error instanceof TokensealError && !shown.includes(CANARY) && !shown.includes(text.slice(7, 60));
    });
  }
  for (const value of ["x".repeat(2 ** 20 + 1), "\ud800", 5, null]) await assert.rejects(sealer.seal(value, CRM_CELL), Refused);
  assert(!inspect(sealer, { depth: 9, showHidden: true }).includes(KEY));
});

test("two seals of a value differ, and each has a data key of its own", async () => {
  const kms = new MemoryKms();
  const texts = new Set();
  for (let turn = 0; turn < 100; turn += 1) texts.add((await vod(kms).seal("x", VOD_CELL)).text);
  assert.equal(texts.size, 100);
  assert.equal(kms.calls.length, 100);
});

test("a warm cache does not open a value under a key that its row does not name", async () => {
  const sealer = vod(new MemoryKms(), { allowedKeys: [OTHER_ARN] });
  const { text } = await sealer.seal(CANARY, VOD_CELL);
  assert.equal(await sealer.open(text, { ...VOD_CELL, keyId: ARN }), CANARY);
  await assert.rejects(sealer.open(text, { ...VOD_CELL, keyId: OTHER_ARN }), KeyServiceError);
});

test("a value that does not commit to its key is refused although its tag is right", () => {
  const key = Buffer.alloc(32, 5);
  const binding = new Binding("t", "c", [], []);
  const derived = (info) => Buffer.from(hkdfSync("sha512", key, Buffer.alloc(32), info, 32));
  const contentKey = derived(Buffer.concat([Buffer.from([4, 0x78]), Buffer.from("DERIVEKEY")]));
  const opened = (commitment) => {
    const header = Buffer.concat([Buffer.from([3, 4, 0x78, 0]), Buffer.alloc(32), commitment]);
    const cipher = createCipheriv("aes-256-gcm", contentKey, Buffer.alloc(12));
    cipher.setAAD(Buffer.concat([Buffer.from("tokenseal bound envelope v3\0"), header, binding.canonical()]));
    const payload = Buffer.concat([cipher.update("x"), cipher.final(), cipher.getAuthTag()]);
    return openV3({ cipher: "aes-256-gcm", header, wrapped: Buffer.alloc(1), payload }, key, binding).toString();
  };
  assert.equal(opened(derived(Buffer.from("COMMITKEY"))), "x");
  assert.throws(() => opened(Buffer.alloc(32)), NotAuthentic);
});

test("keys of the built-in profiles have types", async () => {
  const upper = "6F9619FF-8B86-D011-B42D-00CF4FC964FF";
  const uuids = { row: { id: upper }, owner: { user_id: upper } };
  const cells = [
    ["vod-tender", "oauth_tokens", { row: { provider: "2026-01-01", channel: "007" } }],
    ["pulseplan", "oauth_tokens", uuids],
    ...["gh", "jira", "slack", "confluence"].map((name) => ["autonomous", `${name}_connection`, { row: { id: "007" } }]),
  ];
  for (const [profile, table, names] of cells) {
    const sealer = new Sealer({ kms: new MemoryKms(), keyId: ARN, profile });
    const cell = { table, column: "access_token", ...names };
    assert.equal(await sealer.open((await sealer.seal("x", cell)).text, cell), "x");
  }
});
