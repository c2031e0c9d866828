"""A running example service, on a table, a keyring and secrets of its own, with somebody else who writes tokens too."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request

import common

CHANNELS = [f"channel-{number:05}" for number in range(10)]


class Service:
    """The address of the service, its output, and the environment to run other programs in."""

    def __init__(self, address, output, environment):
        self.address = address
        self.output = output
        self.environment = environment

    def request(self, path, method="GET"):
        request = urllib.request.Request(f"http://{self.address}{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()


def demo_environment(migrate_tokens, place):
    """The variables of the table and the keyring that `migrate-tokens demo` leaves."""
    common.run([migrate_tokens, "demo", "--dir", place, "--rows", str(len(CHANNELS))])
    found = re.findall(r"^export (\w+)='(.*)'$", (place / "demo.env").read_text(), re.M)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KMS_"))}
    return env | dict(found)


@contextlib.contextmanager
def running(name, programs, **settings):
    """Starts the service, with further variables for it, and stops it as an orchestrator would: by SIGTERM."""
    place = common.TARGET / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    environment = demo_environment(programs["migrate-tokens"], place / "demo")
    (place / "secrets.env").write_text("OAUTH_CLIENT_SECRET=an-example-client-secret\n")
    address = f"127.0.0.1:{common.free_port()}"
    own = {"LISTEN": address, "OAUTH_LATENCY_MS": "10", "SECRETS_SOURCE": f"dotenv:{place / 'secrets.env'}"}
    output, log = place / "output", place / "log"
    with open(output, "w") as out, open(log, "w") as err:
        server = subprocess.Popen([programs["example-service"]], env=environment | own | settings, stdout=out, stderr=err)
    service = Service(address, output, environment)
    try:
        if not common.until(lambda: service.request("/readyz")):
            sys.exit(f"the example service did not start:\n{log.read_text()}")
        yield service
    finally:
        server.terminate()
        server.wait(timeout=30)


@contextlib.contextmanager
def busy(service, migrate_tokens):
    """Reads and refreshes tokens, which another process writes as well: those the service has to unwrap."""
    stop = threading.Event()
    workers = [
        threading.Thread(target=keep, args=(stop, 0.1, lambda channel: use(service, channel))),
        threading.Thread(target=keep, args=(stop, 1, lambda channel: put(service, migrate_tokens, channel))),
    ]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def keep(stop, pause, what):
    """Does something to one channel after the other."""
    number = 0
    while not stop.wait(pause):
        # A refresh that loses against the other writer answers 409, as it should.
        with contextlib.suppress(OSError):
            what(CHANNELS[number % len(CHANNELS)])
        number += 1


def use(service, channel):
    service.request(f"/tokens/twitch/{channel}")
    service.request(f"/tokens/twitch/{channel}/refresh", "POST")


def put(service, migrate_tokens, channel):
    command = [migrate_tokens, "put", "--row", f"provider=twitch,channel={channel}", "--column", "access_token"]
    common.run(command, env=service.environment, input=f"written-elsewhere-{time.time()}", check=False)
