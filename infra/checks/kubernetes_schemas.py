#!/usr/bin/env python3
"""Builds every overlay with kustomize, validates what comes out strictly, and what schemas cannot say: who runs as what, and what
it may reach.

  --program PATH   migrate-tokens: the Jobs' arguments are those that it takes
"""

import argparse
import ipaddress
import json
import re
import shutil

import common

common.enter()

import jsonschema  # noqa: E402
import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402

PLACE = common.INFRA / "kubernetes"
SCHEMAS = common.CHECKS / "schemas"
VERSION = "1.31"
# Resources of the Prometheus operator, validated by schemas of our own after its API reference.
OPERATOR = {"ServiceMonitor": "servicemonitor.schema.json", "PrometheusRule": "prometheusrule.schema.json"}
OVERLAYS = {"dev": "development", "staging": "staging", "prod": "production"}
WANTED_JOBS = {"token-schema", "token-doctor", "token-migrator-doctor", "token-migration", "token-rollback", "token-rewrap",
               "token-status", "token-verify"}


def kustomize(place):
    """The objects that a kustomization makes."""
    command = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    return list(yaml.safe_load_all(common.run([*command, place]).stdout))


def valid(report, where, document):
    what = f"{where}: {document['kind']} {document['metadata']['name']} fits its schema"
    try:
        if document["kind"] in OPERATOR:
            jsonschema.validate(document, common.load(SCHEMAS / OPERATOR[document["kind"]]))
        else:
            kubernetes_validate.validate(document, VERSION, strict=True)
        report.check(True, what)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        report.check(False, what, getattr(error, "message", str(error)))


