"""A place in which the commands of a runbook run as they are written.

`migrate-tokens` and `manage-secrets` are this project's, on a migrated SQLite table, a keyring, and secrets in an emulator of AWS; `aws` is
AWS's own program against that emulator; `curl` asks it, too. There is no cluster: `kubectl` is the real one, reads and writes a small server
that knows the project's objects, and so has to understand each command. `terraform` has to know its arguments, and does nothing.
"""

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import boto3

import common
import dashboard_live
import kubernetes_stub
import service

REGION = "eu-central-1"
TRAIL = "vod-tender-production-audit"
# Words in capitals that the reader replaces.
SECRET = "oauth/client"
LIMIT_SECONDS = 60

# Preparation of commands that change something: run right before them, to create the state after the failure.
BEFORE = {
    r"aws kms cancel-key-deletion": lambda world: world.kms().schedule_key_deletion(KeyId=world.key, PendingWindowInDays=7),
    r"aws kms (enable-key|describe-key|enable-key-rotation|get-key-rotation-status)": lambda world: world.usable(),
    r"aws secretsmanager restore-secret": lambda world: world.secrets().delete_secret(SecretId=SECRET),
    r"aws secretsmanager rotate-secret": lambda world: None,
}
# Exit codes other than 0 that are an answer.
ANSWERS = {r"^migrate-tokens .*vault:": {2, 5}, r"^migrate-tokens (verify|status --check)": {4}, r"^manage-secrets scan": {3, 4}, r"^migrate-tokens rollback": {3}}
# Commands that the emulator does not know, or that need a running AWS: their arguments are checked by `aws` itself.
ARGUMENTS_ONLY = r"aws (cloudtrail (validate-logs|lookup-events|get-event-selectors)|secretsmanager rotate-secret|logs tail|kms disable-key|service-quotas|kms revoke-grant)"


@dataclass
class Outcome:
    held: bool
    shown: str
    said: str


class Servers:
    """Shared by all pages: the emulator of AWS, a Prometheus with the rules, a stand-in for a cluster."""

    def __init__(self, aws, prometheus, kubeconfig):
        self.aws, self.prometheus, self.kubeconfig = aws, prometheus, kubeconfig

    def query(self, text):
        body = urllib.parse.urlencode({"query": text}).encode()
        try:
            with urllib.request.urlopen(f"{self.prometheus}/api/v1/query", data=body, timeout=30) as found:
                return json.load(found)["status"]
        except urllib.error.HTTPError as error:
            return error.read().decode()


