#!/usr/bin/env python3
"""Decides who may do what: a table of requests, evaluated against the policy documents that the modules write.

The evaluator knows IAM's rules for one account and exactly the operators that the documents use; an unknown one is an
error, never a silent "no match".
"""

import fnmatch
import json
import re

import common

if __name__ == "__main__":
    common.enter()

TABLE = common.CHECKS / "decisions.json"
ACCOUNT = "123456789012"


def listed(value):
    return value if isinstance(value, list) else [value]


def like(pattern, text):
    """IAM's wildcards: * and ?. Brackets mean nothing special there."""
    return fnmatch.fnmatchcase(text, re.sub(r"([\[\]])", r"[\1]", pattern))


def value_of(request, name):
    """A context value of the request, as a list; condition keys ignore case. None if the request has none."""
    for key, value in request["context"].items():
        if key.lower() == name.lower():
            return listed(value)
    return None


def holds(operator, name, wanted, request):
    """One line of a Condition block. Missing keys follow IAM: false for positive operators, true for negated ones."""
    found = value_of(request, name)
    wanted = [str(value) for value in listed(wanted)]
    if operator == "Null":
        return (found is None) == (wanted[0].lower() == "true")
    if operator.endswith("IfExists"):
        return found is None or holds(operator.removesuffix("IfExists"), name, wanted, request)
    if operator == "ForAllValues:StringEquals":
        # True of an empty set: that is the trap that makes it useless alone.
        return all(value in wanted for value in found or [])
    if operator == "StringNotEquals":
        return found is None or not any(value in wanted for value in found)
    if found is None:
        return False
    if operator == "StringEquals":
        return any(value in wanted for value in found)
    if operator in ("StringLike", "ArnLike"):
        return any(like(pattern, value) for pattern in wanted for value in found)
    if operator == "Bool":
        return any(value.lower() in [word.lower() for word in wanted] for value in found)
    raise ValueError(f"operator {operator} is not known here")


def principal_matches(statement, request):
    """Whether a resource policy's statement is about who asks. The account's root stands for IAM, not for everybody."""
    principal = statement["Principal"]
    if principal == "*" or principal.get("AWS") == "*":
        return True
    if request["principal"].endswith(".amazonaws.com"):
        return request["principal"] in listed(principal.get("Service", []))
    return request["principal"] in listed(principal.get("AWS", []))


