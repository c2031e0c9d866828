/** Profiles in TOML are read as the programs read them, and unknown syntax is refused. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { ConfigurationError, Profile } from "../src/index.js";
import { parseToml } from "../src/toml.js";

function plain(value) {
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, each]) => [name, plain(each)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

test("the built-in profiles are those of the programs", () => {
  const theirs = new URL("../../../crates/token-store/profiles/", import.meta.url);
  const ours = new URL("../profiles/", import.meta.url);
  for (const file of readdirSync(ours)) {
    assert.equal(readFileSync(new URL(file, ours), "utf8"), readFileSync(new URL(file, theirs), "utf8"));
    assert.equal(Profile.load(file.replace(".toml", "")).name, file.replace(".toml", ""));
  }
});

test("every construct of a profile is read", () => {
  const text = `
# a comment
name = "a\\tb\\u00e9\\U0001F511" # another
'quoted key' = 'C:\\raw'
dotted.key."x y" = true
numbers = [1, -2, +3,
  0, # with a comment
]
filter = """
line one \\
   line "two"
"""
raw = '''a'b'''
quotes = """x"""""
inline = { a = "b", c.d = [ { e = false }, {} ] }

[context]
Application = "crm"
[[tables]]
name = "one"
[tables.version]
version = "v"
[[tables]]
name = "two"
[[tables.index]]
column = "email"
[other.deep]
x = 1\r
[other]
y = 2`;
  assert.deepEqual(plain(parseToml(text)), {
    name: "a\tbé🔑",
    "quoted key": "C:\\raw",
    dotted: { key: { "x y": true } },
    numbers: [1, -2, 3, 0],
    filter: 'line one line "two"\n',
    raw: "a'b",
    quotes: 'x""',
    inline: { a: "b", c: { d: [{ e: false }, {}] } },
    context: { Application: "crm" },
    tables: [{ name: "one", version: { version: "v" } }, { name: "two", index: [{ column: "email" }] }],
    other: { deep: { x: 1 }, y: 2 },
  });
});

test("what is not TOML, or not understood, is refused by line and without its text", () => {
  const broken = [
    "a", "a =", "a = 1 b = 2", "a = b", 'a = "x', "a = 'x", 'a = """x', "a = [1", "a = {b = 1", "a = 1.5", "a = 2026-11-22",
    "a = 0x10", "a = 1_000", "a = 01", "a = truely", "a = 1\na = 2", "[a]\n[a]", "a = 1\n[a]", "[[a]]\n[a]", "a = []\n[[a]]",
    "a = {}\n[a]", "a = {}\na.b = 1", "[a]\nb = 1\n[a.b]", 'a = "\\x"', 'a = "\\ud800"', "[a", "[[a]", "= 1", "a..b = 1",
    'a = "line\nbreak"', 'a = "\u0001"', "a = inf", "secret-value-of-another-file",
  ];
  for (const text of broken) {
    assert.throws(() => parseToml(text), (error) => {
      return error instanceof ConfigurationError && /line \d+/.test(error.message) && !error.message.includes("secret");
    }, text);
  }
});
