"""The Python client of the agent: the arguments are its socket and a job, the answer is a line of JSON."""

import json
import sys
import time

from tokenseal import AgentClient, AgentError


def main():
    job = json.loads(sys.argv[2])
    with AgentClient(sys.argv[1]) as agent:
        print(json.dumps(OPERATIONS[job["op"]](agent, job)))


def row(job):
    return {"provider": "twitch", "channel": job["channel"]}


def status(call):
    try:
        call()
    except AgentError as error:
        return error.status, error.error_class
    return 200, ""


def marks(sealed):
    return sealed["encryption_version"], sealed["encryption_method"]


def exercise(agent, job):
    """Every call that the agent has, once, and once where it must fail."""
    cell = {"table": "oauth_tokens", "column": "access_token", "row": row(job)}
    first = agent.put(row(job), {"access_token": "first", "refresh_token": None})
    second = agent.put(row(job), {"access_token": job["value"]}, if_revision=first["revision"])
    late = status(lambda: agent.put(row(job), {"access_token": "late"}, if_revision=first["revision"]))
    sealed = agent.seal(job["value"], **cell)
    other = {**cell, "row": {"provider": "twitch", "channel": "other"}}
    return {
        "written": second["written"],
        "late": late,
        "opened": agent.open(sealed["text"], **cell, version=2),
        "empty": [agent.open("", **cell, version=2), *marks(agent.seal("", **cell))],
        "moved": status(lambda: agent.open(sealed["text"], **other, version=2)),
        "absent": status(lambda: agent.get(other["row"])),
        "secret": agent.secret("CRM_SMTP"),
        "withheld": status(lambda: agent.secret("KMS_MASTER_KEY")),
    }


def read(agent, job):
    return agent.get(row(job), columns=["access_token"])["tokens"]["access_token"]


def add(agent, job):
    """Adds 1 so many times, while others do so too; returns how often another was faster."""
    retries = 0
    for _ in range(job["times"]):
        while True:
            found = agent.get(row(job))
            tokens = {"access_token": str(int(found["tokens"]["access_token"]) + 1)}
            code, _ = status(lambda: agent.put(row(job), tokens, if_revision=found["revision"]))
            if code == 200:
                break
            if code != 409:
                raise SystemExit(f"put ended with {code}")
            retries += 1
    return retries


def measure(agent, job):
    taken = []
    for _ in range(job["times"]):
        start = time.perf_counter()
        agent.get(row(job))
        taken.append((time.perf_counter() - start) * 1e6)
    return taken


def delete(agent, job):
    return agent.delete(row(job))["deleted"], status(lambda: agent.get(row(job)))


OPERATIONS = {"exercise": exercise, "read": read, "add": add, "measure": measure, "delete": delete}

if __name__ == "__main__":
    main()