def applies(statement, request):
    unknown = set(statement) - {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    if unknown:
        raise ValueError(f"statement element {sorted(unknown)} is not known here")
    return (
        any(like(action.lower(), request["action"].lower()) for action in listed(statement["Action"]))
        and any(like(resource, request["resource"]) for resource in listed(statement["Resource"]))
        and all(
            holds(operator, name, wanted, request)
            for operator, block in statement.get("Condition", {}).items()
            for name, wanted in block.items()
        )
    )


def is_allowed(request, identity_policies, key_policy):
    """KMS within one account: an explicit Deny wins; otherwise the key policy must allow, itself or by way of IAM."""
    identity = [statement for policy in identity_policies for statement in policy["Statement"]]
    matching = [statement for statement in identity if applies(statement, request)]
    for_key = [statement for statement in key_policy["Statement"] if applies({**statement, "Resource": "*"}, request)]
    direct = [statement for statement in for_key if principal_matches(statement, request)]
    if any(statement["Effect"] == "Deny" for statement in matching + direct):
        return False
    delegated = any(
        statement["Effect"] == "Allow" and f"arn:aws:iam::{ACCOUNT}:root" in listed(statement["Principal"].get("AWS", []))
        for statement in for_key
    )
    return any(statement["Effect"] == "Allow" for statement in direct) or (
        delegated and any(statement["Effect"] == "Allow" for statement in matching)
    )


def request_of(row, principals, keys):
    """A row of the table as IAM sees it: the encryption context becomes condition keys."""
    context = {"aws:PrincipalArn": principals[row["role"]], "aws:SecureTransport": "true", **row.get("conditions", {})}
    encryption_context = row.get("encryption_context")
    if encryption_context:
        context["kms:EncryptionContextKeys"] = list(encryption_context)
        context.update({f"kms:EncryptionContext:{name}": value for name, value in encryption_context.items()})
    return {
        "principal": principals[row["role"]], "action": row["action"], "resource": keys[row.get("key", "own")],
        "context": context,
    }


def judge(report, identity_policies, key_policy, key_arn, only=None):
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
        found = is_allowed(request, policies, policy)
        report.equal(found, row["allowed"], f"{row['role']} {row['action']}: {row['because']}")


def test_evaluator(report):
    """The evaluator itself, where IAM is easily got wrong."""
    def request(**context):
        return {"principal": "p", "action": "kms:Decrypt", "resource": "r", "context": context}

    cases = [
        ("StringEquals", "a", "x", {}, False, "a missing key is no match"),
        ("StringEquals", "A", "x", {"a": "x"}, True, "condition keys ignore case"),
        ("StringEquals", "a", "X", {"a": "x"}, False, "values do not"),
        ("StringEquals", "a", "*", {"a": "x"}, False, "no wildcards in StringEquals"),
        ("StringLike", "a", "x*", {"a": "xyz"}, True, "wildcards in StringLike"),
        ("StringLike", "a", "x?", {"a": "x"}, False, "? is one character"),
        ("StringNotEquals", "a", "x", {}, True, "a missing key is not equal"),
        ("StringNotEquals", "a", ["x", "y"], {"a": "y"}, False, "none of the values"),
        ("ForAllValues:StringEquals", "a", ["x"], {}, True, "true of the empty set"),
        ("ForAllValues:StringEquals", "a", ["x", "y"], {"a": ["x", "z"]}, False, "every value"),
        ("Null", "a", "true", {}, True, "absent"),
        ("Null", "a", "true", {"a": "x"}, False, "present"),
        ("Bool", "a", "false", {"a": "true"}, False, "a truth value"),
        ("StringEqualsIfExists", "a", "x", {}, True, "only if it is there"),
        ("StringEqualsIfExists", "a", "x", {"a": "y"}, False, "and then it counts"),
    ]
    for operator, name, wanted, context, expected, what in cases:
        report.equal(holds(operator, name, wanted, request(**context)), expected, f"evaluator, {operator}: {what}")
    try:
        holds("NumericLessThan", "a", "1", request(a="0"))
        report.check(False, "evaluator: an unknown operator is an error")
    except ValueError:
        report.check(True, "evaluator: an unknown operator is an error")
    allow = {"Effect": "Allow", "Principal": {"AWS": "p"}, "Action": "kms:*", "Resource": "*"}
    deny = {**allow, "Effect": "Deny"}
    root = {**allow, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
    mine = {"Statement": [{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "r"}]}
    for statements, identity, expected, what in [
        ([allow], [], True, "a key policy alone allows"),
        ([root], [], False, "the root statement alone allows nobody"),
        ([root], [mine], True, "the root statement lets IAM decide"),
        ([], [mine], False, "IAM alone decides nothing"),
        ([allow, deny], [mine], False, "an explicit denial wins"),
    ]:
        report.equal(is_allowed(request(), identity, {"Statement": statements}), expected, f"evaluator: {what}")


def rendered(name):
    """Every document of policy-docs, as the fixture asks for it: no provider, no account. The folder is the caller's own."""
    work = common.copy(name) / "checks" / "fixtures" / "policies"
    common.terraform("init", "-input=false", cwd=work)
    common.terraform("apply", "-auto-approve", "-input=false", cwd=work)
    outputs = json.loads(common.terraform("output", "-json", cwd=work).stdout)["documents"]["value"]
    return {name: json.loads(text) for name, text in outputs.items()}


def main():
    report = common.Report("decisions")
    test_evaluator(report)
    documents = rendered("decisions")
    identities = {
        "application": [documents["application_policy"], documents["secrets_reader_policy"]],
        "migrator": [documents["migrator_policy"]],
        "legacy": [documents["legacy_application_policy"]],
    }
    key_arn = documents["application_policy"]["Statement"][0]["Resource"][0]
    judge(report, identities, documents["key_policy"], key_arn)
    # The same must hold where the key's policy leaves everything to IAM: the roles' own policies are whole by themselves.
    judge(report, identities, common.load(TABLE)["plain_key_policy"], key_arn, only=list(identities))
    report.finish()


if __name__ == "__main__":
    main()
