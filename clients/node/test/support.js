/** Shared by the tests: vectors, a key service in memory, profiles. */

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

import { Profile, Sealer, fromDatabase } from "../src/index.js";

const VECTORS = new URL("../../../crates/envelope-core/tests/vectors/", import.meta.url);
export const ARN = "arn:aws:kms:us-east-1:111122223333:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
export const OTHER_ARN = "arn:aws:kms:us-east-1:111122223333:key/aaaaaaaa-4b5a-6978-8796-a5b4c3d2e1f0";
export const ALIAS = "alias/tokens";
export const CANARY = "canary-5f1d0c7e";
export const MOTO = process.env.TOKENSEAL_TEST_MOTO_URL;

export const VARIABLES = [
  "KMS_KEY_ID", "TOKEN_ENCRYPTION_KEY_ID", "KMS_ALLOWED_KEYS", "TOKEN_PROFILE", "ENCRYPTION_CONTEXT",
  "ENVELOPE_FORMAT", "BINDING", "PLAINTEXT_POLICY", "READ_FLOOR", "ENCRYPTION_KEY", "DEK_CACHE_TTL", "DEK_CACHE_MAX",
];
for (const name of VARIABLES) {
  delete process.env[name];
  delete process.env[`${name}_FILE`];
}

export function vectorFile(name) {
  return JSON.parse(readFileSync(new URL(name, VECTORS), "utf8"));
}

/** Shaped like the SDK's service exceptions. */
export class KmsFailure extends Error {
  constructor(code, status = 400) {
    super(`${code}: ${CANARY}`);
    this.name = code;
    this.$metadata = { httpStatusCode: status };
  }
}

/** AWS KMS's promises in memory: the key and the context of a wrapped data key must be presented again. */
export class MemoryKms {
  calls = [];
  failure = undefined;
  keys = new Map([
    [ARN, Buffer.alloc(32, 0)],
    [OTHER_ARN, Buffer.alloc(32, 1)],
  ]);

  #begin(call, keyId) {
    this.calls.push(call);
    if (this.failure !== undefined) throw this.failure;
    const arn = keyId === ALIAS ? ARN : keyId;
    if (!this.keys.has(arn)) throw new KmsFailure("NotFoundException");
    return arn;
  }

  async generateDataKey({ KeyId, EncryptionContext }) {
    const arn = this.#begin("GenerateDataKey", KeyId);
    const [plaintext, nonce] = [randomBytes(32), randomBytes(12)];
    const cipher = createCipheriv("aes-256-gcm", this.keys.get(arn), nonce);
    cipher.setAAD(context(EncryptionContext));
    const sealed = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    return { Plaintext: plaintext, CiphertextBlob: Buffer.concat([Buffer.from(arn.slice(-36)), nonce, sealed]), KeyId: arn };
  }

  async decrypt({ KeyId, CiphertextBlob, EncryptionContext }) {
    const arn = this.#begin("Decrypt", KeyId);
    const blob = Buffer.from(CiphertextBlob);
    if (!arn.endsWith(blob.subarray(0, 36).toString("latin1"))) throw new KmsFailure("IncorrectKeyException");
    try {
      const cipher = createDecipheriv("aes-256-gcm", this.keys.get(arn), blob.subarray(36, 48));
      cipher.setAAD(context(EncryptionContext));
      cipher.setAuthTag(blob.subarray(-16));
      return { Plaintext: Buffer.concat([cipher.update(blob.subarray(48, -16)), cipher.final()]), KeyId: arn };
    } catch {
      throw new KmsFailure("InvalidCiphertextException");
    }
  }

  async describeKey({ KeyId }) {
    return { KeyMetadata: { Arn: this.#begin("DescribeKey", KeyId) } };
  }
}

function context(pairs = {}) {
  return Buffer.from(JSON.stringify(Object.entries(pairs).sort()));
}

/** Unwraps everything to the data key of a vector. */
export class FixedKms {
  constructor(dataKey, plain = false) {
    this.dataKey = dataKey;
    this.plain = plain;
  }

  async decrypt({ EncryptionContext }) {
    if (this.plain && "table" in EncryptionContext) throw new KmsFailure("InvalidCiphertextException");
    return { Plaintext: Buffer.from(this.dataKey), KeyId: ARN };
  }

  async generateDataKey() {
    throw new Error("not for vectors");
  }

  async describeKey() {
    throw new Error("not for vectors");
  }
}

export const VOD_CELL = {
  table: "oauth_tokens",
  column: "access_token",
  row: { provider: "twitch", channel: "my-channel" },
};

export const CRM = Profile.fromObject({
  name: "crm",
  context: { Application: "crm", Purpose: "pii" },
  tables: [
    {
      name: "customers",
      key: ["id"],
      owner: ["tenant_id"],
      tokens: ["email", "phone"],
      types: { id: "integer", tenant_id: "text" },
    },
  ],
});
export const CRM_CELL = { table: "customers", column: "email", row: { id: 7 }, owner: { tenant_id: "acme" } };

export function vod(kms, options = {}) {
  return new Sealer({ kms, keyId: ARN, profile: "vod-tender", ...options });
}

export function crm(kms, options = {}) {
  return new Sealer({ kms, keyId: ARN, profile: CRM, ...options });
}

/** Keys and owners of a vector as the client takes them. */
export function given(values) {
  const isMark = (value) => typeof value === "object" && value !== null;
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, isMark(value) ? fromDatabase(value.from_database) : value]),
  );
}
