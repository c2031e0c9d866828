#!/usr/bin/env python3
"""Decides who may do what: a table of requests, put to the policy documents that the modules write.

  --program PATH   decide-iam, which knows how IAM evaluates documents, by a library that has to pass cases of ours first
Here is only how KMS puts a key's policy and the caller's own policies together.
"""

import argparse
import json
import re
import subprocess

import common

if __name__ == "__main__":
    common.enter()

TABLE = common.CHECKS / "decisions.json"
ACCOUNT = "123456789012"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


def listed(value):
    return value if isinstance(value, list) else [value]


class Iam:
    """The program that decides, kept running: a question and an answer a line."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def decide(self, policies, request):
        """Allow, Deny or NotApplicable. A statement that the program does not understand is an error, never a silent "no match"."""
        self.process.stdin.write(json.dumps({"policies": policies, "request": request}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise ValueError(f"not understood: {policies}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def as_principal(name):
    return {"Service" if name.endswith(".amazonaws.com") else "AWS": name}


def is_allowed(iam, request, identity_policies, key_policy):
    """KMS within one account: an explicit Deny wins; otherwise the key policy must allow, itself or by way of IAM."""
    identity = iam.decide(identity_policies, request)
    direct = iam.decide([key_policy], request)
    # A statement for the account's root does not allow every principal: it lets IAM decide.
    delegated = iam.decide([key_policy], {**request, "Principal": as_principal(ROOT)})
    if "Deny" in (identity, direct):
        return False
    return direct == "Allow" or (delegated == "Allow" and identity == "Allow")


def request_of(row, principals, keys):
    """A row of the table as IAM sees it: the encryption context becomes condition keys."""
    context = {"aws:PrincipalArn": principals[row["role"]], "aws:SecureTransport": "true", **row.get("conditions", {})}
    encryption_context = row.get("encryption_context")
    if encryption_context:
        context["kms:EncryptionContextKeys"] = list(encryption_context)
        context.update({f"kms:EncryptionContext:{name}": value for name, value in encryption_context.items()})
    return {
        "Principal": as_principal(principals[row["role"]]), "Action": row["action"], "Resource": keys[row.get("key", "own")],
        "Context": context,
    }


def judge(report, iam, identity_policies, key_policy, key_arn, only=None):
    """Puts every row of the table to the policies."""
    table = common.load(TABLE)
    keys = {"own": key_arn, "foreign": re.sub(r"key/.*", "key/99999999-9999-9999-9999-999999999999", key_arn)}
    extra = table["identities"]
    for row in table["rows"]:
        if only and row["role"] not in only:
            continue
        # A key that is not ours has the plain policy of a key that leaves everything to IAM.
        policy = key_policy if row.get("key", "own") == "own" else table["plain_key_policy"]
        policies = identity_policies.get(row["role"], []) + [extra[role] for role in [row["role"]] if role in extra]
        request = request_of(row, table["principals"], keys)
        found = is_allowed(iam, request, policies, policy)
        report.equal(found, row["allowed"], f"{row['role']} {row['action']}: {row['because']}")


def test_iam(report, iam):
    """The library itself, where IAM is easily got wrong."""
    role, key = f"arn:aws:iam::{ACCOUNT}:role/r", f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/k"

    def request(context):
        return {"Principal": as_principal(role), "Action": "kms:Decrypt", "Resource": key, "Context": context}

    def document(*statements):
        return {"Version": "2012-10-17", "Statement": list(statements)}

    mine = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key}
    cases = [
        ("StringEquals", "a:b", "x", {}, False, "a missing key is no match"),
        ("StringEquals", "a:B", "x", {"a:b": "x"}, True, "condition keys ignore case"),
        ("StringEquals", "a:b", "X", {"a:b": "x"}, False, "values do not"),
        ("StringEquals", "a:b", "*", {"a:b": "x"}, False, "no wildcards in StringEquals"),
        ("StringLike", "a:b", "x*", {"a:b": "xyz"}, True, "wildcards in StringLike"),
        ("StringLike", "a:b", "x?", {"a:b": "x"}, False, "? is one character"),
        ("StringNotEquals", "a:b", "x", {}, True, "a missing key is not equal"),
        ("StringNotEquals", "a:b", ["x", "y"], {"a:b": "y"}, False, "none of the values"),
        ("ForAllValues:StringEquals", "a:b", ["x"], {}, True, "true of the empty set: the trap that makes it useless alone"),
        ("ForAllValues:StringEquals", "a:b", ["x", "y"], {"a:b": ["x", "z"]}, False, "every value"),
        ("Null", "a:b", "true", {}, True, "absent"),
        ("Null", "a:b", "true", {"a:b": "x"}, False, "present"),
        ("Bool", "a:b", "false", {"a:b": "true"}, False, "a truth value"),
        ("StringEqualsIfExists", "a:b", "x", {}, True, "only if it is there"),
        ("StringEqualsIfExists", "a:b", "x", {"a:b": "y"}, False, "and then it counts"),
    ]
    for operator, name, wanted, context, expected, what in cases:
        statement = {**mine, "Condition": {operator: {name: wanted}}}
        found = iam.decide([document(statement)], request(context)) == "Allow"
        report.equal(found, expected, f"library, {operator}: {what}")
    allow = {**mine, "Principal": {"AWS": role}, "Resource": "*"}
    root = {**allow, "Principal": {"AWS": ROOT}}
    for statements, identity, expected, what in [
        ([allow], [], True, "a key policy alone allows"),
        ([root], [], False, "the root statement alone allows no one"),
        ([root], [document(mine)], True, "the root statement lets IAM decide"),
        ([], [document(mine)], False, "IAM alone decides nothing"),
        ([allow, {**allow, "Effect": "Deny"}], [document(mine)], False, "an explicit denial wins"),
    ]:
        report.equal(is_allowed(iam, request({}), identity, document(*statements)), expected, f"key and IAM: {what}")


def rendered(name):
    """Every document of policy-docs, as the fixture asks for it: no provider, no account. The folder is the caller's own."""
    work = common.copy(name) / "checks" / "fixtures" / "policies"
    common.terraform("init", "-input=false", cwd=work)
    common.terraform("apply", "-auto-approve", "-input=false", cwd=work)
    outputs = json.loads(common.terraform("output", "-json", cwd=work).stdout)["documents"]["value"]
    return {name: json.loads(text) for name, text in outputs.items()}


