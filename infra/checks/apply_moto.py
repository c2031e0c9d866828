#!/usr/bin/env python3
"""Applies the examples against moto, plans again (nothing may be left to do), reads everything back, and destroys it.

  --program PATH   migrate-tokens: also seals, opens and migrates tokens under the very key and alias
                   manage-secrets: also reads and writes the very secrets
                   decide-iam: also puts the table of decisions to the policies that were read back
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import sqlite3
import zipfile
from datetime import datetime
from io import BytesIO

import common

common.enter()

import decisions  # noqa: E402
import emulator  # noqa: E402
from emulator import REGION, client  # noqa: E402

BUCKET = "example-audit-logs"
# prod.tfvars leaves the end of keys to this role, and the front holds callers to that.
BREAK_GLASS = f"-var=assume_role_arn=arn:aws:iam::{emulator.ACCOUNT}:role/break-glass"
STATE_BUCKET = "example-terraform-state"
# Names and rules that an account may have for roles; the second application follows them.
BOUNDARY = f"arn:aws:iam::{emulator.ACCOUNT}:policy/boundary"
ROLE_NAMES = {"application": "pp-tokens", "migrator": "pp-moves", "trail": "pp-trail"}
OWN_ROLES = [f"-var={role}_role_name={name}" for role, name in ROLE_NAMES.items()] + [
    "-var=iam_path=/tokenseal/", f"-var=permissions_boundary={BOUNDARY}", "-var=max_session_duration=7200",
]


def prepare_account(url):
    """Resources that exist before the example is applied: the bucket, two rotation functions, a configuration recorder."""
    client(url, "s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = client(url, "iam").create_role(RoleName="rotation", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    code = BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("index.py", "def handler(event, context):\n    return None\n")
    arns = {}
    for name in ("database", "session-signing"):
        function = client(url, "lambda").create_function(
            FunctionName=f"rotate-{name}", Runtime="python3.12", Role=role, Handler="index.handler",
            Code={"ZipFile": code.getvalue()},
        )
        arns[name] = function["FunctionArn"]
    recorder = {"name": "default", "roleARN": role, "recordingGroup": {"allSupported": True}}
    client(url, "config").put_configuration_recorder(ConfigurationRecorder=recorder)
    return role, arns


def planned_empty(report, place, what, *arguments):
    again = common.terraform("plan", "-detailed-exitcode", "-input=false", *arguments, cwd=place, check=False)
    report.equal(again.returncode, 0, f"{what}: the next plan is empty")
    if again.returncode != 0:
        print(again.stdout)


def applied(report, place, url, *arguments):
    """Applies an example, asserts that a second plan is empty, and returns its outputs."""
    emulator.override(place, url)
    common.terraform("init", "-input=false", cwd=place)
    common.terraform("apply", "-auto-approve", "-input=false", *arguments, cwd=place)
    planned_empty(report, place, place.name, *arguments)
    outputs = json.loads(common.terraform("output", "-json", cwd=place).stdout)
    return {name: output["value"] for name, output in outputs.items()}


def destroyed(report, place, *arguments):
    """Destroys an example. The protection of its keys must refuse that first, and is then removed."""
    kept = [file for file in place.glob("*.tf") if "prevent_destroy = true" in file.read_text()]
    if kept:
        refused = common.terraform("plan", "-destroy", "-input=false", *arguments, cwd=place, check=False)
        fine = refused.returncode != 0 and "Instance cannot be destroyed" in refused.stdout
        report.check(fine, f"{place.name}: a plan to destroy it is refused", refused.stdout)
    for file in kept:
        file.write_text(re.sub(r'^resource "terraform_data".*?^}\n', "", file.read_text(), flags=re.M | re.S))
    common.terraform("destroy", "-auto-approve", "-input=false", *arguments, cwd=place)
    report.check(True, f"{place.name}: destroyed")


def more_of_it(report, work, url, first, *arguments):
    """The same application in a second Region, and a second application, in the same account: nothing of the first changes."""
    places = {}
    for name, more in {
        "second-region": ["-var=region=eu-west-1", "-var=name=vod-tender-production-eu-west-1", "-var=with_audit=false", "-var=with_config_rules=false"],
        "second-application": ["-var=application=pulseplan", *OWN_ROLES],
    }.items():
        place = work / "examples" / f"complete-{name}"
        shutil.copytree(work / "examples" / "complete", place, ignore=shutil.ignore_patterns(".terraform*", "terraform.tfstate*"))
        out = applied(report, place, url, "-var-file=prod.tfvars", *more)
        report.equal(set(out["environment"]), common.VARIABLES_WITH_ALARMS, f"{name}: the outputs are the programs' variables")
        places[place] = more
    planned_empty(report, first, "complete, next to a second Region and a second application", *arguments)
    roles = {role["RoleName"] for role in client(url, "iam").list_roles()["Roles"]}
    wanted = {"vod-tender-production-application", "vod-tender-production-eu-west-1-application", *ROLE_NAMES.values()}
    report.check(wanted <= roles, "each has roles of its own", str(roles))
    read_back_own_roles(report, url)
    for place, more in places.items():
        destroyed(report, place, "-var-file=prod.tfvars", BREAK_GLASS, *more)
    planned_empty(report, first, "complete, after the others were destroyed", *arguments)


def read_back_own_roles(report, url):
    """The roles of the second application are as its account demands, and are those that its filters watch."""
    for name in ROLE_NAMES.values():
        role = client(url, "iam").get_role(RoleName=name)["Role"]
        found = (role["Path"], role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"), role["MaxSessionDuration"])
        report.equal(found, ("/tokenseal/", BOUNDARY, 7200), f"{name}: its path, boundary and session length")
    filters = client(url, "logs").describe_metric_filters(logGroupName="/aws/cloudtrail/pulseplan-production-audit")["metricFilters"]
    for name in ROLE_NAMES.values():
        report.check(any(name in found["filterPattern"] for found in filters), f"{name}: changes to its policies are counted")


def read_back_key(report, url, out):
    kms = client(url, "kms")
    key = kms.describe_key(KeyId=out["alias_name"])["KeyMetadata"]
    report.equal(out["alias_name"], "alias/vod-tender-production", "the alias is alias/<application>-<environment>")
    report.equal(key["Arn"], out["key_arn"], "the alias points to the key")
    report.equal(key["KeyState"], "Enabled", "the key is enabled")
    report.equal(key["KeySpec"], "SYMMETRIC_DEFAULT", "the key is symmetric")
    report.check(kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"], "the key rotates")
    tags = {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]}
    wanted = {"Application": "vod-tender", "Environment": "production", "Purpose": "token-encryption"}
    report.equal(tags, wanted, "the key's tags")
    policy = json.loads(kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"])
    report.equal(policy, json.loads(out["key_policy"]), "the key's policy is the module's")
    for alias in kms.list_aliases()["Aliases"]:
        if alias["AliasName"].startswith("alias/vod-tender") and "TargetKeyId" in alias:
            report.check(
                kms.get_key_rotation_status(KeyId=alias["TargetKeyId"])["KeyRotationEnabled"],
                f"{alias['AliasName']} rotates",
            )
    return policy


def read_back_roles(report, url, out):
    iam = client(url, "iam")
    policies = {}
    for role, names in {"application": ["use-data-keys", "read-secrets"], "migrator": ["migrate-and-rewrap"]}.items():
        name = f"vod-tender-production-{role}"
        report.equal(sorted(iam.list_role_policies(RoleName=name)["PolicyNames"]), sorted(names), f"{role}: its policies")
        policies[role] = [iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"] for policy in names]
        trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        condition = trust["Statement"][0]["Condition"]["StringEquals"]
        report.equal(len(condition), 2, f"{role}: its trust pins sub and aud")
        annotation = out["service_account_annotations"][role]["eks.amazonaws.com/role-arn"]
        report.check(annotation.endswith(f":role/{name}"), f"{role}: its annotation names it")
    return policies


def read_back_alarms(report, url, out):
    alarms = {alarm["AlarmName"]: alarm for alarm in client(url, "cloudwatch").describe_alarms()["MetricAlarms"]}
    missing = set(out["alarm_names"]) - set(alarms)
    report.equal(missing, set(), "every alarm exists")

    def alarm(name):
        return alarms[f"vod-tender-production-{name}"]

    errors = alarm("KMSDecryptErrors")
    found = (errors["Namespace"], errors["Statistic"], errors["Period"], errors["Threshold"], errors["ComparisonOperator"])
    report.equal(found, ("Tokenseal", "Sum", 300, 5.0, "GreaterThanThreshold"), "KMSDecryptErrors: over 5 in 5 minutes")
    latency = alarm("KMSHighLatency")
    found = (latency["MetricName"], latency["ExtendedStatistic"], latency["Threshold"])
    report.equal(found, ("KMSDecryptLatency", "p99", 500.0), "KMSHighLatency: p99 over 500 ms")
    denied = alarm("KMSUnauthorized")
    found = (denied["Namespace"], denied["Threshold"], denied["ComparisonOperator"])
    wanted = ("Tokenseal/Audit/vod-tender-production", 0.0, "GreaterThanThreshold")
    report.equal(found, wanted, "KMSUnauthorized: any")
    report.equal(alarm("HeartbeatMissing")["TreatMissingData"], "breaching", "silence sets the heartbeat's alarm off")
    for name, found in alarms.items():
        report.equal(found["AlarmActions"], [out["topic_arn"]], f"{name} publishes to the topic")
        runbook = found["AlarmDescription"].rsplit("Runbook: ", 1)[-1]
        report.check(runbook.startswith("https://"), f"{name}: its runbook can be opened")
        page = common.REPOSITORY / "docs" / "runbooks" / runbook.rsplit("/", 1)[-1]
        report.check(page.is_file(), f"{name}: its runbook {page.name} exists")
    return alarms


def read_back_trail(report, url, alarms):
    trail = client(url, "cloudtrail")
    selectors = trail.get_event_selectors(TrailName="vod-tender-production-audit")["EventSelectors"]
    # CloudTrail answers with its default selector here, moto with none.
    kinds = {selector["ReadWriteType"] for selector in selectors}
    report.check(kinds <= {"All"}, "the trail keeps reads and writes")
    excluded = [source for selector in selectors for source in selector.get("ExcludeManagementEventSources", [])]
    report.equal(excluded, [], "the trail excludes no service's events")
    report.check(trail.get_trail_status(Name="vod-tender-production-audit")["IsLogging"], "the trail is on")
    logs = client(url, "logs")
    group = logs.describe_log_groups(logGroupNamePrefix="/aws/cloudtrail/vod-tender")["logGroups"][0]
    report.check(group["retentionInDays"] >= 90, "the log group keeps 90 days and more")
    filters = logs.describe_metric_filters(logGroupName=group["logGroupName"])["metricFilters"]
    fed = {transformation["metricName"] for found in filters for transformation in found["metricTransformations"]}
    for name, alarm in alarms.items():
        for metric in alarm_metrics(alarm):
            check_emitted(report, name, fed, *metric)
    cloudwatch = client(url, "cloudwatch")
    for entry in cloudwatch.list_dashboards()["DashboardEntries"]:
        name = entry["DashboardName"]
        for metric in dashboard_metrics(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"]):
            check_emitted(report, name, fed, *metric)


def check_emitted(report, name, fed, namespace, metric, dimensions):
    """A metric that an alarm or a dashboard looks at is one that the programs print, or that a filter counts."""
    emf = common.load(common.CHECKS / "metrics.json")["emf"]
    if namespace != emf["namespace"]:
        report.check(metric in fed and not dimensions, f"{name}: a filter feeds {namespace} {metric}")
        return
    report.check(metric in emf["metrics"], f"{name}: the programs print {metric}")
    wanted = dict(zip(emf["dimensions"], ("vod-tender", "production")))
    report.equal(dimensions, wanted, f"{name}: {metric} has the dimensions that are printed")


def alarm_metrics(alarm):
    """The metrics of an alarm: namespace, name, dimensions."""
    metrics = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    for metric in metrics or [alarm]:
        dimensions = {dimension["Name"]: dimension["Value"] for dimension in metric.get("Dimensions", [])}
        yield metric["Namespace"], metric["MetricName"], dimensions


def dashboard_metrics(body):
    """The metrics of a dashboard, likewise; an entry that begins with an object is an expression."""
    for widget in json.loads(body)["widgets"]:
        for entry in widget["properties"]["metrics"]:
            if isinstance(entry[0], str):
                namespace, metric, *rest = (part for part in entry if isinstance(part, str))
                yield namespace, metric, dict(zip(rest[::2], rest[1::2]))


def read_back_secrets(report, url, out):
    manager = client(url, "secretsmanager")
    wanted = {"database": 30, "session-signing": 90, "twitch-oauth": None}
    for name, days in wanted.items():
        secret = manager.describe_secret(SecretId=f"{out['secrets_prefix']}{name}")
        report.check(secret["KmsKeyId"] != out["key_arn"], f"secret {name} has a key of its own")
        found = secret.get("RotationRules", {}).get("AutomaticallyAfterDays") or None
        report.equal(found, days, f"secret {name} rotates as asked")
        policy = json.loads(manager.get_resource_policy(SecretId=secret["ARN"])["ResourcePolicy"])
        report.equal(policy["Statement"][0]["Effect"], "Deny", f"secret {name} refuses what is not over TLS")


def read_back_topic(report, url, out):
    topic = client(url, "sns").get_topic_attributes(TopicArn=out["topic_arn"])["Attributes"]
    report.check(topic.get("KmsMasterKeyId", "").startswith("arn:"), "the topic is sealed with a key of its own")
    report.check("aws:SourceAccount" in topic["Policy"], "the topic takes this account's alarms only")
    names = {entry["DashboardName"] for entry in client(url, "cloudwatch").list_dashboards()["DashboardEntries"]}
    report.equal(names, {"vod-tender-production-kms", "vod-tender-production-secrets"}, "the two dashboards exist")


def program_environment(url, out, role="application"):
    """The environment of a pod: the outputs, the credentials of its role, and an address of the emulator."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    arn = out["service_account_annotations"][role]["eks.amazonaws.com/role-arn"]
    taken = client(url, "sts").assume_role(RoleArn=arn, RoleSessionName="check")["Credentials"]
    return env | out["environment"] | {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": taken["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"],
        "AWS_SESSION_TOKEN": taken["SessionToken"],
    }


