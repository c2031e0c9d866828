#!/usr/bin/env python3
"""Fetches the dependencies of the clients' checks into target/clients: a Python environment with Go, Node packages, Go libraries.

Prints one line of JSON for each of `python`, `node`, `go` and `go-adapters`: how it is there, or why it is not.
"""

import json
import shutil
import subprocess
import tempfile
import venv
from pathlib import Path

from common import CHECKS, CLIENTS, GOPATH, NODE, TARGET, VENV, go, run

NODE_LEAST = 20
# Debian's source packages of the Go adapters' imports; they are only unpacked.
GO_LIBRARIES = [
    "golang-github-aws-aws-sdk-go-v2-dev",
    "golang-github-aws-smithy-go-dev",
    "golang-github-burntsushi-toml-dev",
    "golang-github-lib-pq-dev",
    "golang-golang-x-crypto-dev",
    "golang-golang-x-sys-dev",
]


class NotThere(Exception):
    """A part that this machine lacks."""


def command(words, what, **options):
    try:
        done = run(words, check=False, **options)
    except OSError:
        raise NotThere(f"{Path(str(words[0])).name} is not installed") from None
    if done.returncode != 0:
        print(done.stdout, end="")
        raise NotThere(what)
    return done.stdout


def python():
    wanted = (CHECKS / "requirements.txt").read_text()
    mark = VENV / "requirements.txt"
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(VENV, ignore_errors=True)
        try:
            venv.create(VENV, with_pip=True)
        except subprocess.CalledProcessError:
            raise NotThere("python3 cannot make virtual environments: install python3-venv") from None
        requirements = CHECKS / "requirements.txt"
        command([VENV / "bin" / "pip", "install", "--quiet", "-r", requirements], "pip cannot fetch the packages")
        mark.write_text(wanted)
    return command([VENV / "bin" / "python", "--version"], "python does not run").strip()


def node():
    version = command(["node", "--version"], "node does not run").strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_LEAST:
        raise NotThere(f"node is {version}, older than {NODE_LEAST}")
    wanted = (CHECKS / "node" / "package.json").read_text()
    mark = NODE / "complete"
    if not mark.exists() or mark.read_text() != wanted:
        NODE.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKS / "node" / "package.json", NODE)
        words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        command(words, "npm cannot fetch the packages", cwd=NODE)
        mark.write_text(wanted)
    link = CLIENTS / "node" / "node_modules"
    if not link.is_symlink():
        link.symlink_to(NODE / "node_modules")
    return f"Node {version}"


def go_toolchain():
    if not (VENV / "bin" / "go").exists():
        raise NotThere("the Go toolchain comes with the Python environment, which is not there")
    return go("version").stdout.strip().removeprefix("go version ")


def go_adapters():
    mark = GOPATH / "complete"
    wanted = "\n".join(GO_LIBRARIES)
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(GOPATH, ignore_errors=True)
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch).chmod(0o755)
            command(["apt-get", "download", *GO_LIBRARIES], "Debian's packages cannot be fetched", cwd=scratch)
            unpacked = Path(scratch) / "unpacked"
            for package in Path(scratch).glob("*.deb"):
                command(["dpkg-deb", "-x", package, unpacked], "dpkg-deb cannot unpack")
            GOPATH.mkdir(parents=True)
            shutil.copytree(unpacked / "usr/share/gocode/src", GOPATH / "src", symlinks=True)
        (GOPATH / "src" / "tokenseal").symlink_to(CLIENTS / "go")
        mark.write_text(wanted)
    return f"{len(GO_LIBRARIES)} libraries of Debian"


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    parts = [("python", python), ("node", node), ("go", go_toolchain), ("go-adapters", go_adapters)]
    for name, make in parts:
        try:
            print(json.dumps({"part": name, "how": make()}), flush=True)
        except NotThere as reason:
            print(json.dumps({"part": name, "unavailable": str(reason)}), flush=True)


if __name__ == "__main__":
    main()
