#!/usr/bin/env python3
"""Notifications of a real Alertmanager for each scenario: a cause once, and nothing that follows from it."""

import contextlib
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import common

common.enter()

import alert_scenarios  # noqa: E402
import prometheus_rules  # noqa: E402

CONFIGURATION = prometheus_rules.PLACE / "alertmanager.yml"
# Alerts that follow from another one, and are not sent while that one fires.
CONSEQUENCES = {
    "TokensealKmsDecryptErrors", "TokensealKmsEncryptErrors", "TokensealKmsRewrapErrors", "TokensealDecryptErrorRate",
    "TokensealReadSloFastBurn", "TokensealReadSloSlowBurn",
}
SETTLE_SECONDS = 3


@contextlib.contextmanager
def alertmanager():
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        sys.exit("there is no Alertmanager: the Debian package prometheus-alertmanager has it")
    address = f"127.0.0.1:{common.free_port()}"
    with tempfile.TemporaryDirectory() as place:
        server = subprocess.Popen(
            [program, f"--config.file={CONFIGURATION}", f"--storage.path={place}", f"--web.listen-address={address}",
             "--cluster.listen-address=", "--log.level=error"],
        )
        try:
            if not common.until(lambda: urllib.request.urlopen(f"http://{address}/-/ready", timeout=2)):
                sys.exit("Alertmanager did not start")
            yield f"http://{address}/api/v2/alerts"
        finally:
            server.terminate()
            server.wait()


def send(url, alerts):
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    body = json.dumps([{"labels": labels, "startsAt": now} for labels in alerts]).encode()
    urllib.request.urlopen(urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"}), timeout=10).close()


def active(url):
    with urllib.request.urlopen(f"{url}?inhibited=false&silenced=false", timeout=10) as answer:
        return [alert["labels"] for alert in json.load(answer)]


def main():
    report = common.Report("alertmanager_live")
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in prometheus_rules.rules() if "alert" in rule}
    scenarios = [scenario for scenario in alert_scenarios.SCENARIOS if scenario.fires]
    sent = [[labels for alert, severity in severities.items() for labels in scenario.expected(alert, severity, f".{number}")]
            for number, scenario in enumerate(scenarios)]
    with alertmanager() as url:
        send(url, [labels for alerts in sent for labels in alerts])
        time.sleep(SETTLE_SECONDS)
        left = active(url)
    for number, (scenario, alerts) in enumerate(zip(scenarios, sent, strict=True)):
        found = {labels["alertname"] for labels in left if labels["cluster"].endswith(f".{number}")}
        causes = set(scenario.fires) - CONSEQUENCES or set(scenario.fires)
        report.equal(found, causes, f"{scenario.name}: is reported by its cause alone")
    report.finish()


if __name__ == "__main__":
    main()
