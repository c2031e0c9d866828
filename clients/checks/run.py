#!/usr/bin/env python3
"""Runs every check of the clients, and prints one line of JSON for each: its result and its output.

`--program` is the path of migrate-tokens. TOKENSEAL_TEST_MOTO_URL and TOKENSEAL_TEST_POSTGRES_URL say where servers are.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

from common import CHECKS, CLIENTS, GOPATH, NODE, PROFILES, PYTHON, ROOT, TARGET, VENV, go, go_environment, run

MOTO = "TOKENSEAL_TEST_MOTO_URL"
POSTGRES = "TOKENSEAL_TEST_POSTGRES_URL"
GOFMT = "lib/python*/site-packages/go/bin/gofmt"


def python_style(_):
    sources = [CLIENTS / "python", CHECKS]
    run([VENV / "bin" / "ruff", "check", "--no-cache", CLIENTS / "python"])
    run([VENV / "bin" / "ruff", "format", "--no-cache", "--check", "--line-length", "120", *sources])
    cache = f"--cache-dir={TARGET / 'mypy'}"
    return run([VENV / "bin" / "mypy", cache], cwd=CLIENTS / "python").stdout.strip()


def python_tests(_):
    words = [PYTHON, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
    return run(words, cwd=CLIENTS / "python").stdout.strip().splitlines()[-1]


def python_wheel(_):
    with tempfile.TemporaryDirectory() as scratch:
        words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", scratch, CLIENTS / "python"]
        run([PYTHON, "-m", "pip", *words])
        (wheel,) = Path(scratch).glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        wanted = ["tokenseal/py.typed", *(f"tokenseal/profiles/{path.name}" for path in PROFILES.glob("*.toml"))]
        if not wheel.name.endswith("-py3-none-any.whl") or not set(wanted) <= set(names):
            raise SystemExit(f"{wheel.name} lacks something: {names}")
        code = "import tokenseal; print(tokenseal.Profile.load('pulseplan').name)"
        shown = run([PYTHON, "-c", code], env={**os.environ, "PYTHONPATH": str(wheel)}).stdout.strip()
        if shown != "pulseplan":
            raise SystemExit(shown)
        return wheel.name


def node_types(_):
    run([NODE / "node_modules" / ".bin" / "tsc", "-p", CLIENTS / "node"])
    return "no problem found by tsc"


def node_tests(_):
    shown = run(["node", "--test", "--test-reporter=tap", "test/"], cwd=CLIENTS / "node").stdout
    return ", ".join(re.findall(r"^# ((?:pass|fail|skipped) \d+)$", shown, re.MULTILINE))


def node_package(_):
    with tempfile.TemporaryDirectory() as scratch:
        run(["npm", "pack", "--silent", "--pack-destination", scratch], cwd=CLIENTS / "node")
        (tarball,) = Path(scratch).glob("*.tgz")
        (Path(scratch) / "package.json").write_text('{"private": true, "type": "module"}')
        run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--offline", "--no-save", tarball], cwd=scratch)
        code = "import { Profile } from 'tokenseal'; console.log(Profile.load('pulseplan').name)"
        (Path(scratch) / "try.js").write_text(code)
        if run(["node", "try.js"], cwd=scratch).stdout.strip() != "pulseplan":
            raise SystemExit("the packed client does not load its profiles")
        return tarball.name


def go_core(_):
    (gofmt,) = VENV.glob(GOFMT)
    unformatted = run([gofmt, "-l", CLIENTS / "go", CHECKS / "tools"]).stdout.strip()
    if unformatted:
        raise SystemExit(f"not formatted: {unformatted}")
    go("vet", ".", cwd=CLIENTS / "go")
    outside = go(
        "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".", cwd=CLIENTS / "go"
    ).stdout.split()
    if outside != ["tokenseal"]:
        raise SystemExit(f"the core needs more than the standard library: {outside}")
    return last_line(go("test", "-count=1", ".", cwd=CLIENTS / "go").stdout)


def go_adapters(_):
    packages = [f"tokenseal/{name}" for name in ("awskms", "chacha", "tomlprofile")]
    go("vet", *packages, modules=False, cwd=GOPATH / "src")
    shown = go("test", "-count=1", *packages, modules=False, cwd=GOPATH / "src").stdout
    return f"{len(re.findall('^ok', shown, re.MULTILINE))} of {len(packages)} packages"


def go_readme(_):
    """The example of the README runs, but for the address of the key service, which the SDK's own setting lacks."""
    code = re.search(r"```go\n(.*?)```", (CLIENTS / "go" / "README.md").read_text(), re.DOTALL)[1]
    url = os.environ[MOTO]
    wanted = "kms.NewFromConfig(configuration)"
    if wanted not in code:
        raise SystemExit("the example does not make its client as expected")
    resolver = f'kms.NewFromConfig(configuration, kms.WithEndpointResolver(kms.EndpointResolverFromURL("{url}")))'
    place = GOPATH / "src" / "tokenseal-readme"
    place.mkdir(exist_ok=True)
    (place / "main.go").write_text(code.replace(wanted, resolver))
    go("build", "-o", TARGET / "goreadme", "tokenseal-readme", modules=False, cwd=GOPATH / "src")
    run([PYTHON, CHECKS / "readme_row.py", TARGET / "goreadme"])
    return "the example reads and writes a row"


