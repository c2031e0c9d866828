"""Places and helpers that the clients' checks share."""

import os
import subprocess
from pathlib import Path

CHECKS = Path(__file__).resolve().parent
CLIENTS = CHECKS.parent
ROOT = CLIENTS.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "clients"
VENV = TARGET / "venv"
NODE = TARGET / "node"
GOPATH = TARGET / "gopath"
VECTORS = ROOT / "crates" / "envelope-core" / "tests" / "vectors"
PROFILES = ROOT / "crates" / "token-store" / "profiles"

PYTHON = VENV / "bin" / "python"


def run(command, check=True, **options):
    """Runs a command for its output; where it fails, the output is the message."""
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if check and done.returncode != 0:
        print(done.stdout, end="")
        raise SystemExit(f"{Path(str(command[0])).name} failed with status {done.returncode}")
    return done


def go_environment():
    """Go without any proxy: modules come from this repository, the adapters' libraries from Debian's packages."""
    return {
        **os.environ,
        "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "GOSUMDB": "off",
        "GOTOOLCHAIN": "local",
        "GOCACHE": str(TARGET / "go-cache"),
        "GOPATH": str(GOPATH),
        "CGO_ENABLED": "0",
    }


def go(*arguments, modules=True, **options):
    environment = {**go_environment(), "GO111MODULE": "on" if modules else "off"}
    if not modules:
        environment.pop("GOFLAGS")
    return run([VENV / "bin" / "go", *arguments], env=environment, **options)
