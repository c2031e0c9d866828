#!/usr/bin/env python3
"""Every error class and every alert has a runbook, every link in one leads somewhere, and its commands run as they are written.

  --program PATH   migrate-tokens and manage-secrets
runbook_world.py replaces the cluster, the account and the table.
"""

import argparse
import re
from pathlib import Path

import common

common.enter()

import yaml  # noqa: E402

import runbook_world  # noqa: E402

RUNBOOKS = common.REPOSITORY / "docs" / "runbooks"
SECTIONS = ["## Look at", "## Do", "## Emergency rollback"]
# Pages of another shape.
OTHERS = {"README.md", "emergency-rollback.md", "secret-rotation.md"}


def alarm_names():
    """The CloudWatch alarms, as the modules name them."""
    text = "".join(file.read_text() for file in (common.INFRA / "modules").rglob("*.tf"))
    direct = re.findall(r'alarm_name\s+= "\$\{local\.name\}-(\w+)"', text)
    mapped = re.findall(r'^    (\w+) = \{\n      description = "[^\n]*\n      runbook ', text, re.M)
    return set(direct) | set(mapped)


def commands(text, program):
    """The commands of a program that a page names: (command, its words)."""
    for code in re.findall(r"```[a-z]*\n(.*?)```", text, re.S) + re.findall(r"`([^`\n]+)`", text):
        for line in code.splitlines():
            line = line.split("#")[0]
            for words in re.findall(rf"(?:^|[\s(|]){program}((?: +[\w.:/-]+)*)", line):
                words = words.split()
                if words:
                    yield words


def check_commands(report, program, page):
    name = program.name
    listed = common.run([program, "--help"]).stdout.split("Commands:")[1].split("Options:")[0]
    known = set(re.findall(r"^  ([a-z][a-z-]*)", listed, re.M))
    for words in commands(page.read_text(), name):
        # Options and their values may precede the command.
        while words and words[0].startswith("--"):
            words = words[2:]
        if not words:
            continue
        report.check(words[0] in known, f"{page.name}: {name} has the command {words[0]}")
        help_text = common.run([program, words[0], "--help"], check=False)
        what = f"{page.name}: {name} {' '.join(words)}"
        if report.check(help_text.returncode == 0, f"{what}: the command exists"):
            for option in [word for word in words if word.startswith("--")]:
                report.check(re.search(rf"{option}\b", help_text.stdout), f"{what}: {option} exists")


def blocks(text, kind):
    """The fenced blocks of a kind, without their indentation in lists."""
    for indent, code in re.findall(rf"^( *)```{kind}\n(.*?)^ *```", text, re.M | re.S):
        yield re.sub(rf"^{indent}", "", code, flags=re.M)


def scripts(text):
    """Every command of a page: the blocks as a whole, and commands within sentences."""
    yield from blocks(text, "sh")
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S)):
        # The mere name of a command that needs more is no command line.
        code = code.replace("\\|", "|")
        if re.match(r"(?:printf %s \"\$\w+\" \| )?(migrate-tokens|manage-secrets|aws|kubectl|curl) \w", code) and not re.search(r" (put|get|set|rotate|rewrap|delete)$", code):
            yield code


def queries(text):
    for block in blocks(text, "promql"):
        for line in block.splitlines():
            line = line.split("   #")[0].strip()
            if line:
                yield line


def run_commands(report, pages, programs):
    """Runs each page's commands in a world of its own, in their order."""
    with runbook_world.servers() as servers:
        for page in pages:
            text = page.read_text()
            world = runbook_world.World(page.stem, programs, servers)
            for script in scripts(text):
                outcome = world.run(script)
                report.check(outcome.held, f"{page.name}: {outcome.shown}", outcome.said)
            for query in queries(text):
                said = servers.query(query)
                report.check(said == "success", f"{page.name}: the query {query}", said)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_programs(parser)
    options = parser.parse_args()
    report = common.Report("runbooks")
    pages = sorted(RUNBOOKS.glob("*.md"))
    texts = {page.name: page.read_text() for page in pages}
    for label in common.load(common.CHECKS / "metrics.json")["error_classes"]:
        report.check(f"{label.replace('_', '-')}.md" in texts, f"error class {label} has a page")
    together = "\n".join(texts.values())
    alerts = yaml.safe_load((common.INFRA / "observability" / "alerts.rules.yml").read_text())["groups"][0]["rules"]
    for rule in alerts:
        page = Path(rule["annotations"]["runbook_url"]).name
        report.check(f"`{rule['alert']}`" in texts.get(page, ""), f"{rule['alert']}: {page} is about it")
    names = alarm_names()
    report.check(len(names) >= 14, f"{len(names)} CloudWatch alarms found in the modules")
    for name in sorted(names):
        report.check(f"`{name}`" in together, f"alarm {name}: a page is about it")
    for page in pages:
        if page.name not in OTHERS:
            places = [page.read_text().find(section) for section in SECTIONS]
            report.check(-1 not in places and places == sorted(places), f"{page.name} has its three sections")
        if page.name != "README.md":
            report.check(f"]({page.name})" in texts["README.md"], f"{page.name} is in the list of runbooks")
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in link:
                report.check((page.parent / link).exists(), f"{page.name}: the link {link} leads somewhere")
        for program in options.program:
            check_commands(report, program.resolve(), page)
    if options.program:
        run_commands(report, pages, common.programs(options, "migrate-tokens", "manage-secrets"))
    report.finish()


if __name__ == "__main__":
    main()
