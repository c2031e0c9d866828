#!/usr/bin/env python3
"""Puts sample CloudTrail events through every metric filter's pattern: which metrics count them, and which do not.

The matcher knows CloudWatch Logs' JSON patterns as far as they are used: selectors with an index, = and !=, wildcards,
&&, || and brackets.
"""

import fnmatch
import json
import re

import common

TOKEN = re.compile(r'\s*(\(|\)|\{|\}|&&|\|\||!=|=|"(?:[^"\\]|\\.)*"|\$[\w.\[\]]+)')


def tokens(pattern):
    place = 0
    while place < len(pattern.rstrip()):
        match = TOKEN.match(pattern, place)
        if not match:
            raise ValueError(f"not understood: {pattern[place:]!r}")
        yield match[1]
        place = match.end()


class Parser:
    """pattern = { any };  any = all || all;  all = term && term;  term = ( any ) or comparison."""

    def __init__(self, pattern):
        self.left = list(tokens(pattern))

    def take(self, wanted=None):
        token = self.left.pop(0)
        if wanted and token != wanted:
            raise ValueError(f"wanted {wanted}, found {token}")
        return token

    def pattern(self):
        self.take("{")
        found = self.any()
        self.take("}")
        if self.left:
            raise ValueError(f"more after the end: {self.left}")
        return found

    def any(self):
        parts = [self.all()]
        while self.left[0] == "||":
            self.take()
            parts.append(self.all())
        return lambda event: any(part(event) for part in parts)

    def all(self):
        parts = [self.term()]
        while self.left[0] == "&&":
            self.take()
            parts.append(self.term())
        return lambda event: all(part(event) for part in parts)

    def term(self):
        if self.left[0] == "(":
            self.take("(")
            found = self.any()
            self.take(")")
            return found
        selector, operator, value = self.take(), self.take(), json.loads(self.take())
        if operator not in ("=", "!="):
            raise ValueError(f"operator {operator} is not known here")
        return lambda event: compare(select(event, selector), value, operator)


def select(event, selector):
    """The value that $.a.b[0].c names, or None."""
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", selector):
        try:
            event = event[name] if name else event[int(index)]
        except (KeyError, IndexError, TypeError):
            return None
    return event


def compare(found, wanted, operator):
    """A missing field matches nothing, not even !=."""
    if not isinstance(found, str):
        return False
    return fnmatch.fnmatchcase(found, wanted) == (operator == "=")


def matches(pattern, event):
    return Parser(pattern).pattern()(event)


def test_matcher(report):
    event = {"a": "x", "b": {"c": "yy"}, "r": [{"ARN": "k"}]}
    for pattern, expected in {
        '{ $.a = "x" }': True, '{ $.a = "X" }': False, '{ $.b.c = "y*" }': True, '{ $.a != "y" }': True,
        '{ $.none != "y" }': False, '{ ($.a = "n") || (($.a = "x") && ($.b.c = "yy")) }': True,
        '{ $.r[0].ARN = "k" }': True, '{ $.r[1].ARN = "k" }': False,
    }.items():
        report.equal(matches(pattern, event), expected, f"matcher: {pattern}")
    try:
        Parser('{ $.a > 3 }').pattern()
        report.check(False, "matcher: an unknown operator is an error")
    except ValueError:
        report.check(True, "matcher: an unknown operator is an error")


def main():
    report = common.Report("filter_patterns")
    test_matcher(report)
    samples = common.load(common.CHECKS / "events.json")
    work = common.copy("patterns") / "checks" / "fixtures" / "patterns"
    common.terraform("init", "-input=false", cwd=work)
    variables = f"-var=key_arns={json.dumps([samples['key_arn']])}"
    common.terraform("apply", "-auto-approve", "-input=false", variables, cwd=work)
    filters = json.loads(common.terraform("output", "-json", "filters", cwd=work).stdout)
    counted = set()
    for sample in samples["events"]:
        found = {name for name, entry in filters.items() if matches(entry["pattern"], sample["event"])}
        report.equal(found, set(sample["counted_by"]), sample["what"])
        counted |= found
    report.equal(counted, set(filters), "every filter counts at least one sample")
    report.finish()


if __name__ == "__main__":
    main()