def judge_guardrails(report, iam, documents):
    """Requests that VPC endpoints allow, and those that the service control policy denies: no key policy applies to these."""
    account, key, secret = f"arn:aws:iam::{ACCOUNT}:role/", documents["kms_endpoint_policy"]["Statement"][0]["Resource"][0], (
        f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:vod-tender/production/database-AbCdEf"
    )
    foreign = re.sub(r"key/.*", "key/99999999-9999-9999-9999-999999999999", key)
    trail = documents["service_control_policy"]["Statement"][1]["Resource"][0]
    group = documents["service_control_policy"]["Statement"][2]["Resource"][0]
    rows = [
        ("kms_endpoint_policy", "application", ACCOUNT, "kms:Decrypt", key, "Allow"),
        ("kms_endpoint_policy", "application", ACCOUNT, "kms:Decrypt", foreign, "NotApplicable"),
        ("kms_endpoint_policy", "application", "210987654321", "kms:Decrypt", key, "NotApplicable"),
        ("kms_endpoint_policy", "application", ACCOUNT, "kms:ScheduleKeyDeletion", key, "NotApplicable"),
        ("secrets_endpoint_policy", "application", ACCOUNT, "secretsmanager:GetSecretValue", secret, "Allow"),
        ("secrets_endpoint_policy", "application", ACCOUNT, "secretsmanager:GetSecretValue", secret.replace("vod-tender", "billing"), "NotApplicable"),
        ("secrets_endpoint_policy", "application", "210987654321", "secretsmanager:PutSecretValue", secret, "NotApplicable"),
        ("secrets_endpoint_policy", "application", ACCOUNT, "secretsmanager:ListSecrets", secret.replace("vod-tender", "any"), "Allow"),
        ("service_control_policy", "AdministratorAccess", ACCOUNT, "kms:ScheduleKeyDeletion", key, "Deny"),
        ("service_control_policy", "break-glass", ACCOUNT, "kms:ScheduleKeyDeletion", key, "NotApplicable"),
        ("service_control_policy", "AdministratorAccess", ACCOUNT, "kms:DisableKey", foreign, "NotApplicable"),
        ("service_control_policy", "AdministratorAccess", ACCOUNT, "kms:Decrypt", key, "NotApplicable"),
        ("service_control_policy", "AdministratorAccess", ACCOUNT, "cloudtrail:StopLogging", trail, "Deny"),
        ("service_control_policy", "break-glass", ACCOUNT, "cloudtrail:StopLogging", trail, "NotApplicable"),
        ("service_control_policy", "AdministratorAccess", ACCOUNT, "logs:DeleteLogGroup", group, "Deny"),
        ("service_control_policy", "AdministratorAccess", ACCOUNT, "kms:CancelKeyDeletion", key, "NotApplicable"),
    ]
    for name, role, of_account, action, resource, wanted in rows:
        request = {
            "Principal": as_principal(account + role), "Action": action, "Resource": resource,
            "Context": {"aws:PrincipalArn": account + role, "aws:PrincipalAccount": of_account},
        }
        document = documents[name]
        if name == "service_control_policy":
            # The library judges policies with a principal or without; this one is for every principal.
            document = {**document, "Statement": [{**statement, "Principal": {"AWS": "*"}} for statement in document["Statement"]]}
        report.equal(iam.decide([document], request), wanted, f"{name}: {role} of {of_account} {action} {resource.split(':')[-1]}")


def judge_partitions(report, documents):
    """China's endpoints and principals end differently."""
    china = json.dumps({name: text for name, text in documents.items() if name.startswith("china_")})
    for wanted in ("secretsmanager.cn-north-1.amazonaws.com.cn", "logs.cn-north-1.amazonaws.com.cn", '"cloudtrail.amazonaws.com"'):
        report.check(wanted in china, f"China: {wanted}")
    report.check("arn:aws:" not in china, "China: every ARN is of its partition")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_programs(parser)
    iam = Iam(common.programs(parser.parse_args(), "decide-iam")["decide-iam"])
    report = common.Report("decisions")
    test_iam(report, iam)
    documents = rendered("decisions")
    identities = {
        "application": [documents["application_policy"], documents["secrets_reader_policy"]],
        "migrator": [documents["migrator_policy"]],
        "legacy": [documents["legacy_application_policy"]],
    }
    key_arn = documents["application_policy"]["Statement"][0]["Resource"][0]
    judge(report, iam, identities, documents["key_policy"], key_arn)
    # The same must hold where the key's policy leaves everything to IAM: the roles' own policies are whole by themselves.
    judge(report, iam, identities, common.load(TABLE)["plain_key_policy"], key_arn, only=list(identities))
    judge_guardrails(report, iam, documents)
    judge_partitions(report, documents)
    iam.close()
    report.finish()


if __name__ == "__main__":
    main()
