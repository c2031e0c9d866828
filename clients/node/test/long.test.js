/** Long texts are read once, whatever is in them. A pattern that tries each place again would take minutes on these. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { detect } from "../src/detection.js";
import { parseDuration } from "../src/duration.js";
import { Malformed, Refused } from "../src/index.js";
import { canonical } from "../src/row-keys.js";

const LONG = JSON.parse(readFileSync(new URL("../../shared/long.json", import.meta.url), "utf8"));

function textOf({ begins, repeats, ends }) {
  return begins + repeats.repeat(Math.floor(LONG.length / repeats.length)) + ends;
}

for (const shape of LONG.texts) {
  test(`a long text of any shape is detected: ${JSON.stringify(shape)}`, () => {
    if (shape.claim === "refused") assert.throws(() => detect(textOf(shape)), Malformed);
    else assert.equal(detect(textOf(shape)), shape.claim);
  });
}

test("a long key of any shape is taken or refused", () => {
  for (const shape of LONG.keys) {
    const key = textOf(shape);
    if (shape.is_taken) assert.ok(canonical("id", undefined, key) === key, JSON.stringify(shape));
    else assert.throws(() => canonical("id", undefined, key), Refused, JSON.stringify(shape));
  }
});

test("a long duration of any shape is read or refused", () => {
  for (const shape of LONG.durations) assert.equal(parseDuration(textOf(shape)) !== undefined, shape.is_one, JSON.stringify(shape));
});

test("a text of 32 MiB is detected, although a pattern would keep too many of its characters to go back to", () => {
  assert.equal(detect(`x"${'\\"'.repeat(1 << 24)}`), "plaintext");
  assert.equal(detect(`${"0".repeat(32)}:${"0".repeat(32)}:${"00".repeat(1 << 24)}`), "other");
});
