#!/usr/bin/env python3
"""A Node service rotates secrets of a KMSService table through the agent while `migrate` moves it; none is lost."""

import argparse
import base64
import json
import os
import secrets
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import agents
from cross import Check
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import CHECKS

PROFILE = """
name = "node-secrets"
sources = ["node-json"]
[context]
Application = "node-secrets"
Purpose = "secret"
[[tables]]
name = "secrets"
key = ["name"]
tokens = ["value"]
types = { name = "text" }
"""
OLD_KEYS = {"default-1761300000": secrets.token_bytes(32), "default-1761300001": secrets.token_bytes(32)}
SECRETS, ROUNDS, CALLERS = 24, 6, 4
LIMIT_SECONDS = 240


def stored(number, name, value):
    """An envelope as KMSService makes it: bound to the name, or to nothing."""
    key_id = list(OLD_KEYS)[number % len(OLD_KEYS)]
    iv, aad = secrets.token_bytes(12), name.encode() if number % 3 else None
    sealed = AESGCM(OLD_KEYS[key_id]).encrypt(iv, value.encode(), aad)

    def text(data):
        return base64.b64encode(data).decode()

    envelope = {
        "v": 1, "alg": "aes-256-gcm", "keyId": key_id, "iv": text(iv), "tag": text(sealed[-16:]),
        "ciphertext": text(sealed[:-16]), "aad": aad and text(aad), "timestamp": int(time.time() * 1000),
    }  # fmt: skip
    return json.dumps(envelope)


def make_keyring(check, place):
    """A keyring with the data keys of the old system; the settings of every program that uses it."""
    settings = {
        "KMS_KEY_ID": f"keyring:{place / 'secrets.keyring'}",
        "KMS_MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "TOKEN_PROFILE": str(place / "profile.toml"),
    }
    (place / "profile.toml").write_text(PROFILE)
    keys = [
        {"id": key_id, "key": base64.b64encode(key).decode(), "isActive": at == 1}
        for at, (key_id, key) in enumerate(OLD_KEYS.items())
    ]
    (place / "old-keys.json").write_text(json.dumps({"keys": keys}))
    for arguments in (["init"], ["import", str(place / "old-keys.json")], ["rotate"]):
        done = subprocess.run(
            [check.program, "keyring", *arguments], env={"PATH": os.environ["PATH"], **settings}, capture_output=True
        )
        if done.returncode != 0:
            raise SystemExit(f"keyring {arguments[0]} ended with {done.returncode}: {done.stderr.decode()}")
    return settings


class Service:
    """The Node service as a process; ends with the context."""

    def __init__(self, agent_socket):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{free.getsockname()[1]}"
        environment = {"PATH": os.environ["PATH"], "AGENT_SOCKET": agent_socket, "PORT": self.address.split(":")[-1]}
        self.process = subprocess.Popen(["node", CHECKS / "services" / "secrets" / "service.mjs"], env=environment)

    def __enter__(self):
        end = time.monotonic() + 30
        while not self.answers():
            if time.monotonic() > end or self.process.poll() is not None:
                self.__exit__()
                raise SystemExit("the Node service did not start")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)

    def answers(self):
        try:
            self.call("secret-00")
        except OSError:
            return False
        return True

    def call(self, name, method="GET"):
        request = urllib.request.Request(f"{self.address}/secrets/{name}", method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()


def keep_rotating(service, names, problems):
    for name in names * ROUNDS:
        try:
            service.call(name, "POST")
        except urllib.error.HTTPError as error:
            problems.append(f"{name}: {error.code} {error.read().decode()}")


def rotate_and_migrate(check, service, settings, names):
    problems, runs = [], 0
    threads = [
        # In the same order, so that callers meet on each secret.
        threading.Thread(target=keep_rotating, args=(service, names, problems), daemon=True)
        for _ in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + LIMIT_SECONDS
    while any(thread.is_alive() for thread in threads):
        if time.monotonic() > end:
            raise SystemExit(f"the rotations took over {LIMIT_SECONDS} s")
        # 3: it gave up on a row that was changed under it again and again.
        check.migrate_tokens("migrate", "--batch-size", "3", codes=(0, 3), **settings)
        runs += 1
    check.expect(problems, [], "every rotation succeeds")
    return runs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens, next to tokenseal-agent")
    program = Path(parser.parse_args().program)
    check = Check(program)
    names = [f"secret-{number:02}" for number in range(SECRETS)]
    with tempfile.TemporaryDirectory() as place, agents.schema() as (database, url):
        keyring = make_keyring(check, Path(place))
        database.execute("CREATE TABLE secrets (name text PRIMARY KEY, value text NOT NULL)")
        for number, name in enumerate(names):
            text = stored(number, name, f"{name} generation 0")
            database.execute("INSERT INTO secrets VALUES (%s, %s)", (name, text))
        settings = {**keyring, "database": url, "profile": keyring["TOKEN_PROFILE"], "key": keyring["KMS_KEY_ID"]}
        with (
            agents.running(program.with_name("tokenseal-agent"), DATABASE_URL=url, **keyring) as socket_path,
            Service(socket_path) as service,
        ):
            check.expect(service.call(names[3]), f"{names[3]} generation 0", "an envelope of KMSService is read")
            runs = rotate_and_migrate(check, service, settings, names)
            check.expect(check.migrate_tokens("migrate", **settings)["failed"], 0, "a last migrate")
            for name in names:
                check.expect(service.call(name), f"{name} generation {ROUNDS * CALLERS}", f"every rotation of {name}")
        verified = check.migrate_tokens("verify", BINDING="require", PLAINTEXT_POLICY="forbid", **settings)
        check.expect((verified["ok"], verified["unbound"], verified["failed"]), (SECRETS, 0, 0), "verify")
    print(f"{check.held} held; {SECRETS * ROUNDS * CALLERS} rotations next to {runs} runs of migrate, none lost")


if __name__ == "__main__":
    main()
