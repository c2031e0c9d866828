#!/usr/bin/env python3
"""Carries out docs/operations/keys-in-terraform.md against moto: each edit of keys.tf and each command, as written.

It begins with the state of release 0.1. After each apply the next plan is empty, no plan deletes anything that holds data, and every key that was made still exists.
Commands that take the break-glass role are tried without it first, and are refused.
"""

import re
import shlex
import shutil
import sys

import common

common.enter()

import emulator  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

PAGE = common.REPOSITORY / "docs" / "operations" / "keys-in-terraform.md"
BREAK_GLASS = f"arn:aws:iam::{emulator.ACCOUNT}:role/break-glass"
# Their deletion loses something that an apply does not bring back.
HOLD_DATA = {"aws_kms_key", "aws_kms_replica_key", "aws_kms_alias", "aws_secretsmanager_secret", "aws_s3_bucket", "aws_cloudwatch_log_group", "aws_cloudtrail"}
VARIABLES = [
    "-var=environment=production", f"-var=oidc_provider_arn=arn:aws:iam::{emulator.ACCOUNT}:oidc-provider/example",
    "-var=log_bucket_name=example-audit-logs", f'-var=break_glass_role_arns=["{BREAK_GLASS}"]',
]


def edited(text, diff):
    """A text after a diff: each hunk's old lines are found exactly once and become its new lines."""
    for hunk in diff.strip("\n").split("\n@@\n"):
        lines = hunk.split("\n")
        old = "\n".join(line[1:] for line in lines if not line.startswith("+"))
        new = "\n".join(line[1:] for line in lines if not line.startswith("-"))
        found = text.count(f"\n{old}\n" if old else "\n\n\n")
        if found != 1:
            sys.exit(f"{PAGE.name}: the old lines of an edit are in keys.tf {found} times, not once:\n{hunk}\n--- keys.tf\n{text}")
        text = text.replace(f"\n{old}\n", f"\n{new}\n")
    return text


def undone(diff):
    """The diff that takes a diff back."""
    return "\n".join({"+": "-", "-": "+"}.get(line[:1], line[:1]) + line[1:] for line in diff.split("\n"))


def lost(plan):
    """The addresses in a plan's text that are deleted or replaced and hold data."""
    addresses = re.findall(r"^ *# (\S+) (?:will be destroyed|must be replaced)", plan, re.M)
    return [address for address in addresses if HOLD_DATA & set(re.split(r"[.\[]", address))]


class Rehearsal:
    def __init__(self, report, url):
        self.report, self.url = report, url
        work = common.copy("rehearsal")
        self.place = work / "checks" / "fixtures" / "rehearsal"
        # The modules are two folders up from an example.
        self.place = self.place.rename(work / "examples" / "rehearsal")
        self.complete, self.fixtures = work / "examples" / "complete", work / "checks" / "fixtures"
        self.names = {"BREAK_GLASS": BREAK_GLASS}
        self.made = set()

    @property
    def keys(self):
        return self.place / "keys.tf"

    def begin(self):
        """The state of release 0.1, and the upgrade to the files of examples/complete."""
        needed = ("variables.tf", "versions.tf", "providers.tf")
        for name in needed:
            shutil.copy(self.complete / name, self.place)
        emulator.override(self.place, self.url)
        main = self.place / "main.tf"
        around = main.read_text()
        shutil.copytree(self.fixtures / "before" / "key", self.place / "before-key")
        shutil.copy(self.fixtures / "before" / "main.tf", main)
        common.terraform("init", "-input=false", cwd=self.place)
        self.apply("release 0.1")
        main.write_text(around)
        shutil.copy(self.complete / "keys.tf", self.keys)
        common.terraform("init", "-input=false", cwd=self.place)
        self.apply("the upgrade from release 0.1")

    def change_source(self):
        """kms-key-multi-region instead of kms-key: nothing to do for a single-Region key, refused where it would be replaced."""
        text = self.keys.read_text()
        for multi_region, wanted in (("false", 0), ("true", 1)):
            source = f'source = "../../modules/kms-key-multi-region"\n\n  multi_region = {multi_region}'
            self.keys.write_text(text.replace('source = "../../modules/kms-key"', source))
            common.terraform("get", cwd=self.place)
            done = self.terraform("plan", "-detailed-exitcode")
            what = f"kms-key-multi-region with multi_region = {multi_region} instead of kms-key"
            self.report.equal(done.returncode, wanted, what)
            self.report.check(wanted == 0 or "Instance cannot be destroyed" in done.stdout, f"{what}: what is refused", done.stdout)
        self.keys.write_text(text)

    def edit(self, diff):
        diff = diff.replace("11111111-2222-3333-4444-555555555555", self.names["KEY"])
        self.keys.write_text(edited(self.keys.read_text(), diff))

    def terraform(self, *arguments):
        return common.terraform(*arguments, "-no-color", "-input=false", *VARIABLES, cwd=self.place, check=False)

    def planned(self, *options):
        """Makes a saved plan; what Terraform said, or None where it made none."""
        common.terraform("get", cwd=self.place)
        done = self.terraform("plan", "-out=plan", *options)
        if done.returncode != 0:
            print(done.stdout)
        return done.stdout if done.returncode == 0 else None

    def apply(self, what, *options):
        said = self.planned(*options)
        if not self.report.check(said is not None, f"{what}: a plan is made"):
            self.report.finish()
        self.report.equal(lost(said), [], f"{what}: nothing that holds data is deleted or replaced")
        done = common.terraform("apply", "-input=false", "plan", cwd=self.place, check=False)
        if not self.report.check(done.returncode == 0, f"{what}: applied", done.stdout):
            self.report.finish()
        again = self.terraform("plan", "-detailed-exitcode")
        self.report.equal(again.returncode, 0, f"{what}: the next plan is empty")
        if again.returncode != 0:
            print(again.stdout)
        self.look_at_keys(what)

    def refused_apply(self, what):
        """The same change by a role that is not in the list."""
        self.planned()
        done = common.terraform("apply", "-input=false", "plan", cwd=self.place, check=False)
        self.report.check(done.returncode != 0 and "AccessDenied" in done.stdout, f"{what}: refused without the break-glass role", done.stdout)

    def look_at_keys(self, what):
        kms = emulator.client(self.url, "kms")
        found = {key["KeyId"] for key in kms.list_keys()["Keys"]}
        self.report.check(self.made <= found, f"{what}: every key that was made exists")
        self.made |= found

    def state(self, key):
        return emulator.client(self.url, "kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"]

    def aws(self, words, what):
        """An `aws` command by the library that it is built on; actions that the policy denies to the pipeline are done as break-glass."""
        service, operation, *rest = words
        arguments = {}
        for name, value in zip(rest[::2], rest[1::2]):
            camel = "".join(part.capitalize() for part in name.removeprefix("--").split("-"))
            arguments[camel] = int(value) if value.isdigit() else value
        call = operation.replace("-", "_")
        try:
            getattr(emulator.client(self.url, service), call)(**arguments)
        except ClientError as denied:
            self.report.check("AccessDenied" in str(denied), f"{what}: refused without the break-glass role", str(denied))
            sts = emulator.client(self.url, "sts")
            taken = sts.assume_role(RoleArn=BREAK_GLASS, RoleSessionName="rehearsal")["Credentials"]
            getattr(emulator.client(self.url, service, credentials=taken), call)(**arguments)
        self.report.check(True, f"{what}: done")

    def command(self, line, section):
        line, _, remark = line.partition("#")
        for name, value in self.names.items():
            line = line.replace(f'"${name}"', value).replace(f"${name}", value)
        words = shlex.split(line)
        what = f"{section}: {' '.join(words)}"
        if words[:2] == ["terraform", "apply"]:
            if any("assume_role_arn" in word for word in words):
                self.refused_apply(what)
            self.apply(what, *words[2:])
        elif words[:2] == ["terraform", "plan"]:
            done = self.terraform(*words[1:])
            if remark.strip().startswith("refused"):
                reason = remark.split(":", 1)[1].strip()
                self.report.check(done.returncode != 0 and reason in done.stdout, f"{what}: {reason}", done.stdout)
            else:
                self.report.equal(done.returncode, 0, f"{what}: nothing to do")
        elif words[0] == "aws":
            self.aws(words[1:], what)
        elif words[0] != "export":
            sys.exit(f"{PAGE.name}: not understood: {line}")

    def block(self, kind, text, section):
        if kind == "diff":
            self.edit(text)
            self.last_edit = text
        elif kind == "sh":
            for line in text.strip().splitlines():
                self.command(line, section)
        elif kind == "hcl":
            # The names as before: the old key is forgotten again, and the new one takes its name.
            self.edit(undone(self.last_edit))
            self.apply(f"{section}: the old key is forgotten again")
            removed = re.compile(r"^removed \{.*?^\}\n", re.M | re.S)
            renamed = removed.sub("", self.keys.read_text()).replace("key_2", "key")
            self.keys.write_text(f"{renamed}\n{text}")


