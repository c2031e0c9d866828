"""An agent of a check's own, and a schema of its own in the database that it serves."""

import contextlib
import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

LIMIT_SECONDS = 30


@contextlib.contextmanager
def schema():
    """A connection, and the address of the database for programs; tables that are made without a schema are in one of their own."""
    postgres, name = os.environ["TOKENSEAL_TEST_POSTGRES_URL"], f"clients_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, row_factory=dict_row, autocommit=True) as database:
        database.execute(f"CREATE SCHEMA {name}")
        try:
            database.execute(f"SET search_path = {name}")
            yield database, f"{postgres}{'&' if '?' in postgres else '?'}options=-csearch_path%3D{name}"
        finally:
            database.execute(f"DROP SCHEMA {name} CASCADE")


@contextlib.contextmanager
def running(program, **settings):
    """Starts an agent; yields the path of its socket."""
    with tempfile.TemporaryDirectory(prefix="tokenseal-agent-") as place:
        socket, log = Path(place) / "agent.sock", Path(place) / "log"
        environment = {"PATH": os.environ["PATH"], "HOME": place, "AGENT_LISTEN": f"unix:{socket}", **settings}
        with open(log, "w") as output:
            agent = subprocess.Popen([program], env=environment, stdout=output, stderr=output)
        try:
            end = time.monotonic() + LIMIT_SECONDS
            while not socket.exists():
                if agent.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"the agent did not start: {log.read_text()[-2000:]}")
                time.sleep(0.05)
            yield str(socket)
        finally:
            agent.terminate()
            if agent.wait(timeout=LIMIT_SECONDS) != 0:
                raise SystemExit(f"the agent ended with {agent.returncode}: {log.read_text()[-2000:]}")
