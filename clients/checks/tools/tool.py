"""The Python client, driven by lines of JSON: a job per line on standard input, an answer per line on standard output."""

import base64
import json
import os
import sys
import time

import boto3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tokenseal import AgentClient, AgentError, FromDatabase, KeyServiceError, Profile, Sealer, TokensealError


def amazon():
    return boto3.client(
        "kms",
        endpoint_url=os.environ["AWS_ENDPOINT_URL_KMS"],
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def sealer(job):
    return Sealer(
        kms=amazon(),
        key_id=job["key"],
        profile=Profile.load(job["profile"]),
        allowed_keys=job.get("allowed", []),
        envelope_format=job.get("format"),
        suite=job.get("suite", "aes-256-gcm"),
    )


def run(job, sealers):
    if job["op"].startswith("agent"):
        with AgentClient(job["socket"]) as agent:
            return through_agent(agent, job)
    if job["op"] == "by-hand":
        kms = amazon()
        return {"microseconds": timed(lambda: by_hand(kms, job), job["times"])}
    name = json.dumps([job["key"], job["profile"], job.get("allowed"), job.get("format"), job.get("suite")])
    if name not in sealers:
        sealers[name] = sealer(job)
    made = sealers[name]
    if job["op"] == "increment":
        return {"retries": increment(made, job)}
    cell = {field: job[field] for field in ("table", "column", "row", "owner")}
    if job["op"] == "seal":
        sealed = made.seal(job["value"], **cell)
        return {"text": sealed.text, "key_id": sealed.key_id, "version": sealed.version, "method": sealed.method}
    if job["op"] == "measure":
        return {"microseconds": timed(lambda: made.open(job["text"], **cell), job["times"])}
    return {
        "value": made.open(job["text"], **cell, **{name: job[name] for name in ("version", "key_id") if name in job})
    }


def through_agent(agent, job):
    if job["op"] == "agent-increment":
        return {"retries": increment_through_agent(agent, job["channels"])}
    if job["op"] in ("agent-fresh", "agent-get"):
        return {"rows": {channel: tokens_of(agent, job, channel) for channel in job["channels"]}}
    if job["op"] == "agent-measure":
        return {"microseconds": timed(lambda: agent.get(job["row"]), job["times"])}
    cell = {field: job[field] for field in ("table", "column", "row")}
    if job["op"] == "agent-seal":
        sealed = agent.seal(job["value"], **cell)
        return {"text": sealed["text"], "key_id": sealed["encryption_key_id"]}
    return {"value": agent.open(job["text"], **cell, version=2)}


def tokens_of(agent, job, channel):
    row = {"provider": "twitch", "channel": channel}
    found = agent.fresh(row, valid_for=job["valid_for"]) if job["op"] == "agent-fresh" else agent.get(row)
    return {"access": found["tokens"]["access_token"], "refresh": found["tokens"]["refresh_token"]}


def increment_through_agent(agent, channels):
    """`increment` through the agent."""
    retries, left = 0, list(channels)
    while left:
        row = {"provider": "twitch", "channel": left[0]}
        try:
            found = agent.get(row)
            text = str(int(found["tokens"]["access_token"]) + 1)
            agent.put(row, {"access_token": text}, if_revision=found["revision"])
        except AgentError as error:
            if error.status not in (409, 503):
                raise
            retries += 1
            continue
        left.pop(0)
    return retries


def by_hand(kms, job):
    """The baseline: a service that calls the key service itself for each value."""
    wrapped, sealed = (base64.b64decode(part) for part in job["text"].removeprefix("kms:v2:").split(":"))
    key = kms.decrypt(CiphertextBlob=wrapped, KeyId=job["key"], EncryptionContext=job["context"])["Plaintext"]
    return AESGCM(key).decrypt(sealed[:12], sealed[12:], None)


def timed(read, times):
    """How long each of so many reads took; the first is the one that asks the key service."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        read()
        taken.append((time.perf_counter() - start) * 1e6)
    return taken


def increment(made, job):
    """Adds one to the number in a row's token, again and again; returns how often another writer was faster."""
    import psycopg
    from psycopg.rows import dict_row

    retries, left = 0, list(job["channels"])
    with psycopg.connect(job["database"], row_factory=dict_row, autocommit=True) as database:
        while left:
            row = database.execute("SELECT * FROM oauth_tokens WHERE channel = %s", (left[0],)).fetchone()
            cell = {"table": "oauth_tokens", "column": "access_token"}
            key = {"provider": FromDatabase(row["provider"]), "channel": row["channel"]}
            marks = {"version": row["encryption_version"], "key_id": row["encryption_key_id"]}
            try:
                number = int(made.open(row["access_token"], **cell, row=key, **marks))
                statement = made.update(table="oauth_tokens", old=row, set={"access_token": str(number + 1)})
            except KeyServiceError as error:
                if not error.is_retryable:
                    raise
                continue
            if database.execute(*statement).rowcount == 1:
                left.pop(0)
            else:
                retries += 1
    return retries


def main():
    sealers = {}
    for line in sys.stdin:
        try:
            answer = run(json.loads(line), sealers)
        except TokensealError as error:
            more = {name: getattr(error, name) for name in ("kind", "status") if hasattr(error, name)}
            answer = {"error": type(error).__name__, **more}
            if getattr(error, "needs_consent", False):
                answer["needs_consent"] = True
        print(json.dumps(answer), flush=True)


main()