def test_editing(report):
    report.equal(edited("\na\nb\nc\n", " a\n-b\n+x\n c"), "\na\nx\nc\n", "editing: a hunk is replaced")
    report.equal(undone(" a\n-b\n+c"), " a\n+b\n-c", "editing: an edit is taken back")
    plan = "  # module.key.aws_kms_key.this will be destroyed\n  # terraform_data.keep_key will be destroyed\n  # module.a.aws_kms_alias.this[0] must be replaced\n"
    report.equal(lost(plan), ["module.key.aws_kms_key.this", "module.a.aws_kms_alias.this[0]"], "plans: what is lost is found")
    statement = {"Effect": "Deny", "Action": ["kms:DisableKey"], "Condition": {"StringNotEquals": {"aws:PrincipalArn": ["x"]}}}
    report.equal([emulator.is_denied(statement, "kms:DisableKey", who) for who in ("x", "y")], [False, True], "the front refuses all but the list")


def main():
    report = common.Report("rehearsal")
    test_editing(report)
    with emulator.moto("moto-rehearsal") as moto, emulator.front(moto) as url:
        rehearsal = Rehearsal(report, url)
        rehearsal.begin()
        kms = emulator.client(url, "kms")
        alias = next(alias for alias in kms.list_aliases()["Aliases"] if alias["AliasName"] == "alias/vod-tender-production")
        rehearsal.names["KEY"] = alias["TargetKeyId"]
        sections = re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]
        rehearsal.change_source()
        states = {}
        for section in sections:
            title = section.splitlines()[0]
            for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", section, re.M | re.S):
                rehearsal.block(kind, text, title)
                states.setdefault(title, []).append(rehearsal.state(rehearsal.names["KEY"]))
        report.equal(states["Contain an incident"], ["Enabled", "Disabled", "Disabled", "Enabled"], "the key is disabled, and enabled again")
        report.equal(states["Delete a key"][-3:], ["Disabled"] * 3, "a cancelled deletion leaves the key disabled, and the import keeps it so")
        report.check("PendingDeletion" in states["Delete a key"], "the deletion was scheduled")
        alias = next(alias for alias in kms.list_aliases()["Aliases"] if alias["AliasName"] == "alias/vod-tender-production")
        report.check(alias["TargetKeyId"] != rehearsal.names["KEY"], "the alias points to the new key")
        report.equal(len(rehearsal.made), 2, "two keys were made, and no third")
    report.finish()


if __name__ == "__main__":
    main()
