#!/usr/bin/env python3
"""Puts sample CloudTrail events through every metric filter's pattern: which metrics count them, and which do not.

The matcher knows CloudWatch Logs' JSON patterns as far as they are used: selectors with an index, =, != and NOT EXISTS,
wildcards, &&, || and brackets. events.json holds the events in short: what is the same in all of them is added here.
"""

import fnmatch
import json
import re

import common

TOKEN = re.compile(r'\s*(\(|\)|\{|\}|&&|\|\||!=|=|NOT EXISTS|"(?:[^"\\]|\\.)*"|\$[\w.\[\]]+)')


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
        selector, operator = self.take(), self.take()
        if operator == "NOT EXISTS":
            return lambda event: select(event, selector) is None
        value = json.loads(self.take())
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
        '{ ($.none NOT EXISTS) && ($.a = "x") }': True, '{ $.a NOT EXISTS }': False, '{ $.a = "*x*" }': True,
        '{ $.r[0].ARN = "k" }': True, '{ $.r[1].ARN = "k" }': False,
    }.items():
        report.equal(matches(pattern, event), expected, f"matcher: {pattern}")
    try:
        Parser('{ $.a > 3 }').pattern()
        report.check(False, "matcher: an unknown operator is an error")
    except ValueError:
        report.check(True, "matcher: an unknown operator is an error")


def whole(sample):
    """An event as CloudTrail writes it, from its short form."""
    role = sample.get("by", "administrator")
    event = {
        "eventVersion": "1.09", "eventTime": "2026-03-01T12:00:00Z", "awsRegion": "eu-central-1",
        "eventSource": f"{sample['source']}.amazonaws.com", "eventName": sample["name"],
        "userIdentity": {
            "type": "AssumedRole", "arn": f"arn:aws:sts::123456789012:assumed-role/{role}/session",
            "sessionContext": {"sessionIssuer": {"type": "Role", "userName": role, "arn": f"arn:aws:iam::123456789012:role/{role}"}},
        },
        "requestParameters": sample.get("request"), "eventType": sample.get("type", "AwsApiCall"),
        "recipientAccountId": "123456789012", "managementEvent": True,
    }
    if "resources" in sample:
        event["resources"] = [{"accountId": "123456789012", "type": "AWS::KMS::Key", "ARN": arn} for arn in sample["resources"]]
    for name, field in {"error": "errorCode", "message": "errorMessage", "additional": "additionalEventData"}.items():
        if name in sample:
            event[field] = sample[name]
    return event


def main():
    report = common.Report("filter_patterns")
    test_matcher(report)
    samples = common.load(common.CHECKS / "events.json")
    work = common.copy("patterns") / "checks" / "fixtures" / "patterns"
    common.terraform("init", "-input=false", cwd=work)
    variables = f"-var=ours={json.dumps(samples['ours'])}"
    common.terraform("apply", "-auto-approve", "-input=false", variables, cwd=work)
    filters = json.loads(common.terraform("output", "-json", "filters", cwd=work).stdout)
    report.check(len(samples["events"]) >= 60, "the table has at least 60 events")
    unused = set(filters)
    for sample in samples["events"]:
        event = whole(sample)
        hit = {name for name, entry in filters.items() if matches(entry["pattern"], event)}
        report.equal({filters[name]["metric"] for name in hit}, set(sample["counted_by"]), sample["what"])
        unused -= hit
    report.equal(unused, set(), "every filter counts at least one sample")
    report.finish()


if __name__ == "__main__":
    main()
