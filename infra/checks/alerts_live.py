#!/usr/bin/env python3
"""The rules and dashboards on a real Prometheus, with one replica of one profile in one environment ill in each scenario.

Each alert has to fire for the one that is ill, and to name it; each panel has to show every environment, profile and replica.
The past is written as blocks, and the rules run on it now. How long an alert has to last is left out here: promtool tests that.
"""

import json
import math
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import common

common.enter()

import yaml  # noqa: E402

import alert_scenarios  # noqa: E402
import prometheus_rules  # noqa: E402
from dashboard_live import ask_series, serving  # noqa: E402

# Every minute of the last two hours has a sample; before that every half hour, which long windows need.
DENSE_MINUTES = 120
SPARSE = 30
# Recorded series of the past that rules look back at, and how far back they reach in minutes.
REMEMBERED = 24 * 60
# How long writing the blocks may take, and how long on a second try. The samples end then, since a Prometheus takes none that are
# older than its blocks.
WRITING_SECONDS = (90, 400)


def chosen():
    """Scenarios that together fire every alert, and those that must fire none."""
    fired, scenarios = set(), []
    for scenario in alert_scenarios.SCENARIOS:
        if not scenario.fires or not set(scenario.fires) <= fired:
            scenarios.append(scenario)
            fired |= set(scenario.fires)
    return scenarios


def minutes(total):
    """The minutes of a scenario that have samples."""
    dense = max(0, total - DENSE_MINUTES)
    return [*range(0, dense, SPARSE), *range(dense, total + 1)]


def recorded(scenario, target, suffix):
    """Series that the rules had recorded of a target up to the onset: name, labels, value."""
    labels = target.labels(suffix)
    job = {name: value for name, value in labels.items() if name != "instance"}
    profile = {"profile": target.profile}
    reads = [scenario.series(target)[f"{alert_scenarios.PREFIXES[target.profile]}_kms_cache_{name}_total"].at(1, 1) for name in ("hits", "misses")]
    if sum(reads):
        yield "instance_profile:tokenseal_cache_hits:ratio15m", labels | profile, reads[0] / sum(reads)
    yield 'instance:secrets_accesses:increase15m{source="local",operation="get",outcome="ok"}', labels, 60
    # A baseline takes a day: only where the scenario is about it.
    if target.replica == 1 and scenario.history > 12 * 60:
        yield 'job_profile:tokenseal_kms_duration_seconds:mean15m{operation="decrypt"}', job | profile, 0.01
    if target.replica == 1 and target.profile == "vod-tender":
        yield "job:tokenseal_targets:count", job, 4


def samples(scenarios, end):
    """Every sample by family, as the OpenMetrics text wants them: families one after the other."""
    families = {}
    for number, scenario in enumerate(scenarios):
        total, suffix = scenario.history + scenario.lasts, f".{number}"
        begin = end - 60 * total
        for target in alert_scenarios.TARGETS:
            for name, series in scenario.series(target).items():
                points = ((minute, series.at(minute, scenario.history)) for minute in minutes(total))
                lines = [f"{value} {begin + 60 * minute}" for minute, value in points if value is not None]
                families.setdefault(name.partition("{")[0], []).append((prometheus_rules.labelled(name, target.labels(suffix)), lines))
            onset = begin + 60 * scenario.history
            for name, labels, value in recorded(scenario, target, suffix):
                lines = [f"{value} {onset - 60 * minute}" for minute in range(REMEMBERED, -1, -5)]
                families.setdefault(name.partition("{")[0], []).append((prometheus_rules.labelled(name, labels), lines))
    return families


def write(path, families):
    with open(path, "w") as file:
        for family, series in families.items():
            file.write(f"# TYPE {family} unknown\n")
            for name, lines in series:
                file.write("".join(f"{name} {line}\n" for line in lines))
        file.write("# EOF\n")


