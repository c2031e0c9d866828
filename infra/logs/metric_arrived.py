#!/usr/bin/env python3
"""Says whether the programs' metrics arrive in CloudWatch under the dimensions that the alarms look at.

Exit code 0: a heartbeat arrived in the time asked for. Exit code 1: none did. Exit code 2: the dimensions are malformed.
"""

import argparse
import datetime
import sys

import boto3

NAMESPACE = "Tokenseal"
METRIC = "Heartbeat"


def parsed(text):
    """Application=vod-tender,Environment=production as CloudWatch takes it."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(name and value for name, _, value in pairs):
        print(f"{text!r} is not a list of name=value pairs, as EMF_DIMENSIONS holds it", file=sys.stderr)
        sys.exit(2)
    return [{"Name": name, "Value": value} for name, _, value in pairs]


def heartbeats(cloudwatch, dimensions, minutes):
    # The end is exclusive and cut to whole seconds: a heartbeat of this moment is counted too.
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1)
    found = cloudwatch.get_metric_statistics(
        Namespace=NAMESPACE, MetricName=METRIC, Dimensions=dimensions, Statistics=["Sum"], Period=60,
        StartTime=end - datetime.timedelta(minutes=minutes + 1), EndTime=end,
    )
    return sum(point["Sum"] for point in found["Datapoints"])


def others(cloudwatch):
    """The dimensions that heartbeats have arrived under, which show a wrong setting."""
    for metric in cloudwatch.list_metrics(Namespace=NAMESPACE, MetricName=METRIC)["Metrics"]:
        yield ",".join(f"{dimension['Name']}={dimension['Value']}" for dimension in metric["Dimensions"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", required=True, help="what EMF_DIMENSIONS holds")
    parser.add_argument("--minutes", type=int, default=10, help="how far back to look (default 10)")
    options = parser.parse_args()
    cloudwatch = boto3.client("cloudwatch")
    count = heartbeats(cloudwatch, parsed(options.dimensions), options.minutes)
    if count > 0:
        print(f"{count:.0f} heartbeats in {options.minutes} minutes under {options.dimensions}")
        return
    print(f"no heartbeat in {options.minutes} minutes under {options.dimensions}")
    for found in sorted(others(cloudwatch)):
        print(f"  heartbeats exist under {found}: compare EMF_DIMENSIONS")
    print("  is EMF_METRICS set, does the line reach the log group, and is it the whole event there?")
    sys.exit(1)


if __name__ == "__main__":
    main()
