#!/usr/bin/env python3
"""Every Terraform file is formatted, and nothing in them does what must never be done."""

import re

import common

FORBIDDEN = {
    r"bypass_policy_lockout_safety_check": "the lockout check is never bypassed",
    r"exclude_management_event_sources": "no event source is left out of the trail",
}


def main():
    report = common.Report("terraform_format")
    done = common.terraform("fmt", "-check", "-recursive", "-list=true", cwd=common.INFRA, check=False)
    report.check(done.returncode == 0, "terraform fmt finds nothing to do", done.stdout)
    for file in sorted(common.INFRA.rglob("*.tf")):
        text = file.read_text()
        for pattern, why in FORBIDDEN.items():
            report.check(not re.search(pattern, text), f"{file.relative_to(common.INFRA)}: {why}")
    places = [common.INFRA / "modules" / name for name in common.PROVIDER_FREE + common.MODULES + common.NAMES_ONLY]
    found = sorted((common.INFRA / "modules").iterdir())
    report.equal(found, sorted(places), "every module is one that the checks know")
    for place in places:
        for name in ("main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md", "tests"):
            if name == "tests" and place.name in common.NAMES_ONLY:
                continue
            report.check((place / name).exists(), f"{place.name} has {name}")
        described(report, place)
    for name in common.EXAMPLES:
        described(report, common.INFRA / "examples" / name)
    report.finish()


def described(report, place):
    """Every variable has a type, a description and a validation, every output a description, and the README knows both."""
    readme = (place / "README.md").read_text() if (place / "README.md").exists() else ""
    for file in place.glob("*.tf"):
        for kind, name, body in re.findall(r'^(variable|output) "([^"]+)" \{\n(.*?)^\}', file.read_text(), re.M | re.S):
            report.check(re.search(r"^  description = ", body, re.M), f"{place.name}: {kind} {name} is described")
            report.check(f"`{name}`" in readme, f"{place.name}: {kind} {name} is in its README")
            if kind == "variable":
                typed = re.search(r"^  type\s+= (\w+)", body, re.M)
                report.check(typed, f"{place.name}: variable {name} is typed")
                # Examples hand theirs on to modules, which validate them.
                if typed and typed[1] != "bool" and place.parent.name == "modules":
                    report.check("  validation {" in body, f"{place.name}: variable {name} is validated")


if __name__ == "__main__":
    main()
