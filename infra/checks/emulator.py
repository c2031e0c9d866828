"""An AWS emulator of a check's own: moto, Terraform's provider pointed at it, and a front for what moto leaves out."""

import contextlib
import http.client
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
import xml.etree.ElementTree

import common

import boto3

REGION = "eu-central-1"
ACCOUNT = "123456789012"
SERVICES = [
    "cloudtrail", "cloudwatch", "cloudwatchevents", "cloudwatchlogs", "configservice", "ec2", "eks", "iam", "kms", "lambda",
    "s3", "secretsmanager", "sns", "sts",
]


@contextlib.contextmanager
def moto(name="moto"):
    """A moto server of this run's own, on a free port."""
    port = common.free_port()
    log = open(common.TARGET / f"{name}.log", "w")
    server = subprocess.Popen(
        [common.VENV / "bin" / "moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log,
        env={**os.environ, "AWS_DEFAULT_REGION": REGION, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        # Rotation functions are called without containers.
        settings = json.dumps({"lambda": {"use_docker": False}}).encode()
        request = urllib.request.Request(f"{url}/moto-api/config", settings, {"Content-Type": "application/json"})
        if not common.until(lambda: urllib.request.urlopen(request, timeout=5), seconds=90):
            sys.exit(f"moto did not start: see target/infra/{name}.log")
        yield url
    finally:
        server.terminate()
        server.wait()
        log.close()


def client(url, service, region=REGION, credentials=None):
    credentials = credentials or {"AccessKeyId": "test", "SecretAccessKey": "test"}
    return boto3.client(
        service, region_name=region, endpoint_url=url, aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"], aws_session_token=credentials.get("SessionToken"),
    )


def override(place, url, aliases=()):
    """Points an example's providers at the emulator; Terraform merges an override file into the files that the user copies."""
    endpoints = "\n".join(f'    {service} = "{url}"' for service in SERVICES)
    blocks = []
    for alias in (None, *aliases):
        named = f'  alias                       = "{alias}"\n' if alias else ""
        blocks.append(f"""provider "aws" {{
{named}  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  max_retries                 = 2
  s3_use_path_style           = true

  endpoints {{
{endpoints}
  }}
}}
""")
    (place / "providers_override.tf").write_text("\n".join(blocks))


class Callers:
    """Which principal an access key belongs to: a role that was assumed here, or the account's own test user."""

    def __init__(self):
        self.roles = {}

    def learn(self, body):
        """Notes the credentials of an answer to AssumeRole."""
        with contextlib.suppress(xml.etree.ElementTree.ParseError):
            text = {element.tag.split("}")[1]: element.text for element in xml.etree.ElementTree.fromstring(body).iter() if "}" in element.tag}
            if "AccessKeyId" in text and "Arn" in text:
                session = re.match(r"arn:(\S+):sts::(\d+):assumed-role/(.+)/[^/]+$", text["Arn"])
                self.roles[text["AccessKeyId"]] = f"arn:{session[1]}:iam::{session[2]}:role/{session[3]}"

    def principal(self, headers):
        key = re.search(r"Credential=([^/]+)/", headers.get("Authorization", ""))
        return self.roles.get(key[1] if key else None, f"arn:aws:iam::{ACCOUNT}:user/pipeline")


def is_denied(statement, action, principal):
    """Whether a Deny statement of a key policy that looks at aws:PrincipalArn alone covers a call."""
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    others = statement.get("Condition", {}).get("StringNotEquals", {}).get("aws:PrincipalArn")
    return statement["Effect"] == "Deny" and action in actions and others is not None and principal not in others


def with_period(periods, operation, arguments, text):
    """Notes the rotation period of a key, or adds it to the answer about its rotation; AWS's default is 365 days."""
    key = arguments["KeyId"].split("/")[-1]
    if operation == "EnableKeyRotation":
        periods[key] = arguments.get("RotationPeriodInDays", 365)
        return text
    status = json.loads(text)
    if status.get("KeyRotationEnabled"):
        status["RotationPeriodInDays"] = periods.get(key, 365)
    return json.dumps(status).encode()


def named_trails(arguments, text):
    """The trails that were asked for: moto answers with all."""
    wanted, found = arguments.get("trailNameList"), json.loads(text)
    if wanted:
        found["trailList"] = [trail for trail in found["trailList"] if trail["Name"] in wanted or trail["TrailARN"] in wanted]
    return json.dumps(found).encode()


@contextlib.contextmanager
def front(url):
    """Behaviour that moto lacks: calls that a key's policy denies to the caller are refused, rotation periods are kept, and trails
    are found by name."""
    callers, periods, host = Callers(), {}, url.removeprefix("http://")

    class Front(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            service, _, operation = self.headers.get("X-Amz-Target", "").rpartition(".")
            if service == "TrentService" and self.denied(operation, json.loads(body or b"{}")):
                text = json.dumps({"__type": "AccessDeniedException", "message": f"not authorized to perform: kms:{operation}"}).encode()
                return self.answer(400, [("Content-Type", "application/x-amz-json-1.1")], text)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            emulator = http.client.HTTPConnection(host, timeout=120)
            emulator.request(self.command, self.path, body, headers)
            answer = emulator.getresponse()
            text = answer.read()
            if not service:
                callers.learn(text)
            elif operation in ("EnableKeyRotation", "GetKeyRotationStatus"):
                text = with_period(periods, operation, json.loads(body), text)
            elif operation == "DescribeTrails":
                text = named_trails(json.loads(body), text)
            return self.answer(answer.status, answer.getheaders(), text)

        do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = forward

        def denied(self, operation, arguments):
            if "KeyId" not in arguments:
                return False
            with contextlib.suppress(Exception):
                policy = client(url, "kms").get_key_policy(KeyId=arguments["KeyId"], PolicyName="default")["Policy"]
                principal = callers.principal(self.headers)
                return any(is_denied(statement, f"kms:{operation}", principal) for statement in json.loads(policy)["Statement"])
            return False

        def answer(self, status, headers, text):
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("connection", "content-length", "transfer-encoding", "server", "date"):
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            """Nothing: the emulator has its own log."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
