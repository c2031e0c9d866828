#!/usr/bin/env python3
"""promtool on the rules, on scenarios of what goes wrong, on the scrape configuration; every dashboard query parses; no unknown metric.

The metrics are listed in docs/metrics.md, which tests compare with the code. metrics.json has the error
classes, and what CloudWatch alarms may look at.
"""

import json
import re
import shutil
import subprocess
import sys

import common

common.enter()

import yaml  # noqa: E402

import alert_scenarios  # noqa: E402

PLACE = common.INFRA / "observability"
WORK = common.TARGET / "rules"
SUFFIXES = ("_bucket", "_sum", "_count")
# Metrics of others: Prometheus itself, the process, kube-state-metrics.
FOREIGN = {"up", "process_start_time_seconds", "kube_job_status_failed"}
RULES = ("recording.rules.yml", "alerts.rules.yml")
# Scenarios longer than this are evaluated less often.
LONG_MINUTES = 300

sys.path.insert(0, str(PLACE))
import generate  # noqa: E402


def documented():
    """The metrics in the documentation's tables, for each built-in profile, with their kind and labels."""
    text = (common.REPOSITORY / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `([\w<>]+)` \| (histogram|counter|gauge) \|([^|]*)\|", text, re.M)
    return {name.replace("<prefix>", prefix): (kind, set(re.findall(r"`(\w+)`", labels)))
            for name, kind, labels in rows for prefix in generate.PROFILES.values()}


def known_metrics():
    """Every name that may be in a query."""
    names = set(FOREIGN)
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
    words = set(words) - {"and", "or", "unless", "bool", "offset"}
    return {word for word in words if not re.fullmatch(r"\d*[smhdw]", word)}


def labels_used(expression):
    """(metric, label) pairs of selectors."""
    for name, inside in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside):
            yield name, label


def grafana(expression):
    """The query as Grafana sends it: its variables filled in."""
    return re.sub(r"\$(cluster|environment|namespace|job|profile)\b", ".*", expression)


def rules():
    for name in RULES:
        for group in yaml.safe_load((PLACE / name).read_text())["groups"]:
            yield from group["rules"]


def check_names(report, what, expression, known, recorded):
    unknown = metric_names(expression) - known - recorded
    report.check(not unknown, f"{what}: every metric is one that the programs emit", str(unknown))
    listed = documented()
    for metric, label in labels_used(expression):
        base = re.sub(r"_(bucket|sum|count)$", "", metric) if metric not in listed else metric
        if base in listed:
            allowed = listed[base][1] | {"cluster", "environment", "namespace", "job", "instance", "le"}
            report.check(label in allowed, f"{what}: {metric} has the label {label}")
    classes = common.load(common.CHECKS / "metrics.json")["error_classes"]
    for value in re.findall(r'class="([^"]*)"', expression):
        report.check(value in classes, f"{what}: {value} is an error class")


def promtool(report, what, *arguments, cwd=PLACE):
    done = common.run(["promtool", *arguments], cwd=cwd, check=False)
    report.check(done.returncode == 0, what, done.stdout if done.returncode else "")


def check_dashboards(report, known, recorded):
    seen = set()
    for file in sorted(PLACE.glob("dashboard*.json")):
        dashboard = common.load(file)
        report.check(dashboard["uid"] not in seen, f"{file.name} has a uid of its own")
        seen.add(dashboard["uid"])
        check_dashboard(report, dashboard, known, recorded)


def check_dashboard(report, dashboard, known, recorded):
    panels = dashboard["panels"]
    report.equal(len({panel["id"] for panel in panels}), len(panels), "panels have ids of their own")
    expressions = []
    for panel in panels:
        for target in panel["targets"]:
            what = f"panel {panel['title']} {target['refId']}"
            check_names(report, what, target["expr"], known, recorded)
            expressions.append(grafana(target["expr"]))
        report.check(panel["description"], f"panel {panel['title']} says what it shows")
        report.check("noValue" in panel["fieldConfig"]["defaults"], f"panel {panel['title']} says what an empty answer means")
    cells = {(x, y) for panel in panels for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
             for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])}
    area = sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels)
    report.equal(len(cells), area, "no panel covers another")
    recorded_rules = [{"record": f"panel:{index}", "expr": expression} for index, expression in enumerate(expressions)]
    queries = f"{dashboard['uid']}-queries.yml"
    (WORK / queries).write_text(json.dumps({"groups": [{"name": "panels", "rules": recorded_rules}]}))
    promtool(report, f"the {len(expressions)} queries of {dashboard['uid']} parse", "check", "rules", queries, cwd=WORK)


def check_documented(report):
    """The listed metrics are those in the documentation, and so in the code."""
    listed = common.load(common.CHECKS / "metrics.json")
    text = (common.REPOSITORY / "docs" / "metrics.md").read_text()
    emf = listed["emf"]
    for name in [*emf["metrics"], *emf["dimensions"], emf["namespace"], *listed["error_classes"]]:
        report.check(f"`{name}`" in text, f"{name} is documented")


def check_generated(report):
    """The committed files equal the generator's output, and its options work as described."""
    for path, text in generate.render(generate.parse([])).items():
        current = path.is_file() and path.read_text() == text
        report.check(current, f"{path.name} is what generate.py writes", "run infra/observability/generate.py")
    own = generate.parse(["--runbooks", "https://runbooks.test/here", "--profile", "crm=customers", "--hit-rate", "0.5", "--output", "own"])
    files = {path.name: text for path, text in generate.render(own).items()}
    report.check("customers_kms_requests_total" in files["recording.rules.yml"] and "vod_" not in files["recording.rules.yml"],
                 "a profile of one's own replaces the built-in ones")
    report.check("runbook_url: https://runbooks.test/here/denied.md" in files["alerts.rules.yml"], "runbooks have the base that was given")
    report.check("ratio15m < 0.5" in files["alerts.rules.yml"], "the least hit rate is the one that was given")
    for name in ("alerts.rules.yml", "recording.rules.yml", "prometheusrule.yaml"):
        report.check(not re.search(r"<\w+[ >]", files[name]), f"no placeholder is left in {name}")
        report.check(yaml.safe_load(files[name]), f"{name} is YAML")


