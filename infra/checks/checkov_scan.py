#!/usr/bin/env python3
"""Scans the Terraform code, the manifests and the Dockerfile with checkov. A skip is next to its resource, with its reason."""

import json

import common

FRAMEWORKS = ["terraform", "kubernetes", "dockerfile"]


# Manifests are scanned as kustomize builds them for production: the parts by themselves are not whole.
PLACES = {
    "terraform": lambda work: ["--directory", work, "--skip-path", "checks/fixtures"],
    "kubernetes": lambda work: ["--file", built(work)],
    "dockerfile": lambda work: ["--file", common.REPOSITORY / "Dockerfile"],
}


def built(work):
    file = work / "production.yaml"
    file.write_text(common.run(["kubectl", "kustomize", work / "kubernetes" / "overlays" / "prod"]).stdout)
    return file


def scan(framework, *what):
    command = [
        common.VENV_CHECKOV / "bin" / "checkov", *what, "--framework", framework, "--skip-download", "--compact",
        "--quiet", "--output", "json",
    ]
    done = common.run(command, check=False)
    start = min(place for place in (done.stdout.find("{"), done.stdout.find("[")) if place >= 0)
    results = json.loads(done.stdout[start:])
    return results if isinstance(results, list) else [results]


def main():
    report = common.Report("checkov_scan")
    work = common.copy("checkov")
    for framework in FRAMEWORKS:
        place = PLACES[framework](work)
        looked_at = 0
        for result in scan(framework, *place):
            summary = result.get("summary", result)
            looked_at += summary["passed"] + summary["failed"]
            report.passed += summary["passed"]
            for failed in result.get("results", {}).get("failed_checks", []):
                what = f"{failed['check_id']} {failed['check_name']}"
                report.check(False, f"{failed['file_path']}: {failed['resource']}: {what}")
            for skipped in result.get("results", {}).get("skipped_checks", []):
                reason = skipped["check_result"].get("suppress_comment", "").strip()
                report.check(reason, f"{skipped['check_id']} at {skipped['resource']} is skipped for a reason")
        report.check(looked_at, f"checkov looked at {framework}")
    report.finish()


if __name__ == "__main__":
    main()
