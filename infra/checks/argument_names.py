#!/usr/bin/env python3
"""Compares every resource and data source with the schema of its provider: argument names, blocks, and required ones.

AWS provider 6 and the Vault provider cannot be run here. Their schemas are read out of bindings generated from them, as text: each
class names its resource, and the arguments of its constructor with a default or without.
"""

import ast
import json
import re

import common

common.enter()

import hcl2  # noqa: E402

# Arguments that Terraform itself understands in any block.
META = {"count", "for_each", "depends_on", "lifecycle", "provider", "provisioner", "connection", "dynamic", "timeouts"}
CACHE = common.TARGET / "schemas.json"
FOLDERS = ("bindings", "bindings-vault")


def constructor(node):
    """The arguments of a class's constructor: name, whether required, and the nested block's class if it is one."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            found = {}
            for argument, default in zip(item.args.kwonlyargs, item.args.kw_defaults):
                text = ast.unparse(argument.annotation) if argument.annotation else ""
                block = re.search(r"'([A-Za-z0-9]+(?:\.[A-Za-z0-9]+)*Property)'", text)
                found[argument.arg.rstrip("_")] = {"required": default is None, "block": block[1] if block else None}
            return found
    return {}


def classes(nodes, prefix=""):
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            yield from classes(node.body, f"{prefix}{node.name}.")


def schema():
    """For each resource and data source its arguments, and for each nested block its own."""
    if CACHE.exists():
        return common.load(CACHE)
    found = {"resource": {}, "data": {}, "blocks": {}}
    for file in sorted(file for folder in FOLDERS for file in (common.TARGET / folder).glob("*.py")):
        for name, node in classes(ast.parse(file.read_text()).body):
            text = ast.get_docstring(node) or ""
            link = re.search(r"/docs/(resources|data-sources)/\S+ ((?:aws|vault)_\w+)\}", text)
            if link and "." not in name and "Represents a" in text:
                found["resource" if link[1] == "resources" else "data"][link[2]] = constructor(node)
            elif name.endswith("Property"):
                found["blocks"][f"{file.stem}:{name}"] = constructor(node)
                found["blocks"][name] = constructor(node)
    CACHE.write_text(json.dumps(found))
    return found


def plain(text):
    return text.strip('"')


def compare(report, what, body, arguments, blocks):
    """Names that are not known, required ones that are missing; then the same inside nested blocks."""
    dynamic = {plain(name) for entry in body.get("dynamic", []) for name in entry}
    given = {plain(name) for name in body if not name.startswith("__")} | dynamic
    for name in sorted(given - META):
        report.check(name in arguments, f"{what}: its provider knows {name}")
    required = {name for name, argument in arguments.items() if argument["required"]} - META
    for name in sorted(required - given):
        report.check(False, f"{what}: its provider requires {name}")
    for name, value in body.items():
        block = arguments.get(plain(name), {}).get("block")
        if block and isinstance(value, list):
            for entry in value:
                if isinstance(entry, dict) and block in blocks:
                    compare(report, f"{what}.{plain(name)}", entry, blocks[block], blocks)


def check_file(report, file, known):
    with open(file) as opened:
        tree = hcl2.load(opened)
    for kind in ("resource", "data"):
        for entry in tree.get(kind, []):
            for type_name, named in entry.items():
                # Terraform's own, of no provider.
                if plain(type_name) == "terraform_data":
                    continue
                for name, body in named.items():
                    type_name, label = plain(type_name), plain(name)
                    what = f"{file.relative_to(common.INFRA)}: {type_name}.{label}"
                    if report.check(type_name in known[kind], f"{what}: its provider has {kind} {type_name}"):
                        compare(report, what, body, known[kind][type_name], known["blocks"])


def test_comparison(report, known):
    """The check itself: a typo, a missing argument and a typo in a nested block are found."""
    found = common.Report("")
    found.check = lambda held, what, detail="": held or found.failures.append(what)
    arguments = known["resource"]["aws_s3_bucket_lifecycle_configuration"]
    nested = {"bucket": "b", "rule": [{"id": "x", "status": "Enabled", "expirations": []}]}
    compare(found, "x", nested, arguments, known["blocks"])
    compare(found, "y", {"primary_key": "k"}, known["resource"]["aws_kms_replica_key"], known["blocks"])
    compare(found, "z", {"name": "n", "derive": True}, known["resource"]["vault_transit_secret_backend_key"], known["blocks"])
    wanted = [
        "x.rule: its provider knows expirations", "y: its provider knows primary_key", "y: its provider requires primary_key_arn",
        "z: its provider knows derive", "z: its provider requires backend",
    ]
    report.equal(sorted(found.failures), sorted(wanted), "typos and missing arguments are found")


def main():
    report = common.Report("argument_names")
    known = schema()
    test_comparison(report, known)
    for file in sorted((common.INFRA / "modules").rglob("*.tf")) + sorted((common.INFRA / "examples").rglob("*.tf")):
        check_file(report, file, known)
    report.finish()


if __name__ == "__main__":
    main()
