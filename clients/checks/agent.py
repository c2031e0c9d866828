#!/usr/bin/env python3
"""Each client against the real agent on a Unix socket, and against values that the others wrote through it.

With `--measure`, the time of a cached read in each language is printed instead.
"""

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from common import CHECKS, PYTHON, TARGET, go

VALUE = 'gho_tök€n-ünï-🔑 "quoted" \\'
MASTER_KEY = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
TABLE = """
CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL, access_token TEXT, refresh_token TEXT,
  expires_at TEXT, scope TEXT, updated_at TEXT, encryption_version INTEGER DEFAULT 0, encryption_method TEXT,
  encryption_key_id TEXT, PRIMARY KEY (provider, channel));
INSERT INTO oauth_tokens (provider, channel, access_token, encryption_version) VALUES ('twitch', 'counter', '0', 0);
"""
EXPECTED = {
    "written": "kms-envelope",
    "late": [409, "conflict"],
    "opened": VALUE,
    "empty": ["", 2, "kms-envelope"],
    "moved": [422, "context_mismatch_or_corrupt"],
    "absent": [404, "not_found"],
    "secret": "canary-smtp",
    "withheld": [403, "policy"],
}
TIMES = 5


def commands():
    binary = TARGET / "goagent"
    go("build", "-o", binary, ".", cwd=CHECKS / "tools" / "goagent")
    tools = CHECKS / "tools"
    return {"python": [PYTHON, tools / "agent_tool.py"], "node": ["node", tools / "agent_tool.mjs"], "go": [binary]}


def agent(programs, directory):
    """Starts an agent on a new SQLite file with a new keyring."""
    database = directory / "tokens.db"
    sqlite3.connect(database).executescript(TABLE).close()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "DATABASE_URL": f"sqlite://{database}",
        "KMS_MASTER_KEY": MASTER_KEY,
        "KMS_KEY_ID": f"keyring:{directory / 'keyring.json'}",
        "AGENT_LISTEN": f"unix:{directory / 'agent.sock'}",
        "CRM_SMTP": "canary-smtp",
    }
    made = subprocess.run(
        [programs.program, "keyring", "init"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if made.returncode != 0:
        raise SystemExit(made.stdout.decode())
    log = open(directory / "agent.log", "wb")
    process = subprocess.Popen([programs.agent, "--log-level", "warn"], env=environment, stderr=log)
    deadline = time.monotonic() + 60
    while not (directory / "agent.sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit((directory / "agent.log").read_text())
        time.sleep(0.02)
    return process


class Tools:
    """The three clients, and the number of things that held."""

    def __init__(self, socket):
        self.socket, self.commands, self.held = socket, commands(), 0
        self.environment = {**os.environ, "PYTHONPATH": str(CHECKS.parent / "python" / "src")}

    def start(self, name, **job):
        words = [*self.commands[name], self.socket, json.dumps(job)]
        return subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, env=self.environment, text=True)

    def run(self, name, **job):
        return self.answer(name, self.start(name, **job))

    def answer(self, name, process):
        said, _ = process.communicate(timeout=300)
        if process.returncode != 0:
            raise SystemExit(f"{name}: the tool ended with {process.returncode}")
        return json.loads(said)

    def expect(self, got, wanted, what):
        if got != wanted:
            raise SystemExit(f"{what}: got {got!r}, expected {wanted!r}")
        self.held += 1


def check(tools):
    names = list(tools.commands)
    for name in names:
        found = tools.run(name, op="exercise", channel=name, value=VALUE)
        for what, wanted in EXPECTED.items():
            tools.expect(found[what], wanted, f"{name}: {what}")
    for reader in names:
        for writer in names:
            tools.expect(tools.run(reader, op="read", channel=writer), VALUE, f"{reader} reads what {writer} wrote")
    writers = [(name, tools.start(name, op="add", channel="counter", times=TIMES)) for name in names for _ in range(2)]
    retries = sum(tools.answer(name, process) for name, process in writers)
    tools.expect(tools.run("go", op="read", channel="counter"), str(TIMES * len(writers)), "no update is lost")
    for name in names:
        tools.expect(tools.run(name, op="delete", channel=name), [True, [404, "not_found"]], f"{name}: delete")
    return f"{tools.held} expectations held; {len(writers)} writers met {retries} times"


def measure(tools):
    lines = []
    tools.run("go", op="exercise", channel="measured", value="x" * 256)
    for name in tools.commands:
        tools.run(name, op="measure", channel="measured", times=200)
        taken = sorted(tools.run(name, op="measure", channel="measured", times=5000))
        p99 = taken[int(len(taken) * 0.99)]
        lines.append(f"{name}: p50 {statistics.median(taken):.0f} us, p99 {p99:.0f} us")
    return "; ".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens")
    parser.add_argument("--agent", required=True, help="path of tokenseal-agent")
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tokenseal-agent-") as scratch:
        process = agent(options, Path(scratch))
        try:
            tools = Tools(Path(scratch) / "agent.sock")
            print(measure(tools) if options.measure else check(tools))
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