def rules_without_delay(place):
    """The rule files as they are, except that alerts fire at once."""
    files = []
    for name in prometheus_rules.RULES:
        parsed = yaml.safe_load((prometheus_rules.PLACE / name).read_text())
        for group in parsed["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
        files.append(f"{place}/{name}")
        Path(files[-1]).write_text(json.dumps(parsed))
    return files


def firing(url):
    with urllib.request.urlopen(f"{url}/api/v1/alerts", timeout=30) as answer:
        return [alert for alert in json.load(answer)["data"]["alerts"] if alert["state"] == "firing"]


def check_alerts(report, url, scenarios, severities):
    by_scenario = {}
    for alert in firing(url):
        by_scenario.setdefault(int(alert["labels"]["cluster"].rpartition(".")[2]), []).append(alert)
    for number, scenario in enumerate(scenarios):
        found = by_scenario.get(number, [])
        wanted = [labels for alert, severity in severities.items() for labels in scenario.expected(alert, severity, f".{number}")]
        key = lambda labels: json.dumps(labels, sort_keys=True)
        report.equal(sorted((alert["labels"] for alert in found), key=key), sorted(wanted, key=key), f"{scenario.name}: the alerts")
        for alert in found:
            check_words(report, scenario, alert)


def write_past(place, scenarios):
    """Writes the blocks of a Prometheus whose last samples are of now. A busy machine gets a second try, with more time."""
    for seconds in WRITING_SECONDS:
        shutil.rmtree(f"{place}/data", ignore_errors=True)
        end = math.ceil(time.time()) + seconds
        write(f"{place}/past.txt", samples(scenarios, end))
        common.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=64h", f"{place}/past.txt", f"{place}/data"])
        Path(f"{place}/past.txt").unlink()
        if time.time() <= end:
            time.sleep(end + 1 - time.time())
            return
    sys.exit(f"writing the past took longer than {seconds} s on this machine")


def check_words(report, scenario, alert):
    """The text for the person on call names the failing replica, and leads to the runbook."""
    labels, words = alert["labels"], alert["annotations"]
    text = words["summary"] + words["description"]
    for name in ("environment", "cluster", "namespace", "profile", "instance"):
        if name in labels and labels["alertname"] != "TokensealScheduledJobFailed":
            report.check(labels[name] in text, f"{scenario.name}: {labels['alertname']} names the {name}", text)
    report.check(words["runbook_url"].startswith("https://"), f"{labels['alertname']}: its runbook is an address", words["runbook_url"])
    report.check("{{" not in text and "%!" not in text and "<error" not in text, f"{labels['alertname']}: its words render", text)


def check_panels(report, url, number):
    """Each query shows all that there is, in the scenario in which all is well."""
    for file in sorted(prometheus_rules.PLACE.glob("dashboard*.json")):
        for panel in common.load(file)["panels"]:
            for query in panel["targets"]:
                expression = query["expr"].replace("$cluster", rf".*\\.{number}")
                shown = ask_series(url, prometheus_rules.grafana(expression))
                what = f"{file.stem}, panel {panel['title']} {query['refId']}"
                kept = [name for name in ("environment", "profile", "instance") if shown and name in shown[0]]
                report.check({"environment"} <= set(kept), f"{what}: distinguishes the environments", str(shown[:1]))
                wanted = {tuple(describe(target)[name] for name in kept) for target in alert_scenarios.TARGETS}
                found = {tuple(labels.get(name) for name in kept) for labels in shown}
                report.check(wanted <= found, f"{what}: shows each {', '.join(kept)}", str(wanted - found))
                if "profile" in expression:
                    report.check("profile" in kept, f"{what}: distinguishes the profiles")


def describe(target):
    return target.labels() | {"profile": target.profile}


def main():
    report = common.Report("alerts_live")
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in prometheus_rules.rules() if "alert" in rule}
    scenarios = [alert_scenarios.Scenario("all is well", {}, []), *chosen()]
    with tempfile.TemporaryDirectory() as place:
        write_past(place, scenarios)
        configuration = {"global": {"evaluation_interval": "3s"}, "rule_files": rules_without_delay(place)}
        with serving(configuration, place) as url:
            # One evaluation records the series that the next one reads.
            time.sleep(15)
            check_alerts(report, url, scenarios, severities)
            check_panels(report, url, 0)
    report.finish()


if __name__ == "__main__":
    main()