def make_table(database):
    """A table as vod-tender has it, with one token that is still readable."""
    database.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute(
            "CREATE TABLE oauth_tokens (provider TEXT NOT NULL, channel TEXT NOT NULL DEFAULT '', access_token TEXT,"
            " refresh_token TEXT, expires_at TEXT, scope TEXT, updated_at TEXT, encryption_version INTEGER DEFAULT 0,"
            " encryption_key_id TEXT, PRIMARY KEY (provider, channel))"
        )
        connection.execute("INSERT INTO oauth_tokens (provider, channel, access_token) VALUES ('twitch', 'readable', 'old')")
        connection.commit()


def run_migrate_tokens(report, program, url, out):
    """Seals and opens a token, by the key's ARN and by its alias, and carries the migration Job out."""
    for key in (out["environment"]["KMS_KEY_ID"], out["alias_name"]):
        database = common.TARGET / "program.db"
        make_table(database)
        env = program_environment(url, out) | {"KMS_KEY_ID": key, "DATABASE_URL": f"sqlite://{database}"}
        row = ["--row", "provider=twitch,channel=somebody"]
        common.run([program, "schema"], env=env)
        common.run([program, "put", *row], env=env, input="a-token")
        got = common.run([program, "get", *row, "--reveal"], env=env).stdout
        report.check("a-token" in got, f"a token sealed under {key} opens again")
        env |= {name: value for name, value in program_environment(url, out, "migrator").items() if name.startswith("AWS_")}
        for command in ("doctor", "migrate", "verify"):
            done = common.run([program, command], env=env, check=False)
            report.check(done.returncode == 0, f"{command} is content with {key}", done.stdout)
        status = json.loads(common.run([program, "status", "--format", "json"], env=env).stdout)
        methods = {group["encryption_method"] for group in status["groups"]}
        report.equal(methods, {"kms-envelope"}, f"status knows every token as an envelope ({key})")
        # doctor prints which variables it has read: one that no program knew would not be among them.
        doctor = common.run([program, "doctor"], env=env).stdout
        role = out["service_account_annotations"]["migrator"]["eks.amazonaws.com/role-arn"].rsplit("/", 1)[-1]
        report.check(f"assumed-role/{role}/check" in doctor, "doctor names the role that it runs as", doctor)
        for name in out["environment"]:
            report.check(f"{name}={env[name]}" in doctor, f"doctor has read the output {name}", doctor)