@contextlib.contextmanager
def emulator():
    address = f"127.0.0.1:{common.free_port()}"
    host, _, port = address.partition(":")
    server = subprocess.Popen([common.VENV / "bin" / "moto_server", "-H", host, "-p", port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if not common.until(lambda: urllib.request.urlopen(f"http://{address}/moto-api/data.json", timeout=5), seconds=60):
            sys.exit("moto did not start")
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def servers():
    with tempfile.TemporaryDirectory() as place:
        configuration = {"rule_files": [str(dashboard_live.PLACE / name) for name in dashboard_live.RULES]}
        with emulator() as aws, dashboard_live.serving(configuration, place) as prometheus, kubernetes_stub.serving(place) as kubeconfig:
            yield Servers(aws, prometheus, kubeconfig)


class World:
    """A page's own table, keyring, key, secrets and trail."""

    def __init__(self, name, programs, servers):
        self.servers, self.programs = servers, programs
        self.place = common.TARGET / "runbooks" / name
        shutil.rmtree(self.place, ignore_errors=True)
        (self.place / "bin").mkdir(parents=True)
        # Commands run at the root of a copy of the repository, as far as they name parts of it.
        (self.place / "infra").symlink_to(common.INFRA)
        self.table = service.demo_environment(programs["migrate-tokens"], self.place / "demo")
        urllib.request.urlopen(urllib.request.Request(f"{servers.aws}/moto-api/reset", method="POST"), timeout=30).close()
        self.key = self.kms().create_key()["KeyMetadata"]["KeyId"]
        self.secrets().create_secret(Name=SECRET, SecretString="a-secret-of-the-check")
        self.secrets().create_secret(Name="jwt/secret", SecretString="a-signing-key-of-the-check")
        self.audit()
        self.write_programs()
        # A local store of secrets, and what a backup is restored into is not there yet.
        for store in ("old.db", "secrets.db"):
            self.run(f'printf %s "$VALUE" | manage-secrets --source local:{store} set {SECRET}')

    def client(self, name):
        return boto3.client(name, region_name=REGION, endpoint_url=self.servers.aws, aws_access_key_id="test", aws_secret_access_key="test")

    def kms(self):
        return self.client("kms")

    def secrets(self):
        return self.client("secretsmanager")

    def audit(self):
        self.client("logs").create_log_group(logGroupName=f"/aws/cloudtrail/{TRAIL}")
        self.client("s3").create_bucket(Bucket=TRAIL, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.client("cloudtrail").create_trail(Name=TRAIL, S3BucketName=TRAIL)

    def usable(self):
        if self.kms().describe_key(KeyId=self.key)["KeyMetadata"]["KeyState"] == "PendingDeletion":
            self.kms().cancel_key_deletion(KeyId=self.key)

    def write_programs(self):
        """Programs that set what an operator or a pod has set, and then become the real ones."""
        amazon = {"AWS_ENDPOINT_URL": self.servers.aws, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                  "AWS_MAX_ATTEMPTS": "1"}
        table = {name: value for name, value in self.table.items() if os.environ.get(name) != value}
        self.wrap("migrate-tokens", self.programs["migrate-tokens"], table)
        self.wrap("manage-secrets", self.programs["manage-secrets"], amazon | {"KMS_KEY_ID": table["KMS_KEY_ID"], "KMS_MASTER_KEY": table["KMS_MASTER_KEY"]})
        self.wrap("aws", common.VENV / "bin" / "aws", amazon)
        self.wrap("kubectl", shutil.which("kubectl"), {"KUBECONFIG": self.servers.kubeconfig})
        # OpenBao's and Vault's commands: there is no server here, so they are only read.
        self.write("bao", "#!/bin/sh\nexit 0\n")
        self.write("terraform", f'#!/bin/sh\nexec "{shutil.which("terraform") or "true"}" "$1" -help >/dev/null\n')

    def wrap(self, name, program, variables):
        lines = "".join(f"export {variable}='{value}'\n" for variable, value in variables.items())
        self.write(name, f'#!/bin/sh\n{lines}exec "{program}" "$@"\n')

    def write(self, name, text):
        file = self.place / "bin" / name
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def replaced(self, script):
        """The script with the words in capitals replaced that the reader replaces."""
        for word, value in {"KEY": self.key, "NAME": SECRET, "FUNCTION": "rotate", "ID": "1", "P": "90d"}.items():
            script = re.sub(rf"(?<=[ =]){word}(?=[ '\n;|]|$)", value, script)
        return script.replace("my-channel", service.CHANNELS[0])

    def run(self, script):
        script = self.replaced(script)
        shown = script.strip().splitlines()[0][:100]
        for pattern, prepare in BEFORE.items():
            if re.search(pattern, script):
                prepare(self)
        path = f"{self.place / 'bin'}{os.pathsep}{os.environ['PATH']}"
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KMS_", "DATABASE_"))}
        env |= {"PATH": path, "KMS_KEY_ID": self.key, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": self.servers.aws, "LC_ALL": "C.UTF-8",
                "REFRESH_PAUSE_FILE": str(self.place / "paused"), "NEW": self.table["ENCRYPTION_KEY"],
                "VALUE": "a-value-of-the-check"}
        worst, said = 0, ""
        for command in self.commands(script):
            done = subprocess.run(["bash", "-c", command], cwd=self.place, env=env, text=True, timeout=LIMIT_SECONDS,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if not self.answered(command, done):
                worst, said = done.returncode, f"{command.strip()}\n{done.stdout[-1500:]}"
        return Outcome(worst == 0, shown, said)

    def commands(self, script):
        return [script] if not re.search(ARGUMENTS_ONLY, script) else re.split(r"\n(?! )", script.strip())

    @staticmethod
    def answered(command, done):
        allowed = {0}
        for pattern, codes in ANSWERS.items():
            if re.search(pattern, command, re.M):
                allowed |= codes
        if re.search(ARGUMENTS_ONLY, command):
            # 252: the arguments are wrong. Anything later is the service's.
            return done.returncode != 252
        return done.returncode in allowed
