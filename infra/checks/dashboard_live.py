#!/usr/bin/env python3
"""Runs every query of the dashboard on a real Prometheus that scrapes a running program; an empty panel fails.

  --target HOST:PORT   what serves /metrics; keep it busy while this runs
  --seconds N          how long to scrape before asking (default 30)
  --without TITLE      a panel that this program cannot fill, such as one about secrets (repeatable)
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import common

PLACE = common.INFRA / "observability"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def prometheus(target):
    """A Prometheus of this run's own, with the project's rules, that scrapes every second."""
    with tempfile.TemporaryDirectory() as place:
        rules = [str(PLACE / name) for name in ("recording.rules.yml", "alerts.rules.yml")]
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "scrape_configs": [{"job_name": "tokenseal", "static_configs": [{"targets": [target]}]}],
        }
        with open(f"{place}/prometheus.yml", "w") as file:
            json.dump(configuration, file)
        address = f"127.0.0.1:{free_port()}"
        server = subprocess.Popen(
            ["prometheus", f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data",
             f"--web.listen-address={address}", "--log.level=error"],
        )
        try:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://{address}/-/ready", timeout=2)
                    break
                time.sleep(0.1)
            else:
                sys.exit("Prometheus did not start")
            yield f"http://{address}"
        finally:
            server.terminate()
            server.wait()


def ask(url, query):
    """The values that a query gives now, without those that are not a number."""
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=10) as answer:
        found = json.load(answer)["data"]["result"]
    return [entry["value"][1] for entry in found if entry["value"][1] != "NaN"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--without", action="append", default=[])
    options = parser.parse_args()
    report = common.Report("dashboard_live")
    panels = common.load(PLACE / "dashboard.json")["panels"]
    unknown = set(options.without) - {panel["title"] for panel in panels}
    report.equal(unknown, set(), "every --without names a panel")
    with prometheus(options.target) as url:
        time.sleep(options.seconds)
        report.equal(ask(url, 'up{job="tokenseal"}'), ["1"], "the program is scraped")
        for panel in panels:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", f"{options.seconds}s").replace("$job", ".*")
                what = f"panel {panel['title']}, query {target['refId']}"
                if panel["title"] in options.without:
                    print(f"left out  {what}")
                else:
                    report.check(ask(url, query), f"{what}: shows something", query)
    report.finish()


if __name__ == "__main__":
    main()
