"""Spans of time as settings spell them. The programs read those of ``clients/shared/durations.json`` alike."""

from __future__ import annotations

import re

# 100 years of 365.25 days.
_LONGEST = 3_155_760_000.0
_SECONDS = {
    **dict.fromkeys(("nanos", "nsec", "ns"), 1e-9),
    **dict.fromkeys(("usec", "us", "µs"), 1e-6),
    **dict.fromkeys(("millis", "msec", "ms"), 1e-3),
    **dict.fromkeys(("seconds", "second", "secs", "sec", "s"), 1.0),
    **dict.fromkeys(("minutes", "minute", "mins", "min", "m"), 60.0),
    **dict.fromkeys(("hours", "hour", "hrs", "hr", "h"), 3_600.0),
    **dict.fromkeys(("days", "day", "d"), 86_400.0),
    **dict.fromkeys(("weeks", "week", "wks", "wk", "w"), 604_800.0),
    **dict.fromkeys(("months", "month", "M"), 2_630_016.0),
    **dict.fromkeys(("years", "year", "yrs", "yr", "y"), 31_557_600.0),
}
# The white space of Unicode, as the programs know it; ``\\s`` is another set in each language.
SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_NUMBER = rf"[0-9][0-9{SPACE}]*(?:\.[{SPACE}]*[0-9][0-9{SPACE}]*)?"
_WHOLE = re.compile(rf"(?:{_NUMBER}[a-zA-Zµ]+[{SPACE}]*)+")
_NO_SPACE = dict.fromkeys(map(ord, SPACE))
_PART = re.compile(rf"({_NUMBER})([a-zA-Zµ]+)")


def parse_duration(text: str) -> float | None:
    """Seconds of ``250ms``, ``90s``, ``5m``, ``1h 30m``, ``7d``, or digits alone; none for any other text."""
    text = text.strip(SPACE)
    if re.fullmatch(r"[0-9]+", text):
        text += "s"
    if len(text) > 256 or not _WHOLE.fullmatch(text):
        return None
    total = 0.0
    for number, unit in _PART.findall(text):
        if unit not in _SECONDS:
            return None
        total += float(number.translate(_NO_SPACE)) * _SECONDS[unit]
    return total if total <= _LONGEST else None