def locked(report, where, pod):
    """No root, no writable root file system, no capabilities, no token of the cluster."""
    report.check(pod["securityContext"]["runAsNonRoot"], f"{where}: does not run as root")
    report.check(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", f"{where}: filters system calls")
    report.check(pod["automountServiceAccountToken"] is False, f"{where}: has no token of the cluster")
    for container in pod.get("initContainers", []) + pod["containers"]:
        context = container["securityContext"]
        report.check(context["readOnlyRootFilesystem"], f"{where}: its root file system is read-only")
        report.check(context["allowPrivilegeEscalation"] is False, f"{where}: cannot gain rights")
        report.equal(context["capabilities"]["drop"], ["ALL"], f"{where}: has no capabilities")
        report.check("limits" in container["resources"], f"{where}: is bounded")
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        for variable in container["env"]:
            name, value = variable["name"], variable.get("value", "")
            report.check("valueFrom" not in variable, f"{where}: {name} does not bring a secret into the environment")
            if name.endswith("_FILE"):
                report.check(any(value.startswith(f"{mount}/") for mount in mounts), f"{where}: {name} is in a volume", value)


def check_jobs(report, overlay, objects, program):
    accounts = {one["metadata"]["name"]: one for one in objects if one["kind"] == "ServiceAccount"}
    jobs = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "CronJob"}
    report.equal(set(jobs), WANTED_JOBS, f"{overlay}: the Jobs")
    for name, spec in jobs.items():
        where, job = f"{overlay}: {name}", spec["jobTemplate"]["spec"]
        pod = job["template"]["spec"]
        locked(report, where, pod)
        report.check(job["activeDeadlineSeconds"] > 0, f"{where}: has a deadline")
        report.equal(spec["concurrencyPolicy"], "Forbid", f"{where}: does not overlap itself")
        report.check(pod["serviceAccountName"] in accounts, f"{where}: its service account exists")
        report.check(job["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "token-jobs", f"{where}: the network policy selects it")
        if program:
            check_arguments(report, where, pod["containers"][0]["args"], program)
    migration = jobs["token-migration"]["jobTemplate"]["spec"]
    report.check(migration["completionMode"] == "Indexed" and migration["parallelism"] == 2, f"{overlay}: two pods share a migration")
    runs_as = {name: spec["jobTemplate"]["spec"]["template"]["spec"]["serviceAccountName"] for name, spec in jobs.items()}
    report.equal(runs_as["token-doctor"], "vod-tender", f"{overlay}: doctor is about the application's identity")
    report.equal({runs_as[name] for name in WANTED_JOBS - {"token-doctor"}}, {"token-migrator"}, f"{overlay}: the others run as the migrator")
    for name, role in {"vod-tender": "application", "token-migrator": "migrator"}.items():
        arn = accounts[name]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        report.check(arn.endswith(f"vod-tender-{OVERLAYS[overlay]}-{role}"), f"{overlay}: {name} becomes the {role}'s role", arn)


def check_arguments(report, where, arguments, program):
    """The program knows the command and each option."""
    said = common.run([program, arguments[0], "--help"], check=False)
    if report.check(said.returncode == 0, f"{where}: the command {arguments[0]} exists", said.stdout):
        for option in [word for word in arguments if word.startswith("--")]:
            report.check(re.search(rf"{option}\b", said.stdout), f"{where}: {arguments[0]} has {option}")


def check_network(report, overlay, objects):
    """Each way out names where it leads and through which port, for both versions of IP; there is none to everywhere."""
    policy = next(one["spec"] for one in objects if one["kind"] == "NetworkPolicy")
    report.equal(policy["ingress"], [], f"{overlay}: nothing reaches the Jobs")
    ports, networks = set(), []
    for rule in policy["egress"]:
        if report.check(rule.get("to") and rule.get("ports"), f"{overlay}: a way out names its end and its port", str(rule)):
            ports |= {port["port"] for port in rule["ports"]}
            networks += [ipaddress.ip_network(end["ipBlock"]["cidr"]) for end in rule["to"] if "ipBlock" in end]
    report.equal(ports, {53, 80, 443, 5432, 6432}, f"{overlay}: the ports")
    report.check(all(network.prefixlen >= 16 for network in networks), f"{overlay}: no way out leads everywhere", str(networks))
    report.equal({network.version for network in networks}, {4, 6}, f"{overlay}: the identity's endpoint is reached over IPv4 and IPv6")


def check_overlay(report, overlay, program):
    objects = kustomize(PLACE / "overlays" / overlay)
    for document in objects:
        valid(report, overlay, document)
    namespace = next(one["metadata"] for one in objects if one["kind"] == "Namespace")
    report.equal(namespace["labels"]["pod-security.kubernetes.io/enforce"], "restricted", f"{overlay}: insecure pods are refused")
    report.equal({one["metadata"].get("namespace", namespace["name"]) for one in objects}, {namespace["name"]}, f"{overlay}: one namespace")
    settings = next(one["data"] for one in objects if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "token-encryption")
    report.equal(set(settings), common.VARIABLES_WITH_ALARMS, f"{overlay}: the variables are Terraform's output environment")
    report.equal(settings["ENVIRONMENT"], OVERLAYS[overlay], f"{overlay}: the environment")
    check_jobs(report, overlay, objects, program)
    check_network(report, overlay, objects)
    monitors = [one for one in objects if one["kind"] == "ServiceMonitor"]
    report.equal(len(monitors), 0 if overlay == "dev" else 1, f"{overlay}: is scraped, or not in development")
    for monitor in monitors:
        relabeling = monitor["spec"]["endpoints"][0]["relabelings"][0]
        report.equal(relabeling, {"targetLabel": "environment", "replacement": OVERLAYS[overlay]}, f"{overlay}: alerts name the environment")
    return objects


def with_component(folder, name, after):
    """The objects of a folder to which a component is added, in the line after this text."""
    place = common.TARGET / "work" / "kubernetes"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(PLACE, place)
    file = place / folder / "kustomization.yaml"
    file.write_text(file.read_text().replace(after, f"{after}  - ../../components/{name}\n"))
    return kustomize(file.parent)


def check_profile(report):
    """A profile of one's own reaches every Job."""
    for one in with_component("overlays/staging", "profile", "components:\n"):
        if one["kind"] == "CronJob":
            valid(report, "profile", one)
            container = one["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
            variables = {variable["name"]: variable["value"] for variable in container["env"]}
            report.equal(variables.get("TOKEN_PROFILE"), "/etc/tokenseal/profile.toml", f"profile: {one['metadata']['name']} reads it")


def check_agent(report):
    """The sidecar is locked, starts before the service, and shares a socket in memory with its pod alone."""
    objects = kustomize(PLACE / "examples" / "agent")
    for document in objects:
        valid(report, "agent", document)
    report.equal([one for one in objects if one["kind"] == "DaemonSet"], [], "agent: no socket is shared by a node")
    pod = next(one for one in objects if one["kind"] == "Deployment")["spec"]["template"]
    labels, pod = pod["metadata"]["labels"], pod["spec"]
    locked(report, "agent", pod)
    (sidecar,) = pod["initContainers"]
    report.equal(sidecar["restartPolicy"], "Always", "agent: it stays")
    report.check("startupProbe" in sidecar, "agent: the service starts after it is ready")
    volume = next(one for one in pod["volumes"] if one["name"] == "agent")
    report.equal(volume["emptyDir"]["medium"], "Memory", "agent: the socket is in memory")
    mounts = {one["name"]: mount for one in pod["containers"] for mount in one["volumeMounts"] if mount["name"] == "agent"}
    report.check(all(mount.get("readOnly") for mount in mounts.values()) and mounts, "agent: the service cannot replace the socket")
    users = {one["securityContext"]["runAsUser"] for one in pod["containers"]}
    report.check(sidecar["securityContext"]["runAsUser"] not in users, "agent: the service is another user")
    policy = next(one["spec"] for one in objects if one["kind"] == "NetworkPolicy")
    report.check(policy["podSelector"]["matchLabels"].items() <= labels.items(), "agent: the network policy selects its pod")
    report.check(all(rule.get("to") and rule.get("ports") for rule in policy["egress"]), "agent: each way out names its end and its port")


def check_refresh(report):
    """With its component the agent reaches token endpoints on the Internet by HTTPS, and no further private network."""
    objects = with_component("examples/agent", "agent-refresh", "  - ../../components/agent\n")
    policy = next(one for one in objects if one["kind"] == "NetworkPolicy")
    valid(report, "agent-refresh", policy)
    rules = [rule for rule in policy["spec"]["egress"] if any("except" in end.get("ipBlock", {}) for end in rule["to"])]
    if report.equal(len(rules), 1, "agent-refresh: one way out leads to the providers"):
        (rule,) = rules
        report.equal(rule["ports"], [{"port": 443, "protocol": "TCP"}], "agent-refresh: by HTTPS alone")
        kept = [ipaddress.ip_network(network) for network in rule["to"][0]["ipBlock"]["except"]]
        for address in ("10.30.0.1", "172.31.255.1", "192.168.1.1", "100.100.0.1", "169.254.169.254", "127.0.0.1"):
            report.check(any(ipaddress.ip_address(address) in network for network in kept), f"agent-refresh: not to {address}")


def check_typos_are_found(report, objects):
    broken = json.loads(json.dumps(next(one for one in objects if one["kind"] == "CronJob")))
    broken["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["securityContxt"] = {}
    try:
        kubernetes_validate.validate(broken, VERSION, strict=True)
        report.check(False, "a typo in a manifest is found")
    except kubernetes_validate.ValidationError:
        report.check(True, "a typo in a manifest is found")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_programs(parser)
    program = common.programs(parser.parse_args()).get("migrate-tokens")
    report = common.Report("kubernetes_schemas")
    for overlay in OVERLAYS:
        objects = check_overlay(report, overlay, program)
    check_profile(report)
    check_agent(report)
    check_refresh(report)
    check_typos_are_found(report, objects)
    report.finish()


if __name__ == "__main__":
    main()
