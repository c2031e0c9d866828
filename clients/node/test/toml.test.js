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

test("what TOML 1.1 and files of other systems have is read as the programs read it", () => {
  const text = [
    '\ufeff# tab\there', "bits = 2_56", 'inline = {', "  # a comment", '  a = "x", b = [ 1, ],', "}", 'escapes = "\\e\\x41\\xe9"',
    'lines = """', "customer", 'tokens"""', 'folded = """a \\  ', "", '  b"""', "raw = '''", "x", "y'''", "[context] # end", 'A = "b"', "",
  ];
  for (const end of ["\n", "\r\n"]) {
    assert.deepEqual(plain(parseToml(text.join(end))), {
      bits: 256, inline: { a: "x", b: [1] }, escapes: "\x1bA\u00e9", lines: `customer${end}tokens`, folded: "a b", raw: `x${end}y`,
      context: { A: "b" },
    });
  }
});

test("what is not TOML, or not understood, is refused by line and without its text", () => {
  const broken = [
    "a", "a =", "a = 1 b = 2", "a = b", 'a = "x', "a = 'x", 'a = """x', "a = [1", "a = {b = 1", "a = 1.5", "a = 2026-11-22",
    "a = 0x10", "a = 1__0", "a = 1_", "a = _1", "a = 0_1", "a = 01", "a = truely", "a = 1\na = 2", "[a]\n[a]", "a = 1\n[a]", "[[a]]\n[a]", "a = []\n[[a]]",
    "a = {}\n[a]", "a = {}\na.b = 1", "[a]\nb = 1\n[a.b]", 'a = "\\x"', 'a = "\\ud800"', "[a", "[[a]", "= 1", "a..b = 1",
    'a = "line\nbreak"', 'a = "\u0001"', "a = inf", "a = 1 # \0", "# \x07\na = 1", "# \x7f", "# \r x", "a = 1\r", "a = { , }", "a = { b = 1,, }", "a = {\n# \x1f\n}",
    'a = "\\x4"', 'a = "\\xg0"', 'a = """\r"""', "a = '''x\ry'''", 'a = """\\\n\r"""', "secret-value-of-another-file",
  ];
  for (const text of broken) {
    assert.throws(() => parseToml(text), (error) => {
      return error instanceof ConfigurationError && /line \d+/.test(error.message) && !error.message.includes("secret");
    }, text);
  }
});
