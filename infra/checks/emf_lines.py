#!/usr/bin/env python3
"""Compares the example service's lines for CloudWatch with metrics.json, which the applied alarms and dashboards are compared with.

  --program PATH   example-service and migrate-tokens
"""

import argparse
import json
import time

import common
import service

ENVIRONMENT = "staging"


def printed(programs):
    """Every line that a busy service printed, and one at its end."""
    with service.running("emf", programs, EMF_METRICS="1s", ENVIRONMENT=ENVIRONMENT) as running:
        with service.busy(running, programs["migrate-tokens"]):
            time.sleep(4)
        before = len(running.output.read_text().splitlines())
    lines = running.output.read_text().splitlines()
    return [json.loads(line) for line in lines], before


def check_line(report, line, expected):
    """One line: its directive says what CloudWatch makes of it. Returns the names of its metrics."""
    directive = line["_aws"]["CloudWatchMetrics"][0]
    report.equal(directive["Namespace"], expected["namespace"], "the namespace is the alarms'")
    report.equal(directive["Dimensions"], [expected["dimensions"]], "the dimensions are the alarms'")
    report.equal([line.get(name) for name in expected["dimensions"]], ["vod-tender", ENVIRONMENT], "their values are the modules'")
    units = {metric["Name"]: metric.get("Unit") for metric in directive["Metrics"]}
    for name, unit in units.items():
        report.equal(unit, expected["metrics"].get(name), f"{name}: its unit")
        report.check(name in line, f"{name}: the line has its value")
    return set(units)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_programs(parser)
    programs = common.programs(parser.parse_args(), "example-service", "migrate-tokens")
    report = common.Report("emf_lines")
    lines, before = printed(programs)
    report.check(len(lines) > before >= 3, "a line each second, and one when the service ends", f"{before} and {len(lines)}")
    expected = common.load(common.CHECKS / "metrics.json")["emf"]
    seen = set().union(*(check_line(report, line, expected) for line in lines))
    report.equal(seen, set(expected["metrics"]), "the lines hold exactly the metrics of metrics.json")
    report.finish()


if __name__ == "__main__":
    main()
