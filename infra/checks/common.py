"""Shared by all checks: paths, running Terraform, reporting a result."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

CHECKS = Path(__file__).resolve().parent
INFRA = CHECKS.parent
REPOSITORY = INFRA.parent
TARGET = REPOSITORY / "target" / "infra"
TERRAFORM_RC = TARGET / "terraform.rc"
VENV = TARGET / "venv"
VENV_CHECKOV = TARGET / "venv-checkov"
NODE = TARGET / "node"

# Modules without a provider, and modules with it.
PROVIDER_FREE = ["policy-docs", "audit-patterns", "openbao-policies"]
MODULES = [
    "kms-key", "kms-key-multi-region", "kms-replica", "kms-alias", "workload-access", "pod-identity-association",
    "audit-trail", "log-bucket", "alarms", "secrets",
]
# Modules whose provider no registry that the checks use has: only their names are compared with its schema.
NAMES_ONLY = ["openbao"]
EXAMPLES = ["minimal", "irsa", "pod-identity", "multi-region", "log-archive", "pipeline", "complete"]

# Variables of the programs that the infrastructure sets: the output environment, name for name.
VARIABLES = {"AWS_REGION", "ENCRYPTION_CONTEXT", "ENVIRONMENT", "KMS_ALLOWED_KEYS", "KMS_KEY_ID"}
VARIABLES_WITH_ALARMS = VARIABLES | {"EMF_DIMENSIONS", "EMF_METRICS"}


def enter(venv=VENV):
    """Goes on in the checks' own Python environment, which prepare.py makes."""
    python = venv / "bin" / "python"
    if Path(sys.prefix) == venv:
        return
    if not python.exists():
        sys.exit(f"{python} is not there: run infra/checks/prepare.py first")
    os.execv(python, [str(python), *sys.argv])


class Report:
    """Counts what held and what did not, and ends the program accordingly."""

    def __init__(self, name):
        self.name = name
        self.passed = 0
        self.failures = []

    def check(self, held, what, detail=""):
        """Notes one thing that should hold; returns whether it does."""
        if held:
            self.passed += 1
        else:
            self.failures.append(what)
            print(f"FAILED  {what}" + (f"\n        {detail}" if detail else ""))
        return bool(held)

    def equal(self, actual, wanted, what):
        return self.check(actual == wanted, what, f"wanted {wanted!r}, found {actual!r}")

    def finish(self):
        """Exit code 0 if everything held and anything was looked at, otherwise 1."""
        print(f"{self.name}: {self.passed} passed, {len(self.failures)} failed")
        sys.exit(0 if self.passed and not self.failures else 1)


def run(command, cwd=None, env=None, check=True, quiet=True, input=None):
    """Runs a command; on failure prints its output, and stops unless check is off."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, input=input, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if not quiet or (check and done.returncode != 0):
        print(done.stdout if not quiet else "\n".join(done.stdout.splitlines()[-60:]))
    if check and done.returncode != 0:
        sys.exit(f"failed with {done.returncode}: {' '.join(str(part) for part in command)}")
    return done


def terraform_environment(**more):
    """The environment for Terraform: our mirror, no telemetry, and no AWS settings of the machine."""
    if not TERRAFORM_RC.exists():
        # Modules without a provider need no mirror, and so no prepare.py.
        TARGET.mkdir(parents=True, exist_ok=True)
        TERRAFORM_RC.touch()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    env.update(TF_CLI_CONFIG_FILE=str(TERRAFORM_RC), CHECKPOINT_DISABLE="1", TF_IN_AUTOMATION="1", NO_COLOR="1")
    env.update(more)
    return env


def terraform(*arguments, cwd, check=True, quiet=True, env=None):
    return run(["terraform", *arguments], cwd=cwd, env=env or terraform_environment(), check=check, quiet=quiet)


def copy(name):
    """A copy of infra/ below target/, so that a check leaves nothing in the sources."""
    work = TARGET / "work" / name
    shutil.rmtree(work, ignore_errors=True)
    unwanted = shutil.ignore_patterns(".terraform*", "terraform.tfstate*", "__pycache__", "work")
    shutil.copytree(INFRA, work, ignore=unwanted)
    return work


def free_port():
    """A port that no process listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until(attempt, seconds=60):
    """Tries until it works, and says whether it did."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            attempt()
            return True
        time.sleep(0.1)
    return False


def add_programs(parser):
    """The option --program PATH, repeatable: programs of this project that a check runs."""
    parser.add_argument("--program", type=Path, action="append", default=[], help="a program to run; repeatable")


def programs(options, *wanted):
    """The programs given, by name; stops where one is missing that the check cannot do without."""
    found = {path.name: path.resolve() for path in options.program}
    missing = [name for name in wanted if name not in found]
    if missing:
        sys.exit(f"give the path of {' and '.join(missing)} with --program")
    return found


def load(path):
    return json.loads(Path(path).read_text())
