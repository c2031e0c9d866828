#!/usr/bin/env python3
"""Looks at every policy document with parliament (actions, resources, conditions) and policy_sentry (actions exist)."""

import json
import warnings

import common

common.enter()
warnings.filterwarnings("ignore", "pkg_resources")

from parliament import analyze_policy_string  # noqa: E402
from policy_sentry.querying.actions import get_action_data  # noqa: E402

import decisions  # noqa: E402

# Findings that are meant, each with its reason.
MEANT = {
    # A key policy's Resource is the key that it is attached to.
    ("key_policy", "RESOURCE_STAR"), ("secrets_key_policy", "RESOURCE_STAR"), ("topic_key_policy", "RESOURCE_STAR"),
    ("trail_key_policy", "RESOURCE_STAR"), ("china_trail_key_policy", "RESOURCE_STAR"), ("china_secrets_key_policy", "RESOURCE_STAR"), ("secret_resource_policy", "RESOURCE_STAR"),
    # An endpoint's policy is about what passes through it; a service control policy's last statement is about every key.
    ("secrets_endpoint_policy", "RESOURCE_STAR"), ("service_control_policy", "RESOURCE_STAR"),
    # These actions name no resource.
    ("secrets_reader_policy", "RESOURCE_STAR"), ("china_secrets_reader_policy", "RESOURCE_STAR"), ("rotation_function_policy", "RESOURCE_STAR"),
    ("secrets_operator_policy", "RESOURCE_STAR"),
    # A trust policy's resource is the role that it is attached to; an OIDC provider's condition keys are its own.
    ("irsa_trust", "RESOURCE_STAR"), ("pod_identity_trust", "RESOURCE_STAR"), ("trail_role_trust", "RESOURCE_STAR"),
    ("irsa_trust", "UNKNOWN_CONDITION_FOR_ACTION"),
    # StringEquals is how Secrets Manager's documentation compares the function's ARN.
    ("rotation_function_policy", "MISMATCHED_TYPE_BUT_USABLE"),
}


def findings(name, document):
    """Findings of parliament, without the intended ones."""
    is_identity = all("Principal" not in statement for statement in document["Statement"])
    text = json.dumps(document)
    analysis = analyze_policy_string(text, ignore_private_auditors=True)
    for finding in analysis.findings:
        # parliament judges identity policies; its findings about a Principal or a missing Resource do not apply to ours.
        if not is_identity and finding.issue in ("MALFORMED", "NO_VERSION"):
            continue
        if (name, finding.issue) not in MEANT:
            yield finding


def with_resource(document):
    """The document as parliament can read it: without Principal, and with a Resource in trust policies too."""
    statements = []
    for statement in document["Statement"]:
        statement = {key: value for key, value in statement.items() if key != "Principal"}
        statements.append({"Resource": "*", **statement})
    return {**document, "Statement": statements}


def actions_of(document):
    for statement in document["Statement"]:
        for action in decisions.listed(statement["Action"]):
            yield action


def main():
    report = common.Report("policies")
    broken = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "kms:DescribeKey", "Resource": "arn:aws:kms:eu-central-1:123456789012:key/x",
         "Condition": {"StringEquals": {"kms:EncryptionContext:Application": "x"}}},
        {"Effect": "Allow", "Action": "kms:DecryptAll", "Resource": "*"},
    ]}
    seen = {finding.issue for finding in findings("broken", broken)}
    report.check(seen >= {"UNKNOWN_ACTION"}, "an unknown action is found", str(seen))
    report.check(seen >= {"UNKNOWN_CONDITION_FOR_ACTION"}, "a context condition on DescribeKey is found", str(seen))
    for name, document in sorted(decisions.rendered("policies").items()):
        found = [str(finding) for finding in findings(name, with_resource(document))]
        report.check(not found, f"{name}: parliament finds nothing", "\n        ".join(found))
        for action in sorted(set(actions_of(document))):
            service, _, verb = action.partition(":")
            if "*" not in action:
                report.check(get_action_data(service, verb), f"{name}: policy_sentry knows {action}")
        size = len(json.dumps(document, separators=(",", ":")))
        report.check(size < (32768 if "key_policy" in name else 6144), f"{name}: {size} characters fit into a policy")
    report.finish()


if __name__ == "__main__":
    main()