def number(value):
    return f"{value:.6f}".rstrip("0").rstrip(".")


def values(series, onset, lasts):
    """A series as promtool writes it: a sample per minute, up to the onset and after it."""
    points = [series.at(minute, onset) for minute in (0, onset, onset + 1, onset + lasts)]
    written = []
    for first, last, steps in ((points[0], points[1], onset), (points[2], points[3], lasts - 1)):
        if first is None:
            written.append(f"_x{steps + 1}")
        else:
            written.append(f"{number(first)}+{number((last - first) / steps)}x{steps}")
    return " ".join(written)


def labelled(name, labels):
    """A series' name, with more labels."""
    name, _, own = name.rstrip("}").partition("{")
    more = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{own + ',' if own else ''}{more}}}"


def unit_test(scenario, alerts):
    """A scenario in virtual time: all is silent at the onset, and then exactly its alerts fire, for the one that is ill."""
    onset, end = scenario.history, scenario.history + scenario.lasts
    series = [{"series": labelled(name, target.labels()), "values": values(one, onset, scenario.lasts)}
              for target in alert_scenarios.TARGETS for name, one in scenario.series(target).items()]
    cases = []
    for alert, severity in alerts.items():
        wanted = [{"exp_labels": {name: value for name, value in labels.items() if name != "alertname"}}
                  for labels in scenario.expected(alert, severity)]
        cases.append({"eval_time": f"{onset}m", "alertname": alert, "exp_alerts": []})
        cases.append({"eval_time": f"{end}m", "alertname": alert, "exp_alerts": wanted})
    return {"name": scenario.name, "interval": "1m", "input_series": series, "alert_rule_test": cases}


def check_scenarios(report, alerts):
    """Every scenario by promtool, on the rules without their annotations, which promtool would compare word for word."""
    bare = []
    for name in RULES:
        parsed = yaml.safe_load((PLACE / name).read_text())
        for group in parsed["groups"]:
            for rule in group["rules"]:
                rule.pop("annotations", None)
        (WORK / name).write_text(json.dumps(parsed))
        bare.append(name)
    together = {"short": [], "long": []}
    for scenario in alert_scenarios.SCENARIOS:
        together["long" if scenario.history + scenario.lasts > LONG_MINUTES else "short"].append(scenario)
    running = []
    for kind, scenarios in together.items():
        tests = [unit_test(scenario, alerts) for scenario in scenarios]
        interval = {"short": "1m", "long": "5m"}[kind]
        (WORK / f"{kind}.test.yml").write_text(json.dumps({"rule_files": bare, "evaluation_interval": interval, "tests": tests}))
        running.append((kind, len(tests), subprocess.Popen(["promtool", "test", "rules", f"{kind}.test.yml"], cwd=WORK, text=True,
                                                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)))
    for kind, count, promtool in running:
        output, _ = promtool.communicate()
        report.check(promtool.returncode == 0, f"{count} {kind} scenarios fire exactly their alerts", output[-6000:])
    fired = {alert for scenario in alert_scenarios.SCENARIOS for alert in scenario.fires}
    for alert in alerts:
        report.check(alert in fired, f"{alert}: a scenario fires it")


def check_alertmanager(report):
    """The routes and inhibitions: understood by amtool where it is installed, and about alerts that exist."""
    if shutil.which("amtool"):
        done = common.run(["amtool", "check-config", PLACE / "alertmanager.yml"], check=False)
        report.check(done.returncode == 0, "amtool understands alertmanager.yml", done.stdout)
    known = {rule["alert"] for rule in rules() if "alert" in rule}
    for rule in yaml.safe_load((PLACE / "alertmanager.yml").read_text())["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            for name in re.findall(r"Tokenseal\w+", matcher):
                report.check(name in known, f"alertmanager.yml: the alert {name} exists")


def main():
    report = common.Report("prometheus_rules")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    report.equal(metric_names('sum by (class) (rate(a_total{x="b"}[5m] offset 5m)) > 1 and c:d'), {"a_total", "c:d"}, "names are found in a query")
    report.equal(metric_names("histogram_quantile(0.99, sum by (le) (rate(a_bucket[5m])))"), {"a_bucket"}, "and no functions")
    check_generated(report)
    promtool(report, "promtool checks the rules", "check", "rules", *RULES)
    promtool(report, "promtool checks the scrape configuration", "check", "config", "prometheus.yml")
    report.check(len(documented()) >= 60, "the documentation's tables are understood", str(len(documented())))
    known, recorded = known_metrics(), {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        name = rule.get("alert", rule.get("record"))
        check_names(report, name, rule["expr"], known, recorded)
        if "alert" in rule:
            page = rule["annotations"]["runbook_url"].removeprefix(generate.RUNBOOKS + "/")
            report.check((common.REPOSITORY / "docs" / "runbooks" / page).is_file(), f"{name}: its runbook {page} exists")
    check_scenarios(report, {rule["alert"]: rule["labels"]["severity"] for rule in rules() if "alert" in rule})
    check_alertmanager(report)
    check_dashboards(report, known, recorded)
    check_documented(report)
    report.finish()


if __name__ == "__main__":
    main()
