/** Spans of time as settings spell them. The programs read those of `clients/shared/durations.json` alike. */

import { SPACE, trimmed } from "./encoding.js";

/** 100 years of 365.25 days, in milliseconds. */
const LONGEST = 3_155_760_000_000;
/** @type {Map<string, number>} */
const MILLISECONDS = new Map(
  Object.entries({
    "nanos nsec ns": 1e-6, "usec us µs": 1e-3, "millis msec ms": 1, "seconds second secs sec s": 1000,
    "minutes minute mins min m": 60_000, "hours hour hrs hr h": 3_600_000, "days day d": 86_400_000,
    "weeks week wks wk w": 604_800_000, "months month M": 2_630_016_000, "years year yrs yr y": 31_557_600_000,
  }).flatMap(([names, unit]) => names.split(" ").map((name) => /** @type {[string, number]} */ ([name, unit]))),
);
const NUMBER = `[0-9][0-9${SPACE}]*(?:\\.[${SPACE}]*[0-9][0-9${SPACE}]*)?`;
const WHOLE = new RegExp(`^(?:${NUMBER}[a-zA-Zµ]+[${SPACE}]*)+$`);
const SPACES = new RegExp(`[${SPACE}]`, "g");
const PART = new RegExp(`(${NUMBER})([a-zA-Zµ]+)`, "g");

/**
 * Milliseconds of `250ms`, `90s`, `5m`, `1h 30m`, `7d`, or digits alone for seconds; none for any other text.
 *
 * @param {string} given
 * @returns {number | undefined}
 */
export function parseDuration(given) {
  const bare = trimmed(given);
  const text = /^[0-9]+$/.test(bare) ? `${bare}s` : bare;
  if (text.length > 256 || !WHOLE.test(text)) return undefined;
  let total = 0;
  for (const [, number = "", name = ""] of text.matchAll(PART)) {
    const unit = MILLISECONDS.get(name);
    if (unit === undefined) return undefined;
    total += Number(number.replace(SPACES, "")) * unit;
  }
  return total <= LONGEST ? total : undefined;
}
