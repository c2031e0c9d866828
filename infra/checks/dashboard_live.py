#!/usr/bin/env python3
"""Runs every query of the dashboards on a real Prometheus that scrapes running programs; an empty panel fails.

  --program PATH       example-service and migrate-tokens: starts the service, keeps it busy, and looks at it
  --target HOST:PORT   instead: a program of yours that serves /metrics; keep it busy while this runs
  --seconds N          how long to scrape before asking (default 25)
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import common
import service

PLACE = common.INFRA / "observability"
RULES = ("recording.rules.yml", "alerts.rules.yml")


@contextlib.contextmanager
def serving(configuration, place):
    """A Prometheus of this run's own; its data is below `place`."""
    with open(f"{place}/prometheus.yml", "w") as file:
        json.dump(configuration, file)
    address = f"127.0.0.1:{common.free_port()}"
    server = subprocess.Popen(
        ["prometheus", f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data",
         f"--web.listen-address={address}", "--log.level=error"],
    )
    try:
        if not common.until(lambda: urllib.request.urlopen(f"http://{address}/-/ready", timeout=2), seconds=60):
            sys.exit("Prometheus did not start")
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def scraping(target):
    """A Prometheus with the project's rules that scrapes a program every second."""
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(PLACE / name) for name in RULES],
        "scrape_configs": [{"job_name": "tokenseal", "static_configs": [{"targets": [target]}]}],
    }
    with tempfile.TemporaryDirectory() as place, serving(configuration, place) as url:
        yield url


def answer(url, query):
    body = urllib.parse.urlencode({"query": query}).encode()
    with urllib.request.urlopen(f"{url}/api/v1/query", data=body, timeout=30) as found:
        return json.load(found)["data"]["result"]


def ask(url, query):
    """The values that a query gives now, without those that are not a number."""
    return [entry["value"][1] for entry in answer(url, query) if entry["value"][1] != "NaN"]


def ask_series(url, query):
    """The labels of the series that a query gives now."""
    return [entry["metric"] for entry in answer(url, query)]


def look(report, target, seconds):
    """Every panel's queries, after some seconds of scraping."""
    with scraping(target) as url:
        time.sleep(seconds)
        report.equal(ask(url, 'up{job="tokenseal"}'), ["1"], "the program is scraped")
        for file in sorted(PLACE.glob("dashboard*.json")):
            for panel in common.load(file)["panels"]:
                for query in panel["targets"]:
                    expression = re.sub(r"\$\w+", ".*", query["expr"])
                    what = f"{file.stem}, panel {panel['title']}, query {query['refId']}: shows something"
                    report.check(ask(url, expression), what, expression)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_programs(parser)
    parser.add_argument("--target")
    parser.add_argument("--seconds", type=int, default=25)
    options = parser.parse_args()
    report = common.Report("dashboard_live")
    if options.target:
        look(report, options.target, options.seconds)
        report.finish()
    programs = common.programs(options, "example-service", "migrate-tokens")
    with service.running("dashboard", programs) as running, service.busy(running, programs["migrate-tokens"]):
        look(report, running.address, options.seconds)
    report.finish()


if __name__ == "__main__":
    main()
