#!/usr/bin/env python3
"""Validates the Kubernetes manifests strictly, and what schemas cannot say: who runs as what, and with which variables."""

import json

import common

common.enter()

import jsonschema  # noqa: E402
import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402

VERSION = "1.31"


def documents():
    for file in sorted((common.INFRA / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            yield file.name, document


def valid(report, file, document):
    what = f"{file}: {document['kind']} {document['metadata']['name']} fits its schema"
    try:
        if document["kind"] == "ServiceMonitor":
            jsonschema.validate(document, common.load(common.INFRA / "kubernetes" / "servicemonitor.schema.json"))
        else:
            kubernetes_validate.validate(document, VERSION, strict=True)
        report.check(True, what)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        report.check(False, what, getattr(error, "message", str(error)))


def locked(report, file, pod):
    """No root, no writable root file system, no capabilities, no token of the cluster."""
    report.check(pod["securityContext"]["runAsNonRoot"], f"{file}: runs as somebody else than root")
    report.check(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", f"{file}: filters system calls")
    report.check(pod["automountServiceAccountToken"] is False, f"{file}: has no token of the cluster")
    for container in pod.get("initContainers", []) + pod["containers"]:
        name = f"{file}: {container['name']}"
        context = container["securityContext"]
        report.check(context["readOnlyRootFilesystem"], f"{name}: its root file system is read-only")
        report.check(context["allowPrivilegeEscalation"] is False, f"{name}: cannot gain rights")
        report.equal(context["capabilities"]["drop"], ["ALL"], f"{name}: has no capabilities")
        report.check("limits" in container["resources"], f"{name}: is bounded")
        for variable in container.get("env", []):
            report.check("value" not in variable, f"{name}: {variable['name']} comes from a Secret")


def main():
    report = common.Report("kubernetes_schemas")
    accounts, used = {}, set()
    for file, document in documents():
        valid(report, file, document)
        if document["kind"] == "ServiceAccount":
            accounts[document["metadata"]["name"]] = document["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        if document["kind"] == "Job":
            locked(report, file, document["spec"]["template"]["spec"])
            used.add(document["spec"]["template"]["spec"]["serviceAccountName"])
        if document["kind"] == "ConfigMap":
            report.equal(set(document["data"]), common.VARIABLES_WITH_ALARMS, f"{file}: the variables are Terraform's output environment")
    report.check(used <= set(accounts), "the Job's service account exists")
    report.check(accounts["token-migrator"].endswith("-migrator"), "the migrator becomes the migrator's role")
    broken = json.loads(json.dumps(next(document for _, document in documents() if document["kind"] == "Job")))
    broken["spec"]["template"]["spec"]["containers"][0]["securityContxt"] = {}
    try:
        kubernetes_validate.validate(broken, VERSION, strict=True)
        report.check(False, "a typo in a manifest is found")
    except kubernetes_validate.ValidationError:
        report.check(True, "a typo in a manifest is found")
    report.finish()


if __name__ == "__main__":
    main()
