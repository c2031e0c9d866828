#!/usr/bin/env python3
"""Measures what a read costs from each language: by a client and through the agent, the data key cached; by a service that asks
the key service itself; and by `get`.

Prints rows for docs/performance.md. Not part of any check: times say something about a quiet machine alone.
"""

import argparse
import sqlite3
import statistics
import time
from pathlib import Path

import agents
from cross import FORMS, VOD, Check
from mixed_writers import amazon, make_table

VALUE = "x" * 256
TIMES = 20_000
TIMES_BY_HAND = 1000
ROW = {"provider": "twitch", "channel": "me"}


def shown(microseconds):
    ordered = sorted(microseconds)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    return f"{p50:,.0f} µs | {p99:,.0f} µs"


def say(what, microseconds):
    print(f"| {what} | {shown(microseconds)} |", flush=True)


def by_clients(check):
    cell = VOD | {"row": ROW}
    common = {"key": check.key, "profile": "vod-tender"}
    texts = {}
    for form in FORMS[:2]:
        sealed = check.tools["python"](op="seal", value=VALUE, **common, **form, **cell)
        texts[form["format"]] = sealed["text"]
        for name, tool in check.tools.items():
            taken = tool(op="measure", text=sealed["text"], times=TIMES, **common, **cell)["microseconds"]
            say(f"{name}, its client, {form['format']}, data key cached", taken[100:])
    context = {"Application": "vod-tender", "Purpose": "oauth-token", "table": "oauth_tokens", "column": "access_token"}
    for name, tool in check.tools.items():
        job = {"text": texts["v2"], "times": TIMES_BY_HAND, "key": check.key, "context": context | ROW}
        say(f"{name}, asking the key service itself", tool(op="by-hand", **job)["microseconds"][10:])
    return texts["v2"]


def through_agents(check, binary, databases):
    """The same row in each database; a read is a query and an opened value."""
    for kind, url in databases.items():
        with agents.running(binary, DATABASE_URL=url, **amazon(check)) as socket:
            for name, tool in check.tools.items():
                taken = tool(op="agent-measure", socket=socket, row=ROW, times=TIMES)["microseconds"]
                say(f"{name}, the agent on {kind}, data key cached", taken[100:])


def fill(check, database, text):
    make_table(database, [])
    columns = "provider, channel, access_token, encryption_version, encryption_method, encryption_key_id"
    row = ("twitch", "me", text, 2, "kms-envelope", check.key)
    place = "?" if isinstance(database, sqlite3.Connection) else "%s"
    database.execute(f"INSERT INTO oauth_tokens ({columns}) VALUES ({', '.join([place] * len(row))})", row)


def program(check, url, times):
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        check.migrate_tokens("get", "--row", "provider=twitch,channel=me", "--reveal", database=url)
        taken.append((time.perf_counter() - start) * 1e6)
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens, a release build")
    parser.add_argument("--agent", required=True, help="path of tokenseal-agent, a release build")
    options = parser.parse_args()
    check = Check(options.program)
    text = by_clients(check)
    path = check.directory / "measured.db"
    with agents.schema() as (database, postgres):
        fill(check, database, text)
        with sqlite3.connect(path) as file:
            fill(check, file, text)
        file.close()
        sqlite = f"sqlite://{path}"
        through_agents(check, Path(options.agent), {"PostgreSQL": postgres, "SQLite": sqlite})
        say("`migrate-tokens get`", program(check, sqlite, 40))


if __name__ == "__main__":
    main()
