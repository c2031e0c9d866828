#!/usr/bin/env python3
"""promtool on the rules, their unit tests, the scrape configuration; every dashboard query parses; no unknown metric anywhere.

What Prometheus metrics there are stands in docs/metrics.md, which tests compare with the code. metrics.json has the error
classes, and what CloudWatch alarms may look at.
"""

import json
import re
import shutil

import common

common.enter()

import yaml  # noqa: E402

PLACE = common.INFRA / "observability"
SUFFIXES = ("_bucket", "_sum", "_count")
BUILT_IN = {"up"}
PREFIX = "vod"


def documented():
    """The metrics in the documentation's tables, each with its kind and labels."""
    text = (common.REPOSITORY / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `([\w<>]+)` \| (histogram|counter|gauge) \|([^|]*)\|", text, re.M)
    return {name.replace("<prefix>", PREFIX): (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def known_metrics():
    """Every name that may stand in a query."""
    names = set(BUILT_IN)
    for name, (kind, _) in documented().items():
        names |= {name + suffix for suffix in SUFFIXES} if kind == "histogram" else {name}
    return names


def metric_names(expression):
    """The names of metrics in a query: identifiers that are no function, keyword, label or duration."""
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\{[^}]*\}", "", text)
    text = re.sub(r"\[[^\]]*\]", "", text)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    words = re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*\b(?!\s*\()", text)
    return {word for word in words if word not in ("and", "or", "unless", "bool", "offset")}


def labels_used(expression):
    """(metric, label) pairs of selectors."""
    for name, inside in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside):
            yield name, label


def grafana(expression):
    """The query as Grafana sends it: its variables filled in."""
    return expression.replace("$__rate_interval", "5m").replace("$job", ".*")


def rules():
    for name in ("recording.rules.yml", "alerts.rules.yml"):
        for group in yaml.safe_load((PLACE / name).read_text())["groups"]:
            yield from group["rules"]


def check_names(report, what, expression, known, recorded):
    unknown = metric_names(expression) - known - recorded
    report.check(not unknown, f"{what}: every metric is one that the programs emit", str(unknown))
    listed = documented()
    for metric, label in labels_used(expression):
        base = re.sub(r"_(bucket|sum|count)$", "", metric) if metric not in listed else metric
        if base in listed:
            allowed = listed[base][1] | {"job", "instance", "le"}
            report.check(label in allowed, f"{what}: {metric} has the label {label}")
    classes = common.load(common.CHECKS / "metrics.json")["error_classes"]
    for value in re.findall(r'class="([^"]*)"', expression):
        report.check(value in classes, f"{what}: {value} is an error class")


def promtool(report, what, *arguments, cwd=PLACE):
    done = common.run(["promtool", *arguments], cwd=cwd, check=False)
    report.check(done.returncode == 0, what, done.stdout if done.returncode else "")


def check_dashboard(report, known, recorded):
    dashboard = common.load(PLACE / "dashboard.json")
    panels = dashboard["panels"]
    report.equal(len({panel["id"] for panel in panels}), len(panels), "panels have ids of their own")
    expressions = []
    for panel in panels:
        for target in panel["targets"]:
            what = f"panel {panel['title']} {target['refId']}"
            check_names(report, what, target["expr"], known, recorded)
            expressions.append(grafana(target["expr"]))
        report.check(panel["description"], f"panel {panel['title']} says what it shows")
    cells = {(x, y) for panel in panels for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
             for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])}
    area = sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels)
    report.equal(len(cells), area, "no panel covers another")
    work = common.TARGET / "dashboard-queries"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    recorded_rules = [{"record": f"panel:{index}", "expr": expression} for index, expression in enumerate(expressions)]
    (work / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": recorded_rules}]}))
    promtool(report, f"the dashboard's {len(expressions)} queries parse", "check", "rules", "rules.yml", cwd=work)


def check_documented(report):
    """What is listed is what the documentation, and so the code, knows."""
    listed = common.load(common.CHECKS / "metrics.json")
    text = (common.REPOSITORY / "docs" / "metrics.md").read_text()
    emf = listed["emf"]
    for name in [*emf["metrics"], *emf["dimensions"], emf["namespace"], *listed["error_classes"]]:
        report.check(f"`{name}`" in text, f"{name} is documented")


def main():
    report = common.Report("prometheus_rules")
    report.equal(metric_names('sum by (class) (rate(a_total{x="b"}[5m])) > 1 and c:d'), {"a_total", "c:d"}, "names are found in a query")
    report.equal(metric_names("histogram_quantile(0.99, sum by (le) (rate(a_bucket[5m])))"), {"a_bucket"}, "and no functions")
    promtool(report, "promtool checks the rules", "check", "rules", "recording.rules.yml", "alerts.rules.yml")
    promtool(report, "promtool checks the scrape configuration", "check", "config", "prometheus.yml")
    promtool(report, "the rules' unit tests pass", "test", "rules", "tests/alerts.test.yml")
    report.check(len(documented()) >= 20, "the documentation's tables are understood", str(len(documented())))
    known, recorded = known_metrics(), {rule["record"] for rule in rules() if "record" in rule}
    tests = yaml.safe_load((PLACE / "tests" / "alerts.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    for rule in rules():
        name = rule.get("alert", rule.get("record"))
        check_names(report, name, rule["expr"], known, recorded)
        if "alert" in rule:
            report.check(name in fired and name in silent, f"{name}: a test fires it and a test does not")
            runbook = common.REPOSITORY / rule["annotations"]["runbook_url"]
            report.check(runbook.is_file(), f"{name}: its runbook {rule['annotations']['runbook_url']} exists")
    check_dashboard(report, known, recorded)
    check_documented(report)
    report.finish()


if __name__ == "__main__":
    main()