def run_manage_secrets(report, program, url, out):
    """Reads, writes and lists the secrets that were made, under the prefix that was put out."""
    env = program_environment(url, out)
    source = ["--source", "secretsmanager", "--prefix", out["secrets_prefix"]]
    common.run([program, *source, "set", "twitch-oauth"], env=env, input="a-client-secret")
    got = common.run([program, *source, "get", "twitch-oauth", "--reveal"], env=env).stdout
    report.check("a-client-secret" in got, "manage-secrets writes and reads a secret of the module")
    listed = common.run([program, *source, "list"], env=env).stdout
    for name in ("database", "session-signing", "twitch-oauth"):
        report.check(name in listed, f"manage-secrets lists {name}", listed)


def look_for_metrics(report, url, dimensions):
    """infra/logs/metric_arrived.py, before and after a heartbeat: what an operator runs once the log pipeline is there."""
    script = common.INFRA / "logs" / "metric_arrived.py"
    env = {**os.environ, "AWS_ENDPOINT_URL": url, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    def look(wanted):
        return common.run([common.VENV / "bin" / "python", script, "--dimensions", wanted], env=env, check=False)

    report.equal(look(dimensions).returncode, 1, "metric_arrived: nothing arrived yet")
    pairs = [{"Name": name, "Value": value} for name, value in (pair.split("=") for pair in dimensions.split(","))]
    client(url, "cloudwatch").put_metric_data(Namespace="Tokenseal", MetricData=[{"MetricName": "Heartbeat", "Value": 1, "Dimensions": pairs}])
    report.equal(look(dimensions).returncode, 0, "metric_arrived: a heartbeat under the output's dimensions is found")
    elsewhere = look("Application=unnamed,Environment=production")
    report.check(elsewhere.returncode == 1 and dimensions in elsewhere.stdout, "metric_arrived: other dimensions are named", elsewhere.stdout)
    report.equal(look("Application").returncode, 2, "metric_arrived: malformed dimensions are refused")


def keep_state_in_bucket(place, url):
    """The backend of examples/pipeline as it is to be copied, pointed at the emulator."""
    backend = (place.parent / "pipeline" / "backend.tf.example").read_text()
    emulated = f"""    access_key                  = "test"
    secret_key                  = "test"
    skip_credentials_validation = true
    skip_requesting_account_id  = true
    skip_metadata_api_check     = true
    use_path_style              = true
    endpoints                   = {{ s3 = "{url}" }}
"""
    (place / "backend.tf").write_text(backend.replace('backend "s3" {\n', f'backend "s3" {{\n{emulated}'))


def stored_state(url):
    """The length of the object that the backend keeps, in bytes. It is read: an emulator need not announce its length."""
    return len(client(url, "s3").get_object(Bucket=STATE_BUCKET, Key="vod-tender/production/eu-central-1/terraform.tfstate")["Body"].read())


def apply_others(report, work, url):
    """The other examples, each by itself: they make the same alias."""
    oidc = f"-var=oidc_provider_arn=arn:aws:iam::{emulator.ACCOUNT}:oidc-provider/example"
    pipeline = work / "examples" / "pipeline"
    subjects = ['-var=plan_subjects=["repo:example/infrastructure:pull_request"]', '-var=apply_subjects=["repo:example/infrastructure:environment:production"]']
    applied(report, pipeline, url, f"-var=state_bucket_name={STATE_BUCKET}", *subjects)
    for example, more in {
        "irsa": ["-var=environment=staging", oidc],
        "minimal": ["-var=environment=development"],
        "log-archive": ["-var=bucket_name=example-archive", f"-var=trail_account_id={emulator.ACCOUNT}"],
    }.items():
        place = work / "examples" / example
        if example == "minimal":
            keep_state_in_bucket(place, url)
        out = applied(report, place, url, *more)
        if example == "minimal":
            report.check(stored_state(url) > 0, "minimal: its state is in the bucket")
        if "environment" in out:
            report.equal(set(out["environment"]), common.VARIABLES, f"{example}: the outputs are exactly the programs' variables")
        destroyed(report, place, *more)
    # moto has no Pod Identity associations, and its replicas share their state with the primary: these are only planned.
    cluster = ["-var=cluster_name=main", f"-var=cluster_arn=arn:aws:eks:{REGION}:{emulator.ACCOUNT}:cluster/main"]
    for example, resource, more in (
        ("pod-identity", "aws_eks_pod_identity_association.this", ["-var=environment=staging", *cluster]),
        ("multi-region", "aws_kms_replica_key.this", ["-var=environment=production", oidc]),
    ):
        place = work / "examples" / example
        emulator.override(place, url, ["replica"] if example == "multi-region" else [])
        common.terraform("init", "-input=false", cwd=place)
        plan = common.terraform("plan", "-input=false", *more, cwd=place, check=False)
        report.check(plan.returncode == 0 and resource in plan.stdout, f"{example} plans", plan.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_programs(parser)
    programs = common.programs(parser.parse_args())
    report = common.Report("apply_moto")
    work = common.copy("apply")
    with emulator.moto() as moto, emulator.front(moto) as url:
        role, functions = prepare_account(url)
        complete = work / "examples" / "complete"
        arguments = ["-var-file=prod.tfvars", f"-var=rotation_role_arns={json.dumps([role])}"]
        out = applied(report, complete, url, *arguments)
        # Rotation begins at once and needs a value to begin from: the values come first, the schedules after them.
        for name in functions:
            client(url, "secretsmanager").put_secret_value(SecretId=out["secrets_prefix"] + name, SecretString="first")
        arguments.append(f"-var=rotation_lambda_arns={json.dumps(functions)}")
        out = applied(report, complete, url, *arguments)
        report.equal(set(out["environment"]), common.VARIABLES_WITH_ALARMS, "the outputs are exactly the programs' variables")
        key_policy = read_back_key(report, url, out)
        roles = read_back_roles(report, url, out)
        alarms = read_back_alarms(report, url, out)
        read_back_trail(report, url, alarms)
        read_back_secrets(report, url, out)
        read_back_topic(report, url, out)
        if "decide-iam" in programs:
            iam = decisions.Iam(programs["decide-iam"])
            decisions.judge(report, iam, roles, key_policy, out["key_arn"], only=["application", "migrator", "stranger"])
            iam.close()
        if "migrate-tokens" in programs:
            run_migrate_tokens(report, programs["migrate-tokens"], url, out)
        if "manage-secrets" in programs:
            run_manage_secrets(report, programs["manage-secrets"], url, out)
        look_for_metrics(report, url, out["environment"]["EMF_DIMENSIONS"])
        more_of_it(report, work, url, complete, *arguments)
        destroyed(report, complete, BREAK_GLASS, *arguments)
        key = client(url, "kms").describe_key(KeyId=out["key_arn"])["KeyMetadata"]
        report.equal(key["KeyState"], "PendingDeletion", "the destroyed key waits out its window")
        days = (key["DeletionDate"] - datetime.now(key["DeletionDate"].tzinfo)).total_seconds() / 86400
        report.equal(round(days), 30, "the window has 30 days")
        report.equal(client(url, "cloudwatch").describe_alarms()["MetricAlarms"], [], "no alarm is left")
        for tfvars in ("dev", "staging"):
            plan = common.terraform("plan", "-input=false", f"-var-file={tfvars}.tfvars", cwd=complete, check=False)
            report.check(plan.returncode == 0, f"complete plans with {tfvars}.tfvars", plan.stdout)
        apply_others(report, work, url)
    report.finish()


if __name__ == "__main__":
    main()