def profiles(_):
    """The built-in profiles of every client are those of the programs."""
    for path in PROFILES.glob("*.toml"):
        for copy in (CLIENTS / "python/src/tokenseal/profiles", CLIENTS / "node/profiles"):
            if (copy / path.name).read_text() != path.read_text():
                raise SystemExit(f"{copy.relative_to(ROOT)}/{path.name} differs from {path.relative_to(ROOT)}")
        ours = json.loads((CLIENTS / "go/profiles" / f"{path.stem}.json").read_text())
        if ours != tomllib.loads(path.read_text()):
            raise SystemExit(f"clients/go/profiles/{path.stem}.json differs from {path.relative_to(ROOT)}")
    return "the same in every language"


def cross(program):
    return last_line(run([PYTHON, CHECKS / "cross.py", "--program", program]).stdout)


def kms_service(program):
    return last_line(run([PYTHON, CHECKS / "kms_service.py", "--program", program]).stdout)


def mixed_writers(program):
    return last_line(run([PYTHON, CHECKS / "mixed_writers.py", "--program", program]).stdout)


def fresh(program):
    return last_line(run([PYTHON, CHECKS / "fresh.py", "--program", program]).stdout)


def vod_tender(program):
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS / "python" / "src")}
    return last_line(run([PYTHON, CHECKS / "vod_tender.py", "--program", program], env=environment).stdout)


def autonomous(program):
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS / "python" / "src")}
    return last_line(run([PYTHON, CHECKS / "autonomous.py", "--program", program], env=environment).stdout)


def pulseplan(program):
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS / "python" / "src")}
    return last_line(run([PYTHON, CHECKS / "pulseplan.py", "--program", program], env=environment).stdout)


def agent(program):
    words = [PYTHON, CHECKS / "agent.py", "--program", program, "--agent", Path(program).with_name("tokenseal-agent")]
    return last_line(run(words).stdout)


# Name, command, and the parts without which it cannot run.
TABLE = [
    ("profiles", profiles, []),
    ("python-style", python_style, ["python"]),
    ("python", python_tests, ["python", "moto", "postgres"]),
    ("python-wheel", python_wheel, ["python"]),
    ("node-types", node_types, ["node"]),
    ("node", node_tests, ["node", "moto", "postgres"]),
    ("node-package", node_package, ["node"]),
    ("go", go_core, ["go"]),
    ("go-adapters", go_adapters, ["go-adapters", "moto"]),
    ("go-readme", go_readme, ["go-adapters", "moto", "postgres", "python"]),
    ("vod-tender", vod_tender, ["python", "node", "go-adapters", "moto", "postgres"]),
    ("autonomous", autonomous, ["python", "node", "go-adapters", "moto", "postgres"]),
    ("pulseplan", pulseplan, ["python", "node", "go-adapters", "moto", "postgres"]),
    ("agent", agent, ["python", "node", "go"]),
    ("kms-service", kms_service, ["python", "node", "go-adapters", "moto", "postgres"]),
    ("fresh", fresh, ["python", "node", "go-adapters", "moto", "postgres"]),
    ("mixed-writers", mixed_writers, ["python", "node", "go-adapters", "moto", "postgres"]),
    ("cross", cross, ["python", "node", "go-adapters", "moto", "postgres"]),
]


def last_line(text):
    return text.strip().splitlines()[-1] if text.strip() else "it printed nothing"


def parts():
    """Missing programs of this machine, by part."""
    done = subprocess.run([sys.executable, CHECKS / "prepare.py"], stdout=subprocess.PIPE, text=True)
    lacking = {name: "prepare.py ended early" for name in ("python", "node", "go", "go-adapters")}
    for line in done.stdout.splitlines():
        try:
            part = json.loads(line)
        except ValueError:
            print(line, file=sys.stderr)
            continue
        lacking[part["part"]] = part.get("unavailable")
    for name, variable in (("moto", MOTO), ("postgres", POSTGRES)):
        url = os.environ.get(variable, "")
        lacking[name] = None
        if not url or url.startswith("unavailable:"):
            os.environ.pop(variable, None)
            lacking[name] = url.removeprefix("unavailable:") or f"{variable} is not set"
    if lacking["go"] is not None:
        lacking["go-adapters"] = lacking["go"]
    return lacking


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens")
    program = parser.parse_args().program
    lacking = parts()
    failed = False
    for name, check, needs in TABLE:
        start = time.monotonic()
        reason = next((f"{need}: {lacking[need]}" for need in needs if lacking[need] is not None), None)
        outcome, said = ("not run", reason) if reason else ended(check, program)
        failed |= outcome == "failed"
        line = {"check": name, "outcome": outcome, "said": said, "seconds": round(time.monotonic() - start, 1)}
        print(json.dumps(line), flush=True)
    sys.exit(1 if failed else 0)


def ended(check, program):
    sys.stdout.flush()
    printed = sys.stdout
    sys.stdout = sys.stderr  # what a failing command printed is no line of JSON
    try:
        return "ok", check(program)
    except SystemExit as failure:
        return "failed", str(failure)
    finally:
        sys.stdout = printed


if __name__ == "__main__":
    main()
