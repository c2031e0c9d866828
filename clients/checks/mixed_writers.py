#!/usr/bin/env python3
"""Every client through the agent: what one side sealed the other opens, and no writer of either kind loses an update."""

import argparse
import os
import threading
import time
from pathlib import Path

import agents
from cross import TEXT, VOD, Check, Tool

ROWS, ROUNDS = 40, 3
LANGUAGES = ("python", "node", "go")
# Eight writers through the agent, and eight through the clients.
WRITERS = ["python", "python", "python", "node", "node", "node", "go", "go"]
LIMIT_SECONDS = 400


def make_table(database, channels):
    database.execute(
        "CREATE TABLE oauth_tokens (provider text NOT NULL, channel text NOT NULL, access_token text, refresh_token text,"
        " expires_at timestamptz, scope text, updated_at timestamptz, encryption_version integer DEFAULT 0,"
        " encryption_method text, encryption_key_id text, PRIMARY KEY (provider, channel))"
    )
    for channel in channels:
        database.execute(
            "INSERT INTO oauth_tokens (provider, channel, access_token, refresh_token) VALUES ('twitch', %s, '0', %s)",
            (channel, f"refresh of {channel}"),
        )


def amazon(check):
    """The settings of an agent on the emulator's key."""
    return {
        "KMS_KEY_ID": check.key,
        "AWS_ENDPOINT_URL_KMS": os.environ["TOKENSEAL_TEST_MOTO_URL"],
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }


def each_opens_what_the_other_side_sealed(check, socket):
    cell = VOD | {"row": {"provider": "twitch", "channel": "me"}}
    moved = VOD | {"row": {"provider": "twitch", "channel": "you"}}
    common = {"key": check.key, "profile": "vod-tender"}
    for writer in LANGUAGES:
        sealed = check.tools[writer](op="agent-seal", socket=socket, value=TEXT, **cell)
        check.expect(sealed.get("key_id"), check.key, f"{writer} seals through the agent")
        own = check.tools[writer](op="seal", value=TEXT, **common, **cell)
        for reader, tool in check.tools.items():
            opened = tool(op="open", text=sealed["text"], **common, **cell, version=2, key_id=sealed["key_id"])
            check.expect(opened, {"value": TEXT}, f"{reader} opens what {writer} sealed through the agent")
            opened = tool(op="agent-open", socket=socket, text=own["text"], **cell)
            check.expect(opened, {"value": TEXT}, f"{reader} opens through the agent what {writer} sealed")
            refused = tool(op="agent-open", socket=socket, text=own["text"], **moved)
            check.expect(refused, {"error": "AgentError", "status": 422}, f"{reader} opens nothing that was moved")


def write_all(check, socket, database, channels):
    """Sixteen writers on the same rows, while `migrate` runs again and again."""
    jobs = []
    for number, name in enumerate(WRITERS):
        start = number * len(channels) // len(WRITERS)
        order = (channels[start:] + channels[:start]) * ROUNDS
        url = f"{database}&sslmode=disable" if name == "go" and "sslmode" not in database else database
        jobs.append(
            (name, {"op": "increment", "database": url, "key": check.key, "profile": "vod-tender", "channels": order})
        )
        jobs.append((name, {"op": "agent-increment", "socket": socket, "channels": order}))
    answers = []
    threads = []
    for name, job in jobs:
        tool = Tool(name, check.commands[name])
        threads.append(threading.Thread(target=lambda tool=tool, job=job: answers.append(tool(**job)), daemon=True))
    for thread in threads:
        thread.start()
    end = time.monotonic() + LIMIT_SECONDS
    while any(thread.is_alive() for thread in threads):
        if time.monotonic() > end:
            raise SystemExit(f"the writers took over {LIMIT_SECONDS} s")
        # 3: it gave up on a row that was changed under it again and again.
        check.migrate_tokens("migrate", "--batch-size", "5", database=database, codes=(0, 3))
    check.expect([answer for answer in answers if "error" in answer], [], "every writer ends well")
    check.expect(len(answers), len(jobs), "every writer ends")
    return sum(answer["retries"] for answer in answers)


def nothing_is_lost(check, socket, url, database):
    check.expect(check.migrate_tokens("migrate", database=url)["failed"], 0, "a last migrate")
    for row in database.execute("SELECT * FROM oauth_tokens").fetchall():
        cell = VOD | {"row": {"provider": "twitch", "channel": row["channel"]}}
        opened = check.tools["node"](op="agent-open", socket=socket, text=row["access_token"], **cell)
        check.expect(opened, {"value": str(2 * len(WRITERS) * ROUNDS)}, f"every update of {row['channel']}")
    verified = check.migrate_tokens("verify", database=url, BINDING="require", PLAINTEXT_POLICY="forbid")
    check.expect((verified["failed"], verified["unbound"], verified["plaintext"]), (0, 0, 0), "verify at the end")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens, next to tokenseal-agent")
    program = Path(parser.parse_args().program)
    check = Check(program)
    channels = [f"channel-{number:02}" for number in range(ROWS)]
    with agents.schema() as (database, url):
        make_table(database, channels)
        with agents.running(program.with_name("tokenseal-agent"), DATABASE_URL=url, **amazon(check)) as socket:
            each_opens_what_the_other_side_sealed(check, socket)
            retries = write_all(check, socket, url, channels)
            nothing_is_lost(check, socket, url, database)
    print(f"{check.held} held; 8 writers through the agent and 8 through the clients lost nothing, {retries} repeated")


if __name__ == "__main__":
    main()
