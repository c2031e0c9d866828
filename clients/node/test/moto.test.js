/** The real AWS SDK against an independent emulation of AWS KMS. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { KeyServiceError, NotAuthentic, Refused, Sealer } from "../src/index.js";
import { CANARY, CRM, CRM_CELL, MOTO, VOD_CELL } from "./support.js";

const sdk = await import("@aws-sdk/client-kms").catch(() => undefined);
const skip = MOTO === undefined ? "moto does not run" : sdk === undefined ? "the AWS SDK is not installed" : false;
const configuration = (endpoint = MOTO) => ({
  endpoint, region: "us-east-1", credentials: { accessKeyId: "testing", secretAccessKey: "testing" }, maxAttempts: 1,
});

async function key() {
  const kms = new sdk.KMS(configuration());
  const { KeyMetadata: { Arn: arn } } = await kms.createKey({});
  const alias = `alias/clients-${randomUUID()}`;
  await kms.createAlias({ AliasName: alias, TargetKeyId: arn });
  return { kms, arn, alias };
}

test("values are sealed and opened with both of the SDK's clients", { skip }, async () => {
  const { kms, arn, alias } = await key();
  for (const client of [kms, new sdk.KMSClient(configuration())]) {
    for (const envelopeFormat of ["v2", "v3"]) {
      const sealed = await new Sealer({ kms: client, keyId: alias, profile: "vod-tender", envelopeFormat }).seal(CANARY, VOD_CELL);
      assert.equal(sealed.keyId, arn);
      for (const keyId of [arn, alias, null]) {
        const reader = new Sealer({ kms: client, keyId: alias, profile: "vod-tender" });
        assert.equal(await reader.open(sealed.text, { ...VOD_CELL, version: 2, keyId }), CANARY);
      }
      const crm = new Sealer({ kms: client, keyId: arn, profile: CRM, envelopeFormat });
      const { text } = await crm.seal(CANARY, CRM_CELL);
      await assert.rejects(crm.open(text, { ...CRM_CELL, row: { id: 8 } }), NotAuthentic);
    }
  }
});

test("values under another key open only where it is allowed", { skip }, async () => {
  const [{ kms, arn, alias }, { arn: other }] = [await key(), await key()];
  const { text } = await new Sealer({ kms, keyId: arn, profile: "vod-tender" }).seal(CANARY, VOD_CELL);
  const strict = new Sealer({ kms, keyId: other, profile: "vod-tender" });
  await assert.rejects(strict.open(text, { ...VOD_CELL, keyId: arn }), Refused);
  await assert.rejects(strict.open(text, VOD_CELL), KeyServiceError);
  const both = new Sealer({ kms, keyId: other, profile: "vod-tender", allowedKeys: [alias] });
  assert.equal(await both.open(text, VOD_CELL), CANARY);
});

test("a key that is not there and a service that is away are distinguished", { skip }, async () => {
  const kind = async (kms) => {
    const sealer = new Sealer({ kms, keyId: "alias/none-of-that-name", profile: "vod-tender" });
    return sealer.seal("x", VOD_CELL).then(() => "sealed", (error) => error.kind);
  };
  assert.equal(await kind(new sdk.KMS(configuration())), "not_found");
  assert.equal(await kind(new sdk.KMS(configuration("http://127.0.0.1:9"))), "unavailable");
});
